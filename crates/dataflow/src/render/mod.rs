//! Plans to operators.
//!
//! Every part of a plan becomes a [`Flow`]: rows from somewhere, and a pass of map, filter and project that has not run
//! yet. The next operator runs the pass itself, over whole batches, and takes from each row what it wants. Errors of all
//! operators go to one place and come out beside the rows.

pub mod accumulate;
pub mod bag;
mod flat_map;
mod join;
mod keyed;
mod pairs;
pub mod pass;
mod recursion;
mod reduce;
mod top_k;
pub mod total;
mod window;

use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::AsCollection;
use plan::func::window::{Exclude, Windowed};
use plan::mfp::Mfp;
use plan::{LocalId, RelationExpr, ScalarExpr, Side};
use repr::{Diff, EvalError, GlobalId, Row, Timestamp, error::code};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::ToStream;
use timely::dataflow::{Scope, Stream};

use crate::arrangement::{Arrangement, KeyedRows, RowArranged};
use crate::hub::{Hub, ScanBatch, ScanInput};
use crate::{DataflowDesc, Dropped, work};
use pass::{Collect, Consumer, Pass};

/// Updates of rows.
pub type Updates<'s> = Stream<'s, Timestamp, Vec<(Row, Timestamp, Diff)>>;

/// What rendering a dataflow needs and finds out.
pub struct Context<'a, 's> {
    /// The dataflow's scope.
    pub scope: Scope<'s, Timestamp>,
    /// Its name.
    pub dataflow: GlobalId,
    /// The time that history is collapsed to.
    pub as_of: Timestamp,
    /// Ticks up to this were before the dataflow, so they come with the history.
    pub live_after: Timestamp,
    /// If the view was computed before: up to when.
    pub resumed: Option<Timestamp>,
    /// Whether this is the first worker, which alone has the rows of constants.
    pub first_worker: bool,
    /// The stored collections.
    pub hubs: &'a mut BTreeMap<GlobalId, Hub>,
    /// The arrangements, by the object that holds them.
    pub arrangements: &'a mut BTreeMap<GlobalId, Arrangement>,
    /// Whether it was dropped in the meantime.
    pub dropped: Dropped,
    /// Where temporal filters say when the clock will change their rows.
    pub deadlines: pass::Deadlines,
    /// Errors of all that was rendered.
    pub errs: Vec<Updates<'s>>,
    /// The stored collections that are read from their hubs.
    pub inputs: BTreeMap<GlobalId, Stream<'s, Timestamp, Vec<Rc<ScanBatch>>>>,
    /// The arrangements that are read.
    pub imports: BTreeMap<GlobalId, RowArranged<'s>>,
    locals: BTreeMap<LocalId, Flow<'s>>,
}

/// Rows from somewhere, and what is still to be done to them.
#[derive(Clone)]
pub struct Flow<'s> {
    source: Source<'s>,
    mfp: Mfp,
    sign: Diff,
    /// Whether rows only come.
    pub monotonic: bool,
}

