//! Map, filter and project fused: one pass over a row, no intermediate rows.
//!
//! ```text
//!   columns   0 … arity-1        the input's
//!             arity …            computed, each from those before it
//!   filters   tested as soon as the columns they read are there
//!   project   which of all these come out
//! ```
//!
//! **Errors.** A row that some filter rejects (false or NULL) has no error, whatever the other filters and columns would
//! give: the outcome does not depend on the order in which they are tried. What `CASE`, `COALESCE` or `AND` guard in
//! SQL stays guarded: a shared expression is computed ahead only where it would be evaluated anyway or cannot fail.
//!
//! **Documents.** [`Scan`] is what a pass becomes over raw records that are JSON: it reads *slots* (parts of the
//! document that the shared scanner has extracted) instead of parsing. See there for how to run it.

use std::collections::{BTreeMap, BTreeSet};

use repr::json::{SlotKind, SlotPath, Step};
use repr::{Arena, ColumnType, Datum, EvalError, Row, SqlError};

use crate::func::ids;
use crate::scalar::Context;
use crate::{RelationExpr, ScalarExpr, known, walk};

/// Appends `maps` to the input's columns (each may use those before), keeps the rows for which all of `filters` are
/// true, and returns the columns of `project`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfp {
    /// The number of input columns.
    pub arity: usize,
    /// Computed columns, at positions `arity..`.
    pub maps: Vec<ScalarExpr>,
    /// Conditions; each is tested as soon as the columns it needs are there: the number says how many of `maps` come
    /// first. It never falls along the vector.
    pub filters: Vec<(usize, ScalarExpr)>,
    /// What comes out.
    pub project: Vec<usize>,
}

/// Running it.
impl Mfp {
    /// Evaluates over `columns` (exactly the input's; computed ones are pushed behind them). False: the row is filtered
    /// out. The output is `project` of `columns`. After false or an error `columns` holds the input's and perhaps some
    /// more: truncate or clear it before the next row.
    #[inline]
    pub fn eval<'a>(&'a self, columns: &mut Vec<Datum<'a>>, arena: &'a Arena) -> Result<bool, EvalError> {
        debug_assert_eq!(columns.len(), self.arity, "exactly the input's columns");
        let mut done = 0;
        for (i, (needs, filter)) in self.filters.iter().enumerate() {
            while done < *needs {
                match self.maps[done].eval(columns, arena) {
                    Ok(datum) => columns.push(datum),
                    Err(e) => return self.eval_after_error(columns, arena, e, i),
                }
                done += 1;
            }
            match filter.eval(columns, arena) {
                Ok(Datum::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(e) => return self.eval_after_error(columns, arena, e, i),
            }
        }
        for map in &self.maps[done..] {
            columns.push(map.eval(columns, arena)?);
        }
        Ok(true)
    }

    /// [`Mfp::eval`], and the output appended to `out` if the row stays.
    pub fn eval_into<'a>(
        &'a self,
        columns: &mut Vec<Datum<'a>>,
        arena: &'a Arena,
        out: &mut Row,
    ) -> Result<bool, EvalError> {
        let keep = self.eval(columns, arena)?;
        if keep {
            self.project.iter().for_each(|c| out.push(columns[*c]));
        }
        Ok(keep)
    }

    /// Something failed at filter `from`: does a filter that the failure does not touch reject the row anyway?
    #[cold]
    fn eval_after_error<'a>(
        &'a self,
        columns: &mut Vec<Datum<'a>>,
        arena: &'a Arena,
        error: EvalError,
        from: usize,
    ) -> Result<bool, EvalError> {
        let mut failed = BTreeSet::new();
        for (needs, filter) in &self.filters[from..] {
            while columns.len() < self.arity + needs {
                let map = &self.maps[columns.len() - self.arity];
                let value =
                    if map.columns().is_disjoint(&failed) { map.eval(columns, arena).ok() } else { None };
                if value.is_none() {
                    failed.insert(columns.len());
                }
                columns.push(value.unwrap_or(Datum::Null));
            }
            if filter.columns().is_disjoint(&failed) {
                match filter.eval(columns, arena) {
                    Ok(Datum::Bool(true)) | Err(_) => {}
                    Ok(_) => return Ok(false),
                }
            }
        }
        Err(error)
    }
}

/// Making it.
impl Mfp {
    /// The pass that changes nothing.
    pub fn identity(arity: usize) -> Mfp {
        Mfp { arity, maps: vec![], filters: vec![], project: (0..arity).collect() }
    }

