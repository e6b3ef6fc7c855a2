//! All that is stored besides rows, and how a commit changes it: the same code when a group is written and when it is
//! replayed.
//!
//! The *manifest* says which sealed files are needed: those that hold a part of a shard that exists. A drop takes parts
//! away, a [`Swap`] puts what background work has written in the place of what it has read.

use std::collections::BTreeMap;

use repr::Timestamp;

use crate::codec::{Reader, put_bytes, put_i64, put_u64};
use crate::frame::{self, Header};
use crate::group::{BlockKind, FrameGroup, ShardId};

/// What is known of a shard without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// Everything before is complete.
    pub upper: Timestamp,
    /// Reads before may find rows of different times merged.
    pub since: Timestamp,
    /// The sum of the diffs of its rows: how many there are now.
    pub rows: i64,
    /// The sum of the diffs of its error rows.
    pub errors: i64,
    /// How many updates are stored, errors included.
    pub updates: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their bytes on disk.
    pub stored_bytes: u64,
    /// Whether no row ever left.
    pub append_only: bool,
    /// Frames before belong to a shard that had this number earlier.
    pub(crate) born: u64,
}

/// All that is not rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The manifest, by number.
    pub(crate) sealed: BTreeMap<u64, Sealed>,
    pub(crate) catalog: BTreeMap<String, Vec<u8>>,
    pub(crate) progress: BTreeMap<u64, BTreeMap<i32, i64>>,
    pub(crate) shards: BTreeMap<ShardId, ShardState>,
    pub(crate) oracle_mark: Timestamp,
    pub(crate) last_time: Timestamp,
}

impl State {
    /// Counts one data frame in. `sequence` is the frame's.
    pub(crate) fn add_block(&mut self, header: &Header) {
        let shard = self.shard(header.shard, header.sequence);
        shard.upper = shard.upper.max(header.upper.saturating_add(1));
        match header.block {
            BlockKind::Rows => shard.rows = shard.rows.saturating_add(header.net),
            BlockKind::Errors => shard.errors = shard.errors.saturating_add(header.net),
        }
        shard.updates += u64::from(header.rows);
        shard.bytes += u64::from(header.raw);
        shard.stored_bytes += header.frame_len();
        shard.append_only &= header.flags & frame::APPEND_ONLY != 0;
    }

    /// Applies the rest of a group, after its data frames. `sequence` is the commit frame's.
    pub(crate) fn apply(&mut self, group: &FrameGroup, sequence: u64) {
        self.last_time = self.last_time.max(group.time);
        self.oracle_mark = self.oracle_mark.max(group.oracle_mark.unwrap_or(0));
        for (shard, upper) in &group.uppers {
            let shard = self.shard(*shard, sequence);
            shard.upper = shard.upper.max(*upper);
        }
        for (shard, since) in &group.sinces {
            let shard = self.shard(*shard, sequence);
            shard.since = shard.since.max(*since);
        }
        for source in &group.drop_progress {
            self.progress.remove(source);
        }
        for (source, partitions) in &group.progress {
            self.progress.entry(*source).or_default().extend(partitions.iter().copied());
        }
        for (key, value) in &group.catalog {
            match value {
                Some(value) => self.catalog.insert(key.clone(), value.clone()),
                None => self.catalog.remove(key),
            };
        }
        for shard in &group.drop_shards {
            self.shards.remove(shard);
        }
        if !group.drop_shards.is_empty() {
            self.prune(|shard, _| !group.drop_shards.contains(&shard));
        }
    }

    /// Puts the result of background work in the place of what it was made from. What was dropped meanwhile stays dropped.
    pub(crate) fn swap(&mut self, swap: &Swap) {
        for (number, shards) in &swap.gone {
            if let Some(sealed) = self.sealed.get_mut(number) {
                sealed.parts.retain(|p| !shards.contains(&p.shard));
            }
        }
        self.sealed.extend(swap.new.iter().map(|s| (s.number, s.clone())));
        for change in &swap.changes {
            if let Some(shard) = self.shards.get_mut(&change.shard).filter(|s| s.born == change.born) {
                shard.updates = shard.updates.saturating_add_signed(change.updates);
                shard.bytes = shard.bytes.saturating_add_signed(change.bytes);
                shard.stored_bytes = shard.stored_bytes.saturating_add_signed(change.stored_bytes);
            }
        }
        let born: BTreeMap<ShardId, u64> = self.shards.iter().map(|(id, s)| (*id, s.born)).collect();
        self.prune(|shard, sequence| born.get(&shard).is_some_and(|born| *born <= sequence));
    }