#[derive(Clone)]
enum Source<'s> {
    /// A stored collection.
    Hub(GlobalId, Stream<'s, Timestamp, Vec<Rc<ScanBatch>>>),
    /// What an operator made.
    Rows(Updates<'s>),
}

impl<'s> Flow<'s> {
    /// What an operator made.
    pub fn new(rows: Updates<'s>, arity: usize, monotonic: bool) -> Flow<'s> {
        Flow { source: Source::Rows(rows), mfp: Mfp::identity(arity), sign: 1, monotonic }
    }

    /// How many columns.
    pub fn arity(&self) -> usize {
        self.mfp.project.len()
    }

    /// Appends columns.
    pub fn map(&mut self, scalars: impl IntoIterator<Item = ScalarExpr>) {
        self.mfp.map(scalars)
    }

    /// Keeps these columns.
    pub fn project(&mut self, columns: &[usize]) {
        self.mfp.project(columns)
    }

    /// Keeps the rows for which all are true.
    pub fn filter(&mut self, predicates: impl IntoIterator<Item = ScalarExpr>) {
        self.mfp.filter(predicates)
    }

    /// Another pass after what is to be done.
    pub fn then(&mut self, next: &Mfp) {
        let before = std::mem::replace(&mut self.mfp, Mfp::identity(0));
        self.mfp = before.then(next);
        self.monotonic &= !self.is_temporal();
    }

    /// Keeps only these expressions over the columns.
    pub fn apply(&mut self, scalars: impl IntoIterator<Item = ScalarExpr>) {
        let before = self.arity();
        self.map(scalars);
        let columns: Vec<usize> = (before..self.arity()).collect();
        self.project(&columns);
    }

    /// Runs what is still to be done, straight into the consumer.
    pub fn feed<C: Consumer>(
        self,
        context: &mut Context<'_, 's>,
        name: &str,
        consumer: C,
    ) -> Stream<'s, Timestamp, Vec<C::Out>> {
        let dataflow = context.dataflow;
        let (origin, hub) = match &self.source {
            Source::Hub(id, _) => {
                let hub = context.hubs.get_mut(id).expect("it was there when it was subscribed to");
                (hub.origin, Some(hub))
            }
            Source::Rows(_) => (None, None),
        };
        let pass = match hub {
            Some(hub) => {
                let mut slot = |column: usize, path: &repr::json::SlotPath| hub.slot(dataflow, column, path);
                Pass::new(self.mfp, self.sign, origin, Some(&mut slot), context.deadlines.clone())
            }
            None => Pass::new(self.mfp, self.sign, origin, None, context.deadlines.clone()),
        };
        let pass = match pass {
            Ok(pass) => pass,
            Err(e) => {
                context.fail(EvalError::new(e.code, e.message).with_hint(e.hint.unwrap_or_default()));
                return Vec::new().to_stream(context.scope);
            }
        };
        let (out, errs) = match self.source {
            Source::Hub(_, stream) => pass::over_batches(stream, name, pass, consumer),
            Source::Rows(stream) => pass::over_rows(stream, name, pass, consumer),
        };
        context.errs.push(errs);
        out
    }

    /// The rows.
    pub fn rows(self, context: &mut Context<'_, 's>) -> Updates<'s> {
        match self.source {
            Source::Rows(rows) if self.mfp.is_identity() && self.sign == 1 => rows,
            _ => self.feed(context, "Map", Collect::default()),
        }
    }

    /// Runs what is still to be done, once for all who use it.
    fn settle(self, context: &mut Context<'_, 's>) -> Flow<'s> {
        let (arity, monotonic) = (self.arity(), self.monotonic);
        Flow::new(self.rows(context), arity, monotonic)
    }

    fn is_temporal(&self) -> bool {
        let filters = self.mfp.filters.iter().map(|f| &f.1);
        filters.chain(&self.mfp.maps).any(ScalarExpr::has_context)
    }
}