    /// Takes the Maps, Filters and Projects off the top of a plan: what they do, optimized, and what they do it to.
    pub fn extract(plan: &RelationExpr) -> (Mfp, &RelationExpr) {
        let (mut mfp, input) = Mfp::extract_as_written(plan);
        mfp.optimize();
        (mfp, input)
    }

    /// [`Mfp::extract`] without optimizing.
    pub(crate) fn extract_as_written(plan: &RelationExpr) -> (Mfp, &RelationExpr) {
        let mut chain = vec![];
        let mut input = plan;
        while let RelationExpr::Map { input: below, .. }
        | RelationExpr::Filter { input: below, .. }
        | RelationExpr::Project { input: below, .. } = input
        {
            chain.push(input);
            input = below;
        }
        let mut mfp = Mfp::identity(input.arity());
        for step in chain.into_iter().rev() {
            match step {
                RelationExpr::Map { scalars, .. } => mfp.map(scalars.iter().cloned()),
                RelationExpr::Filter { predicates, .. } => mfp.filter(predicates.iter().cloned()),
                RelationExpr::Project { columns, .. } => mfp.project(columns),
                _ => unreachable!("only these three are in the chain"),
            }
        }
        (mfp, input)
    }

    /// Appends columns to the output, each from the output's columns before it.
    pub fn map(&mut self, scalars: impl IntoIterator<Item = ScalarExpr>) {
        for mut s in scalars {
            s.map_columns(&mut |c| self.project[c]);
            match s {
                ScalarExpr::Column(c) => self.project.push(c),
                s => {
                    self.project.push(self.arity + self.maps.len());
                    self.maps.push(s);
                }
            }
        }
    }

    /// Keeps the output rows for which all are true.
    pub fn filter(&mut self, predicates: impl IntoIterator<Item = ScalarExpr>) {
        for mut p in predicates {
            p.map_columns(&mut |c| self.project[c]);
            let mut all = vec![];
            walk::conjuncts(p, &mut all);
            for p in all {
                if !self.filters.iter().any(|f| f.1 == p) {
                    self.filters.push((self.maps.len(), p));
                }
            }
        }
    }

    /// Keeps these columns of the output, in this order.
    pub fn project(&mut self, columns: &[usize]) {
        self.project = columns.iter().map(|c| self.project[*c]).collect();
    }

    /// This pass, then `next` over its output.
    pub fn then(mut self, next: &Mfp) -> Mfp {
        assert_eq!(self.project.len(), next.arity, "the next pass reads what this one gives");
        self.map(next.maps.iter().cloned());
        self.filter(next.filters.iter().map(|f| f.1.clone()));
        self.project(&next.project);
        self
    }

    /// As a plan over `input`.
    pub fn into_plan(self, input: RelationExpr) -> RelationExpr {
        let mut plan = input;
        let mut done = 0;
        let mut waiting: Vec<ScalarExpr> = vec![];
        // Filters of one place in one Filter; columns computed between two filters in one Map.
        for (needs, p) in self.filters {
            if needs > done {
                plan = plan.filter(std::mem::take(&mut waiting)).map(self.maps[done..needs].iter().cloned());
                done = needs;
            }
            waiting.push(p);
        }
        plan.filter(waiting).map(self.maps[done..].iter().cloned()).project(self.project)
    }

    /// As a plan over `input` in the form that the optimizer works on: conditions first, everything written out over
    /// the input's columns unless it is very long, nothing shared.
    pub(crate) fn into_written_out(self, input: RelationExpr) -> RelationExpr {
        Roots::of(&self).into_plan(input)
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.maps.is_empty() && self.filters.is_empty() && self.project.iter().copied().eq(0..self.arity)
    }

    /// The types of the output for those of the input.
    pub fn typ(&self, input: &[ColumnType]) -> Vec<ColumnType> {
        let mut typ = input.to_vec();
        for m in &self.maps {
            let t = m.typ(&typ);
            typ.push(t);
        }
        for c in self.filters.iter().flat_map(|f| walk::not_null_if_true(&f.1)) {
            typ[c].nullable = false;
        }
        self.project.iter().map(|c| typ[*c].clone()).collect()
    }

