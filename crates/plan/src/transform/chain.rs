//! Maps, Filters and Projects over each other become one Filter, one Map, one Project.

use crate::RelationExpr;
use crate::mfp::Mfp;

/// Conditions come first, over the input's own columns where that does not make them much longer, then what is
/// computed, each column once, then the projection.
pub(super) fn run(plan: &mut RelationExpr) {
    if matches!(plan, RelationExpr::Map { .. } | RelationExpr::Filter { .. } | RelationExpr::Project { .. }) {
        let (mfp, _) = Mfp::extract_as_written(plan);
        let mut input = plan.take();
        while let RelationExpr::Map { input: below, .. }
        | RelationExpr::Filter { input: below, .. }
        | RelationExpr::Project { input: below, .. } = input
        {
            input = *below;
        }
        run(&mut input);
        *plan = mfp.into_written_out(input);
        return;
    }
    plan.for_each_child_mut(&mut run);
}