    /// Names a file that was just sealed, if a shard that exists has blocks in it.
    pub(crate) fn seal(&mut self, mut sealed: Sealed) {
        let shards = &self.shards;
        sealed.parts.retain(|p| shards.get(&p.shard).is_some_and(|s| s.born <= p.sequence));
        if !sealed.parts.is_empty() {
            self.sealed.insert(sealed.number, sealed);
        }
    }

    /// Whether a frame of this sequence number is of the shard as it is now, not of one that had its number before.
    pub(crate) fn is_live(&self, shard: ShardId, sequence: u64) -> bool {
        self.shards.get(&shard).is_some_and(|s| s.born <= sequence)
    }

    /// Keeps the parts (shard, greatest sequence number) that are needed, and the files that have one.
    fn prune(&mut self, needed: impl Fn(ShardId, u64) -> bool) {
        self.sealed.retain(|_, sealed| {
            sealed.parts.retain(|p| needed(p.shard, p.sequence));
            !sealed.parts.is_empty()
        });
    }

    fn shard(&mut self, id: ShardId, sequence: u64) -> &mut ShardState {
        self.shards.entry(id).or_insert(ShardState {
            upper: 0,
            since: 0,
            rows: 0,
            errors: 0,
            updates: 0,
            bytes: 0,
            stored_bytes: 0,
            append_only: true,
            born: sequence,
        })
    }

    /// The payload of a checkpoint frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = &mut Vec::new();
        put_u64(out, self.sealed.len() as u64);
        self.sealed.values().for_each(|s| s.encode(out));
        put_u64(out, self.catalog.len() as u64);
        for (key, value) in &self.catalog {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value);
        }
        put_u64(out, self.progress.len() as u64);
        for (source, partitions) in &self.progress {
            put_u64(out, *source);
            put_u64(out, partitions.len() as u64);
            for (partition, offset) in partitions {
                put_i64(out, i64::from(*partition));
                put_i64(out, *offset);
            }
        }
        put_u64(out, self.shards.len() as u64);
        for (id, s) in &self.shards {
            put_u64(out, id.0);
            put_u64(out, s.upper);
            put_u64(out, s.since);
            put_i64(out, s.rows);
            put_i64(out, s.errors);
            put_u64(out, s.updates);
            put_u64(out, s.bytes);
            put_u64(out, s.stored_bytes);
            put_u64(out, u64::from(s.append_only));
            put_u64(out, s.born);
        }
        put_u64(out, self.oracle_mark);
        put_u64(out, self.last_time);
        std::mem::take(out)
    }

    /// What [`State::encode`] was given; of version 1 the sealed files come without their parts.
    pub(crate) fn decode(bytes: &[u8], version: u32) -> Option<State> {
        let r = &mut Reader(bytes);
        let sealed = r.list(|r| Sealed::decode(r, version))?;
        let catalog = r.list(|r| Some((r.string()?, r.bytes()?.to_vec())))?;
        let progress = r.list(|r| Some((r.u64()?, r.list(partition)?)))?;
        let shards = r.list(|r| {
            let id = ShardId(r.u64()?);
            let state = ShardState {
                upper: r.u64()?,
                since: r.u64()?,
                rows: r.i64()?,
                errors: r.i64()?,
                updates: r.u64()?,
                bytes: r.u64()?,
                stored_bytes: r.u64()?,
                append_only: r.u64()? != 0,
                born: r.u64()?,
            };
            Some((id, state))
        })?;
        let state = State {
            sealed: sealed.into_iter().map(|s| (s.number, s)).collect(),
            catalog: catalog.into_iter().collect(),
            progress: progress.into_iter().map(|(s, p)| (s, p.into_iter().collect())).collect(),
            shards: shards.into_iter().collect(),
            oracle_mark: r.u64()?,
            last_time: r.u64()?,
        };
        r.end()?;
        Some(state)
    }
}

fn partition(r: &mut Reader<'_>) -> Option<(i32, i64)> {
    Some((r.i32()?, r.i64()?))
}

/// A sealed file that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) number: u64,
    /// Written by background work; else a file of the log.
    pub(crate) run: bool,
    /// Its bytes, trailer included.
    pub(crate) len: u64,
    /// Sequence number of its footer frame.
    pub(crate) sequence: u64,
    /// Hash of its footer frame's header.
    pub(crate) hash: u64,
    /// What is needed of it, by shard.
    pub(crate) parts: Vec<Part>,
}