    /// The input columns that it reads.
    pub fn demand(&self) -> BTreeSet<usize> {
        let mut all: BTreeSet<usize> = self.project.iter().copied().collect();
        self.maps
            .iter()
            .chain(self.filters.iter().map(|f| &f.1))
            .for_each(|e| walk::add_columns(e, &mut all));
        all.into_iter().filter(|c| *c < self.arity).collect()
    }

    /// The same over an input of other columns: `columns[i]` is what was `i`'th. Every column of [`Mfp::demand`] must be
    /// among them.
    pub fn over_columns(mut self, columns: &[usize]) -> Mfp {
        let place: BTreeMap<usize, usize> =
            columns.iter().enumerate().rev().map(|(new, old)| (*old, new)).collect();
        let (before, after) = (self.arity, columns.len());
        let to = |c: usize| if c >= before { c - before + after } else { place[&c] };
        self.maps
            .iter_mut()
            .chain(self.filters.iter_mut().map(|f| &mut f.1))
            .for_each(|e| e.map_columns(&mut |c| to(c)));
        self.project.iter_mut().for_each(|c| *c = to(*c));
        self.arity = after;
        self
    }

    /// Takes out what depends on `mz_now()`, for the operator of temporal filters. The rest comes first; the bounds are
    /// expressions over the *input* columns. Anything but a comparison with `mz_now()` alone on one side is an error.
    pub fn split_temporal(self) -> Result<(Mfp, Vec<TemporalBound>), SqlError> {
        let mut roots = Roots::of(&self);
        let unsupported = || {
            SqlError::unsupported(
                "mz_now() in this place of a maintained view",
                "Use it in WHERE, alone on one side of a comparison.",
            )
        };
        if roots.outputs.iter().chain(&roots.shared).any(walk::is_temporal) {
            return Err(unsupported());
        }
        let mut bounds = vec![];
        let (temporal, plain): (Vec<_>, Vec<_>) = roots.filters.drain(..).partition(walk::is_temporal);
        roots.filters = plain;
        for p in temporal {
            let ScalarExpr::Call { func, args, .. } = &p else { return Err(unsupported()) };
            let now = |e: &ScalarExpr| *e == ScalarExpr::Context(Context::MzNow);
            let (op, other) = match args.as_slice() {
                [a, b] if now(a) && !walk::is_temporal(b) => (func.0.id, b),
                [a, b] if now(b) && !walk::is_temporal(a) => (turned(func.0.id), a),
                _ => return Err(unsupported()),
            };
            if other.columns().iter().any(|c| *c >= roots.arity) {
                return Err(unsupported());
            }
            let bound = |until, after| TemporalBound { until, after, at: other.clone() };
            match op {
                ids::GE => bounds.push(bound(false, false)),
                ids::GT => bounds.push(bound(false, true)),
                ids::LT => bounds.push(bound(true, false)),
                ids::LE => bounds.push(bound(true, true)),
                ids::EQ => bounds.extend([bound(false, false), bound(true, true)]),
                _ => return Err(unsupported()),
            }
        }
        Ok((roots.build(), bounds))
    }

    /// Rearranges for speed: columns that nobody reads go, each filter is tested at the earliest point (those that need
    /// least come first), an expression that occurs twice is computed once.
    pub fn optimize(&mut self) {
        *self = Roots::of(self).build();
    }
}

/// A comparison with the time of the read: a row is there from `at` on, or until before `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalBound {
    /// The row goes then (else it comes).
    pub until: bool,
    /// One time later than `at`.
    pub after: bool,
    /// When, over the input columns; an mz_timestamp. NULL: never there.
    pub at: ScalarExpr,
}

