//! A multiset of rows kept in an order that a plan decides.

use std::cmp::Ordering;

use plan::ColumnOrder;
use repr::{Datum, Diff, Row, RowRef};

use crate::work;

/// The rows of a bag split into chunks of at most so many, so that an insertion moves little.
const CHUNK: usize = 256;

/// An order over packed rows: columns first, then the bytes, so that no two different rows are equal.
#[derive(Clone, Debug)]
pub struct RowOrder(Vec<ColumnOrder>);

impl RowOrder {
    /// By these columns of the row.
    pub fn new(columns: Vec<ColumnOrder>) -> RowOrder {
        RowOrder(columns)
    }

    /// Compares two rows of one relation.
    pub fn cmp(&self, a: RowRef<'_>, b: RowRef<'_>) -> Ordering {
        for by in &self.0 {
            let order = match (column(a, by.column), column(b, by.column)) {
                (Datum::Null, Datum::Null) => Ordering::Equal,
                (Datum::Null, _) if by.nulls_first => Ordering::Less,
                (_, Datum::Null) if by.nulls_first => Ordering::Greater,
                (Datum::Null, _) => Ordering::Greater,
                (_, Datum::Null) => Ordering::Less,
                (x, y) if by.desc => y.cmp(&x),
                (x, y) => x.cmp(&y),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        a.bytes().cmp(b.bytes())
    }
}

fn column(row: RowRef<'_>, i: usize) -> Datum<'_> {
    let mut datums = row.iter();
    (0..i).for_each(|_| {
        datums.skip_one();
    });
    datums.next().unwrap_or(Datum::Null)
}

/// Rows in order, each with how often it occurs.
#[derive(Clone, Debug, Default)]
pub struct Bag {
    /// None is empty.
    chunks: Vec<Vec<(Row, Diff)>>,
}

impl Bag {
    /// Adds a row `diff` times.
    pub fn update(&mut self, row: Row, diff: Diff, order: &RowOrder) {
        if diff == 0 {
            return;
        }
        let before = |(other, _): &(Row, Diff)| order.cmp(other.as_ref(), row.as_ref()) == Ordering::Less;
        let last = |chunk: &Vec<(Row, Diff)>| chunk.last().is_some_and(before);
        let at = self.chunks.partition_point(last).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![(row, diff)]);
            work::keep(1);
            return;
        };
        let i = chunk.partition_point(before);
        match chunk.get_mut(i).filter(|(other, _)| *other == row) {
            Some((_, count)) => {
                *count += diff;
                if *count == 0 {
                    chunk.remove(i);
                    work::keep(-1);
                }
            }
            None => {
                chunk.insert(i, (row, diff));
                work::keep(1);
            }
        }
        if chunk.is_empty() {
            self.chunks.remove(at);
        } else if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Row, Diff)> {
        self.chunks.iter().flatten().map(|(row, n)| (row, *n))
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Forgets all rows after the first `n` (each counted as often as it occurs).
    pub fn truncate(&mut self, n: u64) {
        let mut left = i64::try_from(n).unwrap_or(i64::MAX);
        for at in 0..self.chunks.len() {
            for i in 0..self.chunks[at].len() {
                if left <= 0 {
                    self.chunks[at].truncate(i);
                    self.chunks.truncate(at + usize::from(i > 0));
                    return;
                }
                left -= self.chunks[at][i].1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(desc: bool) -> RowOrder {
        RowOrder::new(vec![ColumnOrder { column: 0, desc, nulls_first: desc }])
    }

    fn rows(bag: &Bag) -> Vec<(i64, Diff)> {
        bag.iter().map(|(row, n)| (row.unpack()[0].int(), n)).collect()
    }

    #[test]
    fn rows_come_back_in_order_whatever_order_they_came_in() {
        for desc in [false, true] {
            let (mut bag, order) = (Bag::default(), order(desc));
            for i in 0..2000i64 {
                bag.update(Row::pack([Datum::Int64(i * 7919 % 2000)]), 1, &order);
            }
            for i in (0..2000).step_by(2) {
                bag.update(Row::pack([Datum::Int64(i)]), -1, &order);
            }
            let mut expected: Vec<_> = (1..2000).step_by(2).map(|i| (i, 1)).collect();
            if desc {
                expected.reverse();
            }
            assert_eq!(rows(&bag), expected);
        }
    }

    #[test]
    fn truncation_counts_repeated_rows() {
        let (mut bag, order) = (Bag::default(), order(false));
        (0..600).for_each(|i| bag.update(Row::pack([Datum::Int64(i)]), 2, &order));
        bag.truncate(3);
        assert_eq!(rows(&bag), [(0, 2), (1, 2)]);
        bag.truncate(0);
        assert!(bag.is_empty());
    }

    #[test]
    fn a_bag_that_lost_all_rows_is_empty() {
        let (mut bag, order) = (Bag::default(), order(false));
        bag.update(Row::pack([Datum::Null]), 3, &order);
        bag.update(Row::pack([Datum::Null]), -3, &order);
        assert!(bag.is_empty());
    }
}