/// What a sealed file holds of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) shard: ShardId,
    /// The greatest of its blocks' sequence numbers.
    pub(crate) sequence: u64,
    pub(crate) blocks: u64,
    pub(crate) rows: u64,
    /// Bytes of its frames.
    pub(crate) stored: u64,
    /// The least time.
    pub(crate) lower: Timestamp,
    /// The greatest.
    pub(crate) upper: Timestamp,
}

impl Sealed {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.number);
        put_u64(out, u64::from(self.run));
        put_u64(out, self.len);
        put_u64(out, self.sequence);
        put_u64(out, self.hash);
        put_u64(out, self.parts.len() as u64);
        for p in &self.parts {
            put_u64(out, p.shard.0);
            put_u64(out, p.sequence);
            put_u64(out, p.blocks);
            put_u64(out, p.rows);
            put_u64(out, p.stored);
            put_u64(out, p.lower);
            put_u64(out, p.upper - p.lower);
        }
    }

    fn decode(r: &mut Reader<'_>, version: u32) -> Option<Sealed> {
        let number = r.u64()?;
        let run = version > 1 && r.u64()? != 0;
        let (len, sequence, hash) = (r.u64()?, r.u64()?, r.u64()?);
        let part = |r: &mut Reader<'_>| {
            let (shard, sequence, blocks, rows) = (ShardId(r.u64()?), r.u64()?, r.u64()?, r.u64()?);
            let (stored, lower) = (r.u64()?, r.u64()?);
            let upper = lower.checked_add(r.u64()?)?;
            Some(Part { shard, sequence, blocks, rows, stored, lower, upper })
        };
        let parts = if version > 1 { r.list(part)? } else { Vec::new() };
        Some(Sealed { number, run, len, sequence, hash, parts })
    }

    /// Its part of a shard.
    pub(crate) fn part(&self, shard: ShardId) -> Option<&Part> {
        self.parts.binary_search_by_key(&shard, |p| p.shard).ok().map(|at| &self.parts[at])
    }
}

/// The parts of a file's entries.
pub(crate) fn parts(entries: &[Entry]) -> Vec<Part> {
    let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
    for e in entries {
        let (shard, sequence, lower, upper) = (e.shard, e.sequence, e.lower, e.upper);
        let new = Part { shard, sequence, blocks: 0, rows: 0, stored: 0, lower, upper };
        let part = parts.entry(shard).or_insert(new);
        part.sequence = part.sequence.max(e.sequence);
        part.blocks += 1;
        part.rows += u64::from(e.rows);
        part.stored += e.len;
        part.lower = part.lower.min(e.lower);
        part.upper = part.upper.max(e.upper);
    }
    parts.into_values().collect()
}

/// Runs in the place of parts of sealed files: the payload of a swap frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swap {
    /// The parts that go: files, and of each the shards.
    pub(crate) gone: Vec<(u64, Vec<ShardId>)>,
    /// The runs that come.
    pub(crate) new: Vec<Sealed>,
    pub(crate) changes: Vec<Change>,
}

/// By how much a shard's figures change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) shard: ShardId,
    /// Says which one, of those that had this number.
    pub(crate) born: u64,
    pub(crate) updates: i64,
    pub(crate) bytes: i64,
    pub(crate) stored_bytes: i64,
}

impl Swap {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.gone.len() as u64);
        for (number, shards) in &self.gone {
            put_u64(&mut out, *number);
            put_u64(&mut out, shards.len() as u64);
            shards.iter().for_each(|s| put_u64(&mut out, s.0));
        }
        put_u64(&mut out, self.new.len() as u64);
        self.new.iter().for_each(|s| s.encode(&mut out));
        put_u64(&mut out, self.changes.len() as u64);
        for c in &self.changes {
            put_u64(&mut out, c.shard.0);
            put_u64(&mut out, c.born);
            put_i64(&mut out, c.updates);
            put_i64(&mut out, c.bytes);
            put_i64(&mut out, c.stored_bytes);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Swap> {
        let mut r = Reader(bytes);
        let swap = Swap {
            gone: r.list(|r| Some((r.u64()?, r.list(|r| Some(ShardId(r.u64()?)))?)))?,
            new: r.list(|r| Sealed::decode(r, frame::VERSION))?,
            changes: r.list(|r| {
                Some(Change {
                    shard: ShardId(r.u64()?),
                    born: r.u64()?,
                    updates: r.i64()?,
                    bytes: r.i64()?,
                    stored_bytes: r.i64()?,
                })
            })?,
        };
        r.end()?;
        Some(swap)
    }
}