/// The comparison that says the same with its sides exchanged.
fn turned(op: &'static str) -> &'static str {
    match op {
        ids::LT => ids::GT,
        ids::LE => ids::GE,
        ids::GT => ids::LT,
        ids::GE => ids::LE,
        other => other,
    }
}

/// A pass as trees over the input's columns, without an order of evaluation.
struct Roots {
    arity: usize,
    filters: Vec<ScalarExpr>,
    outputs: Vec<ScalarExpr>,
    /// What is too big to be written out at each use: column `arity + i`, over the input and those before it.
    shared: Vec<ScalarExpr>,
}

/// Expressions up to this size are written out at each use, to be found equal to others, and shared again.
const MAX_INLINED: usize = 64;

impl Roots {
    fn of(mfp: &Mfp) -> Roots {
        let mut shared: Vec<ScalarExpr> = vec![];
        let mut values: Vec<ScalarExpr> = (0..mfp.arity).map(ScalarExpr::Column).collect();
        let write_out = |e: &ScalarExpr, values: &[ScalarExpr]| {
            let mut e = e.clone();
            e.substitute(&mut |c| Some(values[c].clone()));
            e
        };
        for m in &mfp.maps {
            let e = write_out(m, &values);
            if e.size() <= MAX_INLINED {
                values.push(e);
            } else {
                values.push(ScalarExpr::Column(mfp.arity + shared.len()));
                shared.push(e);
            }
        }
        let filters = mfp.filters.iter().map(|f| write_out(&f.1, &values)).collect();
        let outputs = mfp.project.iter().map(|c| values[*c].clone()).collect();
        Roots { arity: mfp.arity, filters, outputs, shared }
    }

    fn into_plan(mut self, input: RelationExpr) -> RelationExpr {
        let arity = self.arity;
        // Of what is shared only what is used, in its order.
        let mut used = BTreeSet::new();
        self.filters.iter().chain(&self.outputs).for_each(|e| walk::add_columns(e, &mut used));
        for (i, e) in self.shared.iter().enumerate().rev() {
            if used.contains(&(arity + i)) {
                walk::add_columns(e, &mut used);
            }
        }
        let place: Vec<usize> = used.range(arity..).copied().collect();
        let to = |c: usize| place.binary_search(&c).map_or(c, |i| arity + i);
        let mut shared: Vec<ScalarExpr> = place.iter().map(|c| self.shared[c - arity].clone()).collect();
        let all = self.filters.iter_mut().chain(&mut self.outputs).chain(&mut shared);
        all.for_each(|e| e.map_columns(&mut |c| to(c)));

        let mut seen = BTreeSet::new();
        self.filters.retain(|f| !f.is_literal_true() && seen.insert(f.clone()));
        let (early, late): (Vec<_>, Vec<_>) =
            self.filters.into_iter().partition(|f| f.columns().last().is_none_or(|c| *c < arity));
        let mut maps = vec![];
        let width = arity + shared.len();
        let column = |e: ScalarExpr| match e {
            ScalarExpr::Column(c) => c,
            e => {
                width
                    + maps.iter().position(|m| *m == e).unwrap_or_else(|| {
                        maps.push(e);
                        maps.len() - 1
                    })
            }
        };
        let project: Vec<usize> = self.outputs.into_iter().map(column).collect();
        let mut plan = input.filter(early);
        if late.is_empty() {
            plan = plan.map(shared.into_iter().chain(maps));
        } else {
            plan = plan.map(shared).filter(late).map(maps);
        }
        plan.project(project)
    }

    fn build(mut self) -> Mfp {
        self.filters.retain(|f| !f.is_literal_true());
        let mut seen = BTreeSet::new();
        self.filters.retain(|f| seen.insert(f.clone()));
        // Cheap and safe conditions first. The sort is stable, so that else the order is as written.
        self.filters.sort_by_key(|f| (f.can_fail(), f.size() > 4));
        let mut build = Builder {
            arity: self.arity,
            shared: &self.shared,
            placed: vec![None; self.shared.len()],
            counts: BTreeMap::new(),
            columns: BTreeMap::new(),
            maps: vec![],
        };
        self.filters.iter().chain(&self.outputs).for_each(|e| build.count(e));
        let mut filters = vec![];
        for f in &self.filters {
            let f = build.rewrite(f, true, true);
            let needs = f.columns().last().map_or(0, |c| (c + 1).saturating_sub(self.arity));
            // A filter may need less than what others have had computed, but never less than those before it.
            let at = filters.last().map_or(needs, |(at, _): &(usize, _)| needs.max(*at));
            filters.push((at, f));
        }
        let project = self.outputs.iter().map(|e| build.column(e)).collect();
        Mfp { arity: self.arity, maps: build.maps, filters, project }
    }
}

/// Computes each expression that is needed twice once.
struct Builder<'a> {
    arity: usize,
    shared: &'a [ScalarExpr],
    placed: Vec<Option<usize>>,
    counts: BTreeMap<ScalarExpr, usize>,
    columns: BTreeMap<ScalarExpr, usize>,
    maps: Vec<ScalarExpr>,
}