impl<'s> Context<'_, 's> {
    /// Lets an error come out from the beginning on.
    pub fn fail(&mut self, e: EvalError) {
        let rows = if self.first_worker { vec![(e.to_row(), self.start(), 1)] } else { vec![] };
        self.errs.push(rows.to_stream(self.scope));
    }

    /// When what never changes begins. A resumed view has it already.
    fn start(&self) -> Timestamp {
        self.resumed.unwrap_or(self.as_of)
    }

    /// All errors of all operators.
    pub fn take_errs(&mut self) -> Updates<'s> {
        let mut errs = std::mem::take(&mut self.errs);
        match errs.len() {
            0 => Vec::new().to_stream(self.scope),
            1 => errs.pop().expect("there is one"),
            _ => self.scope.concatenate(errs),
        }
    }

    /// Renders a plan.
    pub fn render(&mut self, plan: &RelationExpr) -> Flow<'s> {
        let (mfp, input) = Mfp::extract(plan);
        if let RelationExpr::Join { inputs, equivalences } = input {
            return join::join(self, inputs, equivalences, mfp);
        }
        // Rows of a window, if nobody wants the list that they would come out of.
        if let Some(windowed) = Windowed::of(input)
            // A frame with a hole is computed with its whole partition.
            && windowed.calls.iter().all(|c| c.frame.exclude == Exclude::NoOthers)
            && mfp.demand().is_disjoint(&windowed.lists())
        {
            let mut flow = window::window(self, &windowed);
            flow.then(&mfp);
            return flow;
        }
        let mut flow = self.render_operator(input);
        flow.then(&mfp);
        flow
    }

    fn render_operator(&mut self, plan: &RelationExpr) -> Flow<'s> {
        match plan {
            RelationExpr::Constant { rows, typ } => self.constant(rows, typ.len()),
            RelationExpr::Get { id, typ } => self.get(*id, typ.len()),
            RelationExpr::LocalGet { id, typ } => match self.locals.get(id) {
                Some(flow) => flow.clone(),
                None => {
                    self.fail(EvalError::new(
                        code::INTERNAL_ERROR,
                        "a plan reads a binding that it does not have",
                    ));
                    self.empty(typ.len())
                }
            },
            RelationExpr::Let { id, value, body } => {
                let value = self.render(value);
                // What is only read from somewhere is read again at no cost; what is computed is computed once.
                let value = if value.mfp.is_identity() { value } else { value.settle(self) };
                let shadowed = self.bind(*id, Some(value));
                let flow = self.render(body);
                self.bind(*id, shadowed);
                flow
            }
            RelationExpr::LetRec { bindings, limit, body } => {
                recursion::let_rec(self, bindings, *limit, body)
            }
            RelationExpr::FlatMap { input, func, args, typ } => {
                let flow = self.render(input);
                flat_map::flat_map(self, flow, *func, args, typ.len())
            }
            RelationExpr::Join { inputs, equivalences } => {
                join::join(self, inputs, equivalences, Mfp::identity(plan.arity()))
            }
            RelationExpr::Reduce { input, group_key, aggregates } => {
                let flow = self.render(input);
                reduce::reduce(self, flow, group_key, aggregates)
            }
            RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
                let flow = self.render(input);
                top_k::top_k(self, flow, group_key, order_key, *limit, *offset)
            }
            RelationExpr::Negate { input } => {
                let mut flow = self.render(input);
                flow.sign = -flow.sign;
                flow.monotonic = false;
                flow
            }
            RelationExpr::Threshold { input } => {
                let flow = self.render(input);
                reduce::threshold(self, flow)
            }
            RelationExpr::Union { inputs } => {
                let mut flows: Vec<_> = inputs.iter().map(|i| self.render(i)).collect();
                if flows.len() == 1 {
                    return flows.pop().expect("there is one");
                }
                let monotonic = flows.iter().all(|f| f.monotonic);
                let streams: Vec<_> = flows.into_iter().map(|f| f.rows(self)).collect();
                Flow::new(self.scope.concatenate(streams), plan.arity(), monotonic)
            }
            RelationExpr::Catch { input, side } => self.catch(input, *side),
            RelationExpr::ArrangeBy { input, .. } => self.render(input),
            RelationExpr::Project { .. } | RelationExpr::Map { .. } | RelationExpr::Filter { .. } => {
                self.render(plan)
            }
        }
    }

    /// One side of a plan whose errors go no further.
    fn catch(&mut self, input: &RelationExpr, side: Side) -> Flow<'s> {
        // What is imported is imported again with its errors, which were given to the first who read it.
        let errs = std::mem::take(&mut self.errs);
        let imports = std::mem::take(&mut self.imports);
        let flow = self.render(input).settle(self);
        let caught = self.take_errs();
        self.errs = errs;
        self.imports = imports;
        match side {
            Side::Rows => flow,
            Side::Errors => Flow::new(caught, EvalError::desc().arity(), false),
        }
    }

    /// Gives a name a meaning, or takes it away; what it stood for before.
    fn bind(&mut self, id: LocalId, flow: Option<Flow<'s>>) -> Option<Flow<'s>> {
        match flow {
            Some(flow) => self.locals.insert(id, flow),
            None => self.locals.remove(&id),
        }
    }

    fn empty(&self, arity: usize) -> Flow<'s> {
        Flow::new(Vec::new().to_stream(self.scope), arity, true)
    }

    fn constant(&mut self, rows: &Result<Vec<(Row, Diff)>, EvalError>, arity: usize) -> Flow<'s> {
        match rows {
            Ok(rows) => {
                let monotonic = rows.iter().all(|(_, n)| *n >= 0);
                let rows = if self.first_worker { &rows[..] } else { &[] };
                let updates: Vec<_> = rows.iter().map(|(row, n)| (row.clone(), self.start(), *n)).collect();
                Flow::new(updates.to_stream(self.scope), arity, monotonic)
            }
            Err(e) => {
                self.fail(e.clone());
                self.empty(arity)
            }
        }
    }

    /// Reads an object: from an arrangement of it that reaches back to `as_of`, else from its hub.
    fn get(&mut self, id: GlobalId, arity: usize) -> Flow<'s> {
        let holder = self.holder(id, |_| true);
        if let Some(holder) = holder {
            let arranged = self.import(holder);
            let by_row = self.arrangements[&holder].key.is_none();
            return Flow::new(rows_of(arranged, self.as_of, by_row), arity, false);
        }
        if !self.inputs.contains_key(&id) {
            let Some(hub) = self.hubs.get_mut(&id) else {
                self.fail(EvalError::new(code::INTERNAL_ERROR, format!("there is no collection {id}")));
                return self.empty(arity);
            };
            let mut input = ScanInput::new();
            let stream = input.to_stream(self.scope);
            hub.subscribe(self.dataflow, input, self.as_of, self.live_after, self.resumed);
            self.inputs.insert(id, stream);
        }
        let monotonic = self.hubs[&id].append_only;
        let source = Source::Hub(id, self.inputs[&id].clone());
        Flow { source, mfp: Mfp::identity(arity), sign: 1, monotonic }
    }

    /// The first arrangement of an object that is readable at `as_of` and satisfies the condition.
    fn holder(&self, id: GlobalId, wanted: impl Fn(&Arrangement) -> bool) -> Option<GlobalId> {
        // An arrangement has only the sum of the past, not what came after a time in it.
        if self.resumed.is_some() {
            return None;
        }
        let fits = |a: &Arrangement| !a.closed && a.since <= self.as_of && wanted(a);
        let own = self.arrangements.get(&id).filter(|a| fits(a)).map(|_| id);
        own.or_else(|| {
            self.arrangements.iter().find(|(_, a)| a.on == id && fits(a)).map(|(holder, _)| *holder)
        })
    }

    /// The arrangement that an object holds, within this dataflow.
    fn import(&mut self, holder: GlobalId) -> RowArranged<'s> {
        if let Some(arranged) = self.imports.get(&holder) {
            return arranged.clone();
        }
        let arrangement = self.arrangements.get_mut(&holder).expect("it was found there");
        let rows = arrangement.rows.import_named(self.scope, "Import");
        let errs = arrangement.errs.import_named(self.scope, "Import errors");
        self.errs.push(rows_of(errs, self.as_of, true));
        self.imports.insert(holder, rows.clone());
        rows
    }
}

