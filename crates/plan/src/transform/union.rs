//! Unions: a branch and the same branch negated cancel; negation goes down to the branches.

use crate::RelationExpr;

/// Bottom up.
pub(super) fn run(plan: &mut RelationExpr) {
    plan.for_each_child_mut(&mut run);
    match plan {
        // So that the branches meet their counterparts.
        RelationExpr::Negate { input } => match &mut **input {
            RelationExpr::Union { inputs } => {
                let inputs = std::mem::take(inputs).into_iter().map(negated).collect();
                *plan = RelationExpr::Union { inputs };
            }
            RelationExpr::Negate { input } => *plan = input.take(),
            RelationExpr::Project { input, columns } => {
                let columns = std::mem::take(columns);
                *plan = negated(input.take()).project(columns);
            }
            _ => {}
        },
        RelationExpr::Union { inputs } => {
            let mut i = 0;
            while i < inputs.len() {
                let opposite = negated(inputs[i].clone());
                match inputs[i + 1..].iter().position(|other| *other == opposite) {
                    Some(j) => {
                        inputs.remove(i + 1 + j);
                        let typ = inputs[i].typ();
                        inputs[i] = RelationExpr::empty(typ);
                    }
                    None => i += 1,
                }
            }
        }
        _ => {}
    }
}

/// The plan with its counts turned: the sign sits below projections, so that opposites look alike.
fn negated(plan: RelationExpr) -> RelationExpr {
    match plan {
        RelationExpr::Negate { input } => *input,
        RelationExpr::Project { input, columns } => negated(*input).project(columns),
        other => other.negate(),
    }
}