impl Builder<'_> {
    /// Counts from how many places an expression is used, where equal places count once.
    fn count(&mut self, e: &ScalarExpr) {
        if let ScalarExpr::Column(c) = e {
            let shared = self.shared;
            if let Some(e) = c.checked_sub(self.arity).map(|i| &shared[i]) {
                self.count(e);
            }
            return;
        }
        match self.counts.get_mut(e) {
            Some(n) => *n += 1,
            None => {
                self.counts.insert(e.clone(), 1);
                walk::for_each_child(e, &mut |c| self.count(c));
            }
        }
    }

    /// The column that holds an expression's value; computed if there is none yet.
    fn column(&mut self, e: &ScalarExpr) -> usize {
        match self.rewrite(e, true, true) {
            ScalarExpr::Column(c) => c,
            new => self.push(e, new),
        }
    }

    fn push(&mut self, e: &ScalarExpr, new: ScalarExpr) -> usize {
        let column = self.arity + self.maps.len();
        self.maps.push(new);
        self.columns.insert(e.clone(), column);
        column
    }

    /// `eager`: it is evaluated whenever its root is. `open`: an error of it is an error of its root.
    fn rewrite(&mut self, e: &ScalarExpr, eager: bool, open: bool) -> ScalarExpr {
        if let ScalarExpr::Column(c) = e {
            if *c < self.arity {
                return e.clone();
            }
            let i = c - self.arity;
            let column = match self.placed[i] {
                Some(column) => column,
                None => {
                    let shared = self.shared;
                    let column = self.column(&shared[i]);
                    self.placed[i] = Some(column);
                    column
                }
            };
            return ScalarExpr::Column(column);
        }
        if e.as_literal().is_some() {
            return e.clone();
        }
        if let Some(column) = self.columns.get(e) {
            return ScalarExpr::Column(*column);
        }
        let list = |build: &mut Self, args: &[ScalarExpr], all_eager: bool, open: bool| -> Vec<ScalarExpr> {
            let each = args.iter().enumerate();
            each.map(|(i, a)| build.rewrite(a, eager && (all_eager || i == 0), open && (all_eager || i == 0)))
                .collect()
        };
        let new = match e {
            ScalarExpr::Call { func, args, ty } => {
                ScalarExpr::Call { func: *func, args: list(self, args, true, open), ty: ty.clone() }
            }
            // An error of any part may lose against another part.
            ScalarExpr::And(args) => ScalarExpr::And(list(self, args, false, false)),
            ScalarExpr::Or(args) => ScalarExpr::Or(list(self, args, false, false)),
            ScalarExpr::Coalesce(args) => ScalarExpr::Coalesce(list(self, args, false, open)),
            ScalarExpr::If { cond, then, els } => ScalarExpr::If {
                cond: Box::new(self.rewrite(cond, eager, open)),
                then: Box::new(self.rewrite(then, false, false)),
                els: Box::new(self.rewrite(els, false, false)),
            },
            ScalarExpr::Try(inner) => ScalarExpr::Try(Box::new(self.rewrite(inner, eager, false))),
            other => other.clone(),
        };
        let leaf = matches!(e, ScalarExpr::Context(_) | ScalarExpr::Parameter(..) | ScalarExpr::Literal(..));
        let twice = self.counts.get(e).is_some_and(|n| *n > 1);
        if twice && !leaf && eager && (open || !e.can_fail()) {
            ScalarExpr::Column(self.push(e, new))
        } else {
            new
        }
    }
}

/// A pass over raw records whose JSON documents are read once for all readers.
///
/// The shared scanner (`repr::json::Scanner`) extracts from each document of a batch the union of the slots that any
/// reader wants. For record `i` a reader does:
///
/// ```text
///   if every slot column of `slots` holds a value (`SlotColumn::get(i)` is Ok):
///       columns = the raw columns of `raw`, then the values of `slots`, in order;  mfp.eval(columns)
///   else (the document is not UTF-8 or not JSON; rare):
///       columns = all raw columns of the record;                                   full.eval(columns)
/// ```
///
/// `full` is the pass as it was before, which parses for itself, so an error surfaces exactly where an expression
/// evaluates it, and not where `WHERE`, `CASE` or `TRY_CAST` guard it. Raw columns not in `raw` need not be decoded, not
/// even the document, unless `full` is run. The document column may be of type bytea (`convert_from(c, 'utf8')`) or
/// text; a NULL document has NULL slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The raw columns that are read beside the slots, ascending.
    pub raw: Vec<usize>,
    /// Which part of the document of which raw column; no two are equal. An empty path of kind Jsonb is the whole
    /// document.
    pub slots: Vec<(usize, SlotPath)>,
    /// The pass over `raw` and `slots` end to end.
    pub mfp: Mfp,
    /// The pass over all raw columns.
    pub full: Mfp,
}

