//! The first rows of each group, ties by bytes. Where rows only come, no more than those are kept.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use plan::ColumnOrder;
use repr::{Arena, Datum, Diff, EvalError, Row, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use differential_dataflow::consolidation::consolidate;

use super::bag::{Bag, RowOrder};
use super::keyed::{Keyed, keyed};
use super::pass::Consumer;
use super::{Context, Flow};
use crate::arrangement::hash;
use crate::work;

/// Rows of one time that come to a group, or go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partial {
    /// The key's.
    pub hash: u64,
    /// When.
    pub time: Timestamp,
    /// The group.
    pub key: Row,
    /// How often each row comes, or goes.
    pub rows: Changes,
}

/// Rows that come, or go.
type Changes = SmallVec<[(Row, Diff); 1]>;

impl Partial {
    /// Puts those of equal keys together; `append` adds the second's rows to the first's.
    pub fn shrink(partials: &mut Vec<Partial>, append: impl Fn(&mut Changes, &mut Changes)) {
        partials.sort_unstable_by(|a, b| (a.hash, &a.key).cmp(&(b.hash, &b.key)));
        partials.dedup_by(|more, kept| {
            let same = more.hash == kept.hash && more.key == kept.key;
            if same {
                append(&mut kept.rows, &mut more.rows);
            }
            same
        });
    }
}

/// What to keep of each group.
#[derive(Clone)]
struct Choice {
    order: RowOrder,
    limit: Option<u64>,
    offset: u64,
    /// How many rows may ever matter, if rows only come.
    keep: Option<u64>,
}

/// Renders TopK.
pub fn top_k<'s>(
    context: &mut Context<'_, 's>,
    mut flow: Flow<'s>,
    group_key: &[usize],
    order_key: &[ColumnOrder],
    limit: Option<u64>,
    offset: u64,
) -> Flow<'s> {
    if limit.is_none() && offset == 0 {
        return flow;
    }
    let arity = flow.arity();
    let keep = limit.filter(|_| flow.monotonic).map(|n| n.saturating_add(offset));
    let choice = Choice { order: RowOrder::new(order_key.to_vec()), limit, offset, keep };
    // The keys, then the whole row.
    let columns: Vec<usize> = group_key.iter().copied().chain(0..arity).collect();
    flow.project(&columns);
    let partials = flow.feed(context, "TopK", Gather::new(group_key.len(), choice.clone()));
    let (rows, errs) = keyed(partials, "TopK", Groups { choice, groups: HashTable::new() });
    context.errs.push(errs);
    Flow::new(rows, arity, false)
}

impl Choice {
    /// Adds a row to rows in order; false: it cannot matter.
    fn insert(&self, rows: &mut Changes, row: &Row, diff: Diff, keep: u64) -> bool {
        let at = rows.partition_point(|(r, _)| self.order.cmp(r.as_ref(), row.as_ref()).is_lt());
        match rows.get_mut(at).filter(|(r, _)| r == row) {
            Some((_, n)) => *n += diff,
            None if at as u64 >= keep => return false,
            None => rows.insert(at, (row.clone(), diff)),
        }
        // Each occurs at least once, so this keeps enough.
        rows.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        true
    }

    fn chosen(&self, bag: &Bag) -> Vec<(Row, Diff)> {
        let skip = i64::try_from(self.offset).unwrap_or(i64::MAX);
        let end = self.limit.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX).saturating_add(skip));
        let (mut chosen, mut at) = (vec![], 0i64);
        for (row, n) in bag.iter() {
            if at >= end {
                break;
            }
            let from = at.max(skip);
            at = at.saturating_add(n);
            let n = at.min(end) - from;
            work::touch(1);
            if n > 0 {
                chosen.push((row.clone(), n));
            }
        }
        chosen
    }
}

/// Puts the rows of a batch together by group.
pub struct Gather {
    key_columns: usize,
    choice: Choice,
    key: Row,
    row: Row,
    table: HashTable<usize>,
    partials: Vec<Partial>,
    open: usize,
}

impl Gather {
    fn new(key_columns: usize, choice: Choice) -> Gather {
        let (key, row) = (Row::default(), Row::default());
        Gather { key_columns, choice, key, row, table: HashTable::new(), partials: vec![], open: 0 }
    }

    /// All rows, none chosen: the first so many columns are the key, the others the row.
    pub fn all(key_columns: usize) -> Gather {
        Gather::new(key_columns, Choice { order: RowOrder::new(vec![]), limit: None, offset: 0, keep: None })
    }
}

impl Consumer for Gather {
    type Out = Partial;

    fn row<'a>(
        &mut self,
        columns: &[Datum<'a>],
        project: &[usize],
        _: &'a Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError> {
        let Gather { key_columns, choice, key, row, table, partials, open } = self;
        if partials.get(*open).is_some_and(|p| p.time != time) {
            table.clear();
            *open = partials.len();
        }
        key.clear();
        row.clear();
        project[..*key_columns].iter().for_each(|c| key.push(columns[*c]));
        project[*key_columns..].iter().for_each(|c| row.push(columns[*c]));
        let hash = hash(key.as_ref());
        match table.entry(hash, |i| partials[*i].key == *key, |i| partials[*i].hash) {
            Entry::Vacant(free) => {
                free.insert(partials.len());
                partials.push(Partial { hash, time, key: key.clone(), rows: smallvec![(row.clone(), diff)] });
            }
            Entry::Occupied(place) => {
                let rows = &mut partials[*place.get()].rows;
                match choice.keep {
                    Some(keep) => drop(choice.insert(rows, row, diff, keep)),
                    None => rows.push((row.clone(), diff)),
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Partial>) {
        self.table.clear();
        self.open = 0;
        std::mem::swap(out, &mut self.partials);
    }
}

struct Group {
    hash: u64,
    key: Row,
    bag: Bag,
}

struct Groups {
    choice: Choice,
    groups: HashTable<Group>,
}

impl Keyed for Groups {
    type In = Partial;

    fn hash(partial: &Partial) -> u64 {
        partial.hash
    }

    fn time(partial: &Partial) -> Timestamp {
        partial.time
    }

    fn shrink(&self, partials: &mut Vec<Partial>) {
        Partial::shrink(partials, |kept, more| match self.choice.keep {
            Some(keep) => more.iter().for_each(|(row, diff)| {
                self.choice.insert(kept, row, *diff, keep);
            }),
            None => kept.append(more),
        });
    }

    fn apply(
        &mut self,
        time: Timestamp,
        partials: Vec<Partial>,
        rows: &mut Vec<(Row, Timestamp, Diff)>,
        _: &mut Vec<(Row, Timestamp, Diff)>,
    ) {
        let Groups { choice, groups } = self;
        for Partial { hash, key, rows: more, .. } in partials {
            let found = groups.entry(hash, |g| g.hash == hash && g.key == key, |g| g.hash);
            let mut place = match found {
                Entry::Occupied(place) => place,
                Entry::Vacant(free) => free.insert(Group { hash, key, bag: Bag::default() }),
            };
            let bag = &mut place.get_mut().bag;
            let before = choice.chosen(bag);
            more.into_iter().for_each(|(row, diff)| bag.update(row, diff, &choice.order));
            if let Some(keep) = choice.keep {
                bag.truncate(keep);
            }
            let after = choice.chosen(bag);
            if bag.is_empty() {
                place.remove();
            }
            if before != after {
                let mut changes = after;
                changes.extend(before.into_iter().map(|(row, n)| (row, -n)));
                consolidate(&mut changes);
                rows.extend(changes.into_iter().map(|(row, n)| (row, time, n)));
            }
        }
    }
}