/// The payload of a commit frame: a group without its updates.
pub(crate) fn encode_commit(g: &FrameGroup) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, g.time);
    put_u64(&mut out, g.oracle_mark.unwrap_or(0));
    for times in [&g.uppers, &g.sinces] {
        put_u64(&mut out, times.len() as u64);
        for (shard, time) in times {
            put_u64(&mut out, shard.0);
            put_u64(&mut out, *time);
        }
    }
    put_u64(&mut out, g.drop_progress.len() as u64);
    g.drop_progress.iter().for_each(|s| put_u64(&mut out, *s));
    put_u64(&mut out, g.progress.len() as u64);
    for (source, partitions) in &g.progress {
        put_u64(&mut out, *source);
        put_u64(&mut out, partitions.len() as u64);
        for (partition, offset) in partitions {
            put_i64(&mut out, i64::from(*partition));
            put_i64(&mut out, *offset);
        }
    }
    put_u64(&mut out, g.catalog.len() as u64);
    for (key, value) in &g.catalog {
        put_bytes(&mut out, key.as_bytes());
        match value {
            Some(value) => {
                put_u64(&mut out, 1);
                put_bytes(&mut out, value)
            }
            None => put_u64(&mut out, 0),
        }
    }
    put_u64(&mut out, g.drop_shards.len() as u64);
    g.drop_shards.iter().for_each(|s| put_u64(&mut out, s.0));
    out
}

/// What [`encode_commit`] was given.
pub(crate) fn decode_commit(bytes: &[u8]) -> Option<FrameGroup> {
    let mut r = Reader(bytes);
    let group = FrameGroup {
        time: r.u64()?,
        updates: Vec::new(),
        oracle_mark: Some(r.u64()?).filter(|m| *m != 0),
        uppers: r.list(|r| Some((ShardId(r.u64()?), r.u64()?)))?,
        sinces: r.list(|r| Some((ShardId(r.u64()?), r.u64()?)))?,
        drop_progress: r.list(|r| r.u64())?,
        progress: r.list(|r| Some((r.u64()?, r.list(partition)?)))?,
        catalog: r.list(|r| {
            let key = r.string()?;
            let value = if r.u64()? == 1 { Some(r.bytes()?.to_vec()) } else { None };
            Some((key, value))
        })?,
        drop_shards: r.list(|r| Some(ShardId(r.u64()?)))?,
    };
    r.end()?;
    Some(group)
}

/// Where a block of rows is in a file, and what it holds: an entry of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) shard: ShardId,
    pub(crate) kind: BlockKind,
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    /// Header and payload.
    pub(crate) len: u64,
    pub(crate) rows: u32,
    pub(crate) lower: Timestamp,
    pub(crate) upper: Timestamp,
}

impl Entry {
    /// The entry of a data frame.
    pub(crate) fn new(header: &Header, offset: u64) -> Entry {
        Entry {
            shard: header.shard,
            kind: header.block,
            sequence: header.sequence,
            offset,
            len: header.frame_len(),
            rows: header.rows,
            lower: header.lower,
            upper: header.upper,
        }
    }
}

/// The payload of a footer: entries by shard, each as the difference to the one before.
pub(crate) fn encode_footer(entries: &mut [Entry]) -> Vec<u8> {
    entries.sort_by_key(|e| (e.shard, e.sequence));
    let mut out = Vec::new();
    put_u64(&mut out, entries.chunk_by(|a, b| a.shard == b.shard).count() as u64);
    for run in entries.chunk_by(|a, b| a.shard == b.shard) {
        put_u64(&mut out, run[0].shard.0);
        put_u64(&mut out, run.len() as u64);
        let (mut sequence, mut offset, mut time) = (0, 0, 0);
        for e in run {
            put_u64(&mut out, e.sequence - sequence);
            put_u64(&mut out, e.offset - offset);
            put_u64(&mut out, e.len);
            put_u64(&mut out, u64::from(e.rows));
            put_i64(&mut out, e.lower.wrapping_sub(time) as i64);
            put_u64(&mut out, e.upper - e.lower);
            put_u64(&mut out, u64::from(frame::block_code(e.kind)));
            (sequence, offset, time) = (e.sequence, e.offset, e.lower);
        }
    }
    out
}