impl Scan {
    /// Rewrites a pass over raw records to read slots; none if it parses no document.
    pub fn new(mfp: &Mfp) -> Option<Scan> {
        let mut roots = Roots::of(mfp);
        let mut slots: Vec<(usize, SlotPath)> = vec![];
        // Slots are numbered from here while raw columns and slots are mixed.
        let first = usize::MAX / 2;
        let all = roots.filters.iter_mut().chain(&mut roots.outputs).chain(&mut roots.shared);
        all.for_each(|e| read_slots(e, first, &mut slots));
        if slots.is_empty() {
            return None;
        }
        let mut read = BTreeSet::new();
        let all = roots.filters.iter().chain(&roots.outputs).chain(&roots.shared);
        all.for_each(|e| walk::add_columns(e, &mut read));
        let raw: Vec<usize> = read.into_iter().filter(|c| *c < roots.arity).collect();
        let arity = raw.len() + slots.len();
        let to = |c: usize| match c {
            slot if slot >= first => raw.len() + slot - first,
            shared if shared >= mfp.arity => arity + shared - mfp.arity,
            c => raw.binary_search(&c).expect("raw holds every raw column that is read"),
        };
        let all = roots.filters.iter_mut().chain(&mut roots.outputs).chain(&mut roots.shared);
        all.for_each(|e| e.map_columns(&mut |c| to(c)));
        roots.arity = arity;
        let mut full = mfp.clone();
        full.optimize();
        Some(Scan { mfp: roots.build(), raw, slots, full })
    }
}

fn read_slots(e: &mut ScalarExpr, first: usize, slots: &mut Vec<(usize, SlotPath)>) {
    match slot_of(e) {
        Some(slot) => {
            let i = slots.iter().position(|s| *s == slot).unwrap_or_else(|| {
                slots.push(slot);
                slots.len() - 1
            });
            *e = ScalarExpr::Column(first + i);
        }
        None => walk::for_each_child_mut(e, &mut |c| read_slots(c, first, slots)),
    }
}

/// The part of a raw column's document that an expression is.
fn slot_of(e: &ScalarExpr) -> Option<(usize, SlotPath)> {
    let ScalarExpr::Call { func, args, .. } = e else { return None };
    if func.0.id == ids::CAST_TEXT_JSONB {
        let column = match &args[..] {
            [ScalarExpr::Column(c)] => *c,
            [text] => match known::args_of(text, ids::CONVERT_FROM)? {
                [ScalarExpr::Column(c), encoding] if is_utf8(encoding) => *c,
                _ => return None,
            },
            _ => return None,
        };
        return Some((column, SlotPath { steps: vec![], kind: SlotKind::Jsonb }));
    }
    let (text, deep) = match func.0.id {
        ids::JSONB_GET | ids::JSONB_GET_INDEX => (false, false),
        ids::JSONB_GET_TEXT | ids::JSONB_GET_INDEX_TEXT => (true, false),
        ids::JSONB_GET_PATH => (false, true),
        ids::JSONB_GET_PATH_TEXT => (true, true),
        _ => return None,
    };
    let [document, step] = &args[..] else { return None };
    let mut steps = match step.as_literal()? {
        Datum::Text(key) if !deep => vec![Step::Key(key.to_string())],
        Datum::Int32(i) if !deep => vec![Step::Index(i.into())],
        Datum::Int64(i) if !deep => vec![Step::Index(i)],
        // A number in a path may be a key or an index, by what it meets: left to the operator.
        Datum::Array(path) if deep => {
            let step = |d| match d {
                Datum::Text(key) if key.trim().parse::<i64>().is_err() => Some(Step::Key(key.to_string())),
                _ => None,
            };
            path.elements().iter().map(step).collect::<Option<Vec<_>>>()?
        }
        _ => return None,
    };
    let (column, mut path) = slot_of(document)?;
    if path.kind != SlotKind::Jsonb || steps.is_empty() {
        return None;
    }
    path.steps.append(&mut steps);
    path.kind = if text { SlotKind::Text } else { SlotKind::Jsonb };
    Some((column, path))
}

fn is_utf8(e: &ScalarExpr) -> bool {
    matches!(e.as_literal(), Some(Datum::Text(s)) if ["utf8", "utf-8", "utf_8", "unicode"].contains(&s.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests;