/// The updates of an arrangement, none before `as_of`.
fn rows_of(arranged: RowArranged<'_>, as_of: Timestamp, by_row: bool) -> Updates<'_> {
    let rows = arranged.as_collection(move |key, value| if by_row { key.to_row() } else { value.to_row() });
    let later = move |updates: &mut Vec<(Row, Timestamp, Diff)>, out: &mut Vec<_>, _: &mut Vec<_>| {
        updates.iter_mut().for_each(|u| u.1 = u.1.max(as_of));
        std::mem::swap(updates, out);
    };
    pass::operator(rows.inner, "As of", later).0
}

/// Keys and values, ready to be arranged.
struct ByKey {
    /// How many columns the key has.
    key: usize,
    /// Whether keys with NULL are left out, as they join with nothing.
    skip_null: bool,
    rows: Vec<((Row, Row), Timestamp, Diff)>,
}

impl Consumer for ByKey {
    type Out = ((Row, Row), Timestamp, Diff);

    fn row<'a>(
        &mut self,
        columns: &[repr::Datum<'a>],
        project: &[usize],
        _: &'a repr::Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError> {
        let (key, value) = project.split_at(self.key);
        if self.skip_null && key.iter().any(|c| columns[*c].is_null()) {
            return Ok(());
        }
        let pack = |part: &[usize]| Row::pack(part.iter().map(|c| columns[*c]));
        self.rows.push(((pack(key), pack(value)), time, diff));
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        work::keep(self.rows.iter().map(|u| u.2).sum());
        work::publish();
        std::mem::swap(out, &mut self.rows)
    }
}

/// Rows by these expressions over them: the value is the columns `values`.
pub fn by_key<'s>(
    context: &mut Context<'_, 's>,
    mut flow: Flow<'s>,
    key: &[ScalarExpr],
    values: &[usize],
    skip_null: bool,
) -> KeyedRows<'s> {
    let before = flow.arity();
    flow.map(key.iter().cloned());
    let columns: Vec<usize> = (before..flow.arity()).chain(values.iter().copied()).collect();
    flow.project(&columns);
    flow.feed(context, "Arrange by", ByKey { key: key.len(), skip_null, rows: vec![] }).as_collection()
}

impl<'a, 's> Context<'a, 's> {
    /// Before anything is rendered.
    pub fn new(
        scope: Scope<'s, Timestamp>,
        desc: &DataflowDesc,
        live_after: Timestamp,
        first_worker: bool,
        hubs: &'a mut BTreeMap<GlobalId, Hub>,
        arrangements: &'a mut BTreeMap<GlobalId, Arrangement>,
        deadlines: pass::Deadlines,
    ) -> Context<'a, 's> {
        Context {
            scope,
            dataflow: desc.id,
            dropped: desc.dropped.clone(),
            as_of: desc.as_of,
            live_after: live_after.max(desc.as_of),
            resumed: desc.resume_after,
            first_worker,
            hubs,
            arrangements,
            deadlines,
            errs: vec![],
            inputs: BTreeMap::new(),
            imports: BTreeMap::new(),
            locals: BTreeMap::new(),
        }
    }
}