/// What [`encode_footer`] was given.
pub(crate) fn decode_footer(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut r = Reader(bytes);
    let mut entries = Vec::new();
    for _ in 0..r.count()? {
        let shard = ShardId(r.u64()?);
        let (mut sequence, mut offset, mut time) = (0u64, 0u64, 0u64);
        for _ in 0..r.count()? {
            sequence = sequence.checked_add(r.u64()?)?;
            offset = offset.checked_add(r.u64()?)?;
            let (len, rows) = (r.u64()?, r.u32()?);
            time = time.wrapping_add(r.i64()? as u64);
            let upper = time.checked_add(r.u64()?)?;
            let kind = frame::block_kind(r.u64()?.try_into().ok()?)?;
            entries.push(Entry { shard, kind, sequence, offset, len, rows, lower: time, upper });
        }
    }
    r.end()?;
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> FrameGroup {
        FrameGroup {
            time: 17,
            progress: vec![(3, vec![(0, 10), (-1, -2)]), (4, vec![])],
            uppers: vec![(ShardId(1), 5)],
            sinces: vec![(ShardId(2), 6)],
            catalog: vec![("a".into(), Some(b"1".to_vec())), ("b".into(), None)],
            drop_shards: vec![ShardId(9)],
            drop_progress: vec![8],
            oracle_mark: Some(99),
            ..FrameGroup::default()
        }
    }

    #[test]
    fn commits_and_checkpoints_come_back() {
        let group = group();
        let back = decode_commit(&encode_commit(&group)).expect("sound");
        assert_eq!(format!("{group:?}"), format!("{back:?}"));
        let mut state = State::default();
        state.apply(&group, 5);
        state.seal(sealed(1, 1, 5));
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes, frame::VERSION), Some(state));
        for cut in 0..bytes.len() {
            assert_eq!(State::decode(&bytes[..cut], frame::VERSION), None);
        }
    }

    /// A file with a part of one shard.
    fn sealed(number: u64, shard: u64, sequence: u64) -> Sealed {
        let shard = ShardId(shard);
        let part = Part { shard, sequence, blocks: 2, rows: 30, stored: 400, lower: 5, upper: 9 };
        Sealed { number, run: false, len: 500, sequence: 3, hash: 4, parts: vec![part] }
    }

    #[test]
    fn swaps_come_back_and_do_not_bring_back_what_was_dropped() {
        let change = Change { shard: ShardId(1), born: 5, updates: -10, bytes: 0, stored_bytes: -100 };
        let swap = Swap {
            gone: vec![(1, vec![ShardId(1), ShardId(2)])],
            new: vec![Sealed { run: true, ..sealed(2, 1, 7) }],
            changes: vec![change],
        };
        let bytes = swap.encode();
        assert_eq!(Swap::decode(&bytes), Some(swap.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(Swap::decode(&bytes[..cut]), None);
        }
        let mut state = State::default();
        state.apply(&group(), 5);
        state.seal(sealed(1, 1, 7));
        let drop = FrameGroup { drop_shards: vec![ShardId(1)], ..FrameGroup::default() };
        let again = FrameGroup { uppers: vec![(ShardId(1), 3)], ..FrameGroup::default() };
        let (mut swapped, mut dropped) = (state.clone(), state);
        swapped.shards.get_mut(&ShardId(1)).expect("is there").updates = 30;
        swapped.swap(&swap);
        assert_eq!(swapped.sealed.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(swapped.shards[&ShardId(1)].updates, 20);
        dropped.apply(&drop, 8);
        assert!(dropped.sealed.is_empty());
        dropped.apply(&again, 9);
        dropped.swap(&swap);
        assert!(dropped.sealed.is_empty(), "the number is another shard's now");
        assert_eq!(dropped.shards[&ShardId(1)].updates, 0);
    }

    #[test]
    fn footers_come_back_by_shard() {
        let entry = |shard, sequence, lower| Entry {
            shard: ShardId(shard),
            kind: BlockKind::Errors,
            sequence,
            offset: sequence * 100,
            len: 100,
            rows: 3,
            lower,
            upper: lower + 2,
        };
        let mut entries = vec![entry(2, 1, 50), entry(1, 2, 60), entry(2, 3, 40)];
        let bytes = encode_footer(&mut entries);
        assert_eq!(decode_footer(&bytes), Some(vec![entry(1, 2, 60), entry(2, 1, 50), entry(2, 3, 40)]));
    }
}
