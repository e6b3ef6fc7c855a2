//! The promises of storage: on a simulated disk that loses power, fills up and fails, and on a real one with sled.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use repr::{Datum, Row, RowBlock, Timestamp};
use storage::inspect::{self, Item, Role};
use storage::sim::{Op, Random, SimFs};
use storage::{
    BlockKind, FrameGroup, Location, Options, RealFs, Recovered, ShardId, ShardUpdate, Storage, StorageError,
};

const DIR: &str = "/data";
const SHARD: ShardId = ShardId(7);

/// Small files, so that every test meets several.
const SMALL: Options = Options { segment_bytes: 3000, block_bytes: 500, batch_bytes: 1 << 20 };

fn try_open(fs: &SimFs) -> Result<(Storage, Recovered), StorageError> {
    Storage::open(Location::Directory(DIR.into()), Arc::new(fs.clone()), SMALL)
}

fn open(fs: &SimFs) -> (Storage, Recovered) {
    try_open(fs).expect("the directory is sound")
}

fn block(rows: impl IntoIterator<Item = i64>) -> Arc<RowBlock> {
    let mut block = RowBlock::default();
    for n in rows {
        let text = format!("row {n} {}", "abcdefg".repeat(n as usize % 9));
        block.push(Row::pack([Datum::Int64(n), Datum::Text(&text)]).as_ref(), 1);
    }
    Arc::new(block)
}

fn rows_at(time: Timestamp) -> std::ops::Range<i64> {
    let time = time as i64;
    10 * time..10 * time + 1 + time % 7
}

/// Tick `time`: some rows, the offset behind them, now and then a change of the catalog.
fn tick(time: Timestamp) -> FrameGroup {
    FrameGroup {
        time,
        updates: vec![ShardUpdate { shard: SHARD, kind: BlockKind::Rows, block: block(rows_at(time)) }],
        progress: vec![(1, vec![(0, time as i64), ((time % 3) as i32 + 1, -(time as i64))])],
        catalog: if time.is_multiple_of(4) {
            vec![(format!("at {}", time % 8), Some(vec![time as u8]))]
        } else {
            vec![]
        },
        oracle_mark: Some(time * 2),
        ..FrameGroup::default()
    }
}

/// What a storage holds after `ticks` ticks from 1 on, compared with what it says.
fn check(storage: &Storage, recovered: Option<&Recovered>, ticks: Timestamp, context: &str) {
    let expected: Vec<_> = (1..=ticks)
        .flat_map(|t| block(rows_at(t)).iter().map(|(r, d)| (t, r.to_row(), d)).collect::<Vec<_>>())
        .collect();
    assert_eq!(read(storage, SHARD), expected, "{context}");
    let catalog: BTreeMap<_, _> = (1..=ticks)
        .filter(|t| t.is_multiple_of(4))
        .map(|t| (format!("at {}", t % 8), vec![t as u8]))
        .collect();
    let offset = storage.progress(1).get(&0).copied().unwrap_or(0);
    assert_eq!(offset, ticks as i64, "{context}");
    if let Some(recovered) = recovered {
        assert_eq!(recovered.catalog, catalog, "{context}");
        assert_eq!(recovered.last_time, ticks, "{context}");
        assert_eq!(recovered.oracle_mark, ticks * 2, "{context}");
    }
    if ticks > 0 {
        let stats = storage.shard_stats(SHARD).expect("has rows");
        assert_eq!((stats.rows, stats.upper), (expected.len() as i64, ticks + 1), "{context}");
    }
}

fn read(storage: &Storage, shard: ShardId) -> Vec<(Timestamp, Row, i64)> {
    let mut rows = Vec::new();
    for item in storage.scan(shard, 0, Timestamp::MAX).expect("no scan fails at once") {
        let (time, _, block) = item.expect("the log is sound");
        rows.extend(block.iter().map(|(row, diff)| (time, row.to_row(), diff)));
    }
    rows
}

fn log_files(fs: &SimFs) -> Vec<PathBuf> {
    fs.files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "log")).collect()
}

/// All files and what is in them.
fn contents(fs: &SimFs) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    fs.files().into_iter().map(|path| (path.clone(), fs.contents(&path))).collect()
}

fn runs(fs: &SimFs) -> Vec<PathBuf> {
    fs.files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "run")).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let fs = SimFs::new();
    let (storage, recovered) = open(&fs);
    assert_eq!(recovered, Recovered::default());
    for time in 1..=100 {
        storage.append_wait(tick(time)).expect("healthy");
        check(&storage, None, time, "while running");
    }
    assert!(log_files(&fs).len() + runs(&fs).len() > 3, "it rolled");
    storage.close();
    for disk in [fs.kill(), fs.power_cut(1)] {
        let (storage, recovered) = open(&disk);
        // That a file was removed may not have reached the disk.
        assert!(recovered.notes.iter().all(|n| n.starts_with("removed")), "{:?}", recovered.notes);
        check(&storage, Some(&recovered), 100, "after the restart");
        storage.append_wait(tick(101)).expect("healthy");
        drop(storage);
        let (storage, recovered) = open(&disk);
        check(&storage, Some(&recovered), 101, "after another");
    }
}

#[test]
fn memory_behaves_the_same() {
    let (storage, recovered) =
        Storage::open(Location::Memory, Arc::new(SimFs::new()), SMALL).expect("memory has no faults");
    assert_eq!(recovered, Recovered::default());
    for time in 1..=20 {
        storage.append_wait(tick(time)).expect("memory has no faults");
    }
    check(&storage, None, 20, "memory");
    storage.append_wait(FrameGroup { drop_shards: vec![SHARD], ..tick(21) }).expect("memory has no faults");
    assert_eq!(read(&storage, SHARD), []);
    assert_eq!(storage.shard_stats(SHARD), None);
}

#[test]
fn every_part_of_a_group_comes_back() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    let mut mixed = RowBlock::default();
    for (n, diff) in [(1, 1), (2, -1), (3, 5)] {
        mixed.push(Row::pack([Datum::Int64(n)]).as_ref(), diff);
    }
    let mixed = Arc::new(mixed);
    let group = FrameGroup {
        time: 10,
        updates: vec![
            ShardUpdate { shard: ShardId(1), kind: BlockKind::Rows, block: mixed.clone() },
            ShardUpdate { shard: ShardId(1), kind: BlockKind::Errors, block: block(0..2) },
            ShardUpdate { shard: ShardId(2), kind: BlockKind::Rows, block: Arc::default() },
        ],
        progress: vec![(5, vec![(0, 7)]), (6, vec![(1, 8)])],
        uppers: vec![(ShardId(3), 20)],
        sinces: vec![(ShardId(1), 4)],
        catalog: vec![("a".into(), Some(b"1".to_vec())), ("b".into(), Some(Vec::new()))],
        ..FrameGroup::default()
    };
    storage.append_wait(group).expect("healthy");
    let next = FrameGroup {
        time: 11,
        catalog: vec![("a".into(), None)],
        drop_progress: vec![5],
        ..FrameGroup::default()
    };
    storage.append_wait(next).expect("healthy");
    drop(storage);
    let (storage, recovered) = open(&fs);
    assert_eq!(recovered.catalog, BTreeMap::from([("b".to_owned(), Vec::new())]));
    assert_eq!(recovered.progress, BTreeMap::from([(6, BTreeMap::from([(1, 8)]))]));
    assert_eq!(recovered.last_time, 11);
    let one = &recovered.shards[&ShardId(1)];
    assert_eq!((one.rows, one.errors, one.updates, one.upper, one.since), (5, 2, 5, 11, 4));
    assert!(!one.append_only);
    assert_eq!(recovered.shards[&ShardId(3)].upper, 20);
    assert!(recovered.shards[&ShardId(3)].append_only);
    assert!(!recovered.shards.contains_key(&ShardId(2)), "an empty block is none");
    let scanned: Vec<_> =
        storage.scan(ShardId(1), 10, 10).expect("known").map(|r| r.expect("sound")).collect();
    assert_eq!(scanned, [(10, BlockKind::Rows, mixed), (10, BlockKind::Errors, block(0..2))]);
}

#[test]
fn scans_keep_to_their_times() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=30 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    let times = |from, as_of| {
        let mut times: Vec<_> =
            storage.scan(SHARD, from, as_of).expect("known").map(|item| item.expect("sound").0).collect();
        times.dedup();
        times
    };
    assert_eq!(times(0, 3), [1, 2, 3]);
    assert_eq!(times(5, 7), [5, 6, 7]);
    assert_eq!(times(29, 100), [29, 30]);
    assert_eq!(times(31, 100), []);
    assert_eq!(times(7, 5), []);
}

#[test]
fn a_scan_does_not_see_what_comes_or_goes_later() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=50 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    let expected = read(&storage, SHARD);
    let mut scan = storage.scan(SHARD, 0, Timestamp::MAX).expect("known");
    let mut rows = Vec::new();
    for time in 51..=80 {
        storage.append_wait(tick(time)).expect("healthy");
        if let Some(item) = scan.next() {
            let (time, _, block) = item.expect("sound");
            rows.extend(block.iter().map(|(row, diff)| (time, row.to_row(), diff)));
        }
    }
    let used = fs.used();
    storage.append_wait(FrameGroup { drop_shards: vec![SHARD], ..tick(81) }).expect("healthy");
    assert_eq!(read(&storage, SHARD), []);
    assert!(fs.used() < used / 2, "the files went");
    for item in scan {
        let (time, _, block) = item.expect("an open file can be read after its removal");
        rows.extend(block.iter().map(|(row, diff)| (time, row.to_row(), diff)));
    }
    assert_eq!(rows, expected);
}

#[test]
fn large_blocks_are_cut_and_come_back_in_order() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    let big = block(0..1000);
    let update = ShardUpdate { shard: SHARD, kind: BlockKind::Rows, block: big.clone() };
    storage
        .append_wait(FrameGroup { time: 1, updates: vec![update], ..FrameGroup::default() })
        .expect("healthy");
    drop(storage);
    let (storage, _) = open(&fs);
    let scan = storage.scan(SHARD, 0, 1).expect("known");
    assert_eq!(scan.remaining_rows(), 1000);
    assert!(scan.map(|item| item.expect("sound").2.byte_len()).all(|bytes| bytes < 600));
    assert!(
        read(&storage, SHARD).into_iter().map(|(_, row, _)| row).eq(big.iter().map(|(row, _)| row.to_row()))
    );
}

#[test]
fn a_tail_torn_at_any_byte_loses_the_last_group_only() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=4 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    let path = log_files(&fs).pop().expect("one");
    let end = fs.contents(&path).expect("there").len();
    storage.append_wait(tick(5)).expect("healthy");
    let whole = fs.contents(&path).expect("there").len();
    assert!(whole > end, "it did not roll just now");
    for len in end..whole {
        let torn = fs.kill();
        torn.damage(&path, |bytes| bytes.truncate(len));
        let (storage, recovered) = open(&torn);
        assert_eq!(recovered.notes.len(), usize::from(len > end), "{:?}", recovered.notes);
        check(&storage, Some(&recovered), 4, &format!("cut at {len}"));
        storage.append_wait(tick(5)).expect("healthy");
        drop(storage);
        let (storage, recovered) = open(&torn);
        assert_eq!(recovered.notes, Vec::<String>::new());
        check(&storage, Some(&recovered), 5, &format!("cut at {len}, appended again"));
    }
}

/// How many ticks a storage holds: those acknowledged, and perhaps some of the others, in order.
fn recovered_ticks(disk: &SimFs, acknowledged: u64, appended: u64, context: &str) -> u64 {
    let (storage, recovered) = try_open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    let ticks = recovered.last_time;
    assert!((acknowledged..=appended).contains(&ticks), "{context}: {ticks} of {acknowledged} to {appended}");
    check(&storage, Some(&recovered), ticks, context);
    // And it goes on from there.
    storage.append_wait(tick(ticks + 1)).expect("healthy");
    storage.append_wait(tick(ticks + 2)).expect("healthy");
    drop(storage);
    let (storage, recovered) = try_open(disk).unwrap_or_else(|e| panic!("{context}, second start: {e}"));
    assert_eq!(recovered.notes, Vec::<String>::new(), "{context}");
    check(&storage, Some(&recovered), ticks + 2, context);
    ticks
}

#[test]
fn a_power_cut_during_a_sync_loses_nothing_acknowledged() {
    let mut kept = BTreeMap::new();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let fs = SimFs::new();
        let (storage, _) = open(&fs);
        let acknowledged = random.below(40);
        for time in 1..=acknowledged {
            storage.append_wait(tick(time)).expect("healthy");
        }
        fs.hold_syncs(true);
        let more = 1 + random.below(5);
        let (sender, receiver) = mpsc::channel();
        for time in acknowledged + 1..=acknowledged + more {
            let sender = sender.clone();
            storage.append(tick(time), Box::new(move |result| sender.send(result).expect("is awaited")));
        }
        fs.await_held_sync();
        let cut = fs.power_cut(seed);
        fs.hold_syncs(false);
        for _ in 0..more {
            receiver.recv().expect("answered").expect("healthy");
        }
        let ticks = recovered_ticks(&cut, acknowledged, acknowledged + more, &format!("seed {seed}"));
        *kept.entry(ticks - acknowledged).or_insert(0) += 1;
    }
    assert!(kept.len() > 2, "cuts came before, within and after writes: {kept:?}");
}

#[test]
fn a_fault_at_any_call_leaves_whole_groups() {
    let operations = [Op::Write, Op::Sync, Op::Create, Op::SyncDir];
    let faults = [io::ErrorKind::Other, io::ErrorKind::StorageFull];
    for (op, fault) in operations.into_iter().flat_map(|op| faults.map(|fault| (op, fault))) {
        for nth in 0.. {
            let context = format!("{op:?} {nth} {fault:?}");
            let fs = SimFs::new();
            let (storage, _) = open(&fs);
            fs.inject(op, nth, false, fault);
            let mut acknowledged = 0;
            let failed = (1..=40).find_map(|time| {
                let result = storage.append_wait(tick(time));
                acknowledged += u64::from(result.is_ok());
                result.err()
            });
            let Some(error) = failed else { break };
            let full = matches!(error, StorageError::DiskFull { .. });
            assert!(
                full == (fault == io::ErrorKind::StorageFull && matches!(op, Op::Write | Op::Create)),
                "{context}: {error}"
            );
            fs.heal();
            let refused = storage.append_wait(tick(acknowledged + 1));
            assert_eq!(refused, Err(error), "{context}: nothing is accepted behind a refused group");
            let cut = fs.power_cut(nth);
            if full {
                storage.resume();
                storage.append_wait(tick(acknowledged + 1)).expect("there is room again");
                check(&storage, None, acknowledged + 1, &context);
                drop(storage);
                recovered_ticks(&fs.kill(), acknowledged + 1, acknowledged + 1, &context);
                recovered_ticks(&cut, acknowledged, acknowledged, &context);
            } else {
                recovered_ticks(&cut, acknowledged, acknowledged + 1, &context);
            }
        }
    }
}

/// What storage should hold, kept the simple way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    catalog: BTreeMap<String, Vec<u8>>,
    progress: BTreeMap<u64, BTreeMap<i32, i64>>,
    shards: BTreeMap<ShardId, BTreeMap<(Timestamp, Row), i64>>,
    sinces: BTreeMap<ShardId, Timestamp>,
    last_time: Timestamp,
}

/// The sums of diffs, of times up to `since` in one.
fn sums(
    rows: impl IntoIterator<Item = (Timestamp, Row, i64)>,
    since: Timestamp,
) -> BTreeMap<(Timestamp, Row), i64> {
    let mut sums = BTreeMap::new();
    for (time, row, diff) in rows {
        *sums.entry((time.max(since), row)).or_insert(0) += diff;
    }
    sums.retain(|_, diff| *diff != 0);
    sums
}

impl Model {
    fn apply(&mut self, group: &FrameGroup) {
        self.last_time = group.time;
        for update in &group.updates {
            let rows = self.shards.entry(update.shard).or_default();
            let new = update.block.iter().map(|(row, diff)| (group.time, row.to_row(), diff));
            let old = std::mem::take(rows).into_iter().map(|((time, row), diff)| (time, row, diff));
            *rows = sums(old.chain(new), 0);
        }
        for (shard, since) in &group.sinces {
            let rows = self.shards.entry(*shard).or_default();
            let old = std::mem::take(rows).into_iter().map(|((time, row), diff)| (time, row, diff));
            *rows = sums(old, *since);
            if *since > 0 {
                let known = self.sinces.entry(*shard).or_default();
                *known = (*known).max(*since);
            }
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
            self.sinces.remove(shard);
        }
    }

    /// Where another model differs, in a line.
    fn difference(&self, other: &Model) -> String {
        let counts = |m: &Model| m.shards.iter().map(|(id, rows)| (id.0, rows.len())).collect::<Vec<_>>();
        format!(
            "time {} or {}, catalog equal {}, progress equal {}, shards {:?} or {:?}",
            self.last_time,
            other.last_time,
            self.catalog == other.catalog,
            self.progress == other.progress,
            counts(self),
            counts(other)
        )
    }

    fn of(storage: &Storage, recovered: Recovered) -> Model {
        let (mut shards, mut sinces) = (BTreeMap::new(), BTreeMap::new());
        for (id, state) in storage.shards() {
            // Background work may merge rows while they are read, and must not change what they come to.
            let rows = sums(read(storage, id), state.since);
            assert_eq!(rows.values().sum::<i64>(), state.rows, "shard {id}");
            shards.insert(id, rows);
            if state.since > 0 {
                sinces.insert(id, state.since);
            }
        }
        storage.settle();
        for (id, state) in storage.shards() {
            assert_eq!(read(storage, id).len() as u64, state.updates, "shard {id}");
        }
        let Recovered { catalog, progress, last_time, .. } = recovered;
        Model { catalog, progress, shards, sinces, last_time }
    }
}

/// Few rows that come and go, so that sums cancel out.
fn random_group(time: Timestamp, random: &mut Random) -> FrameGroup {
    let mut group = FrameGroup { time, ..FrameGroup::default() };
    for _ in 0..random.below(4) {
        let (first, rows) = (random.below(40) as i64, 1 + random.below(20) as i64);
        let mut block = block(first..first + rows).as_ref().clone();
        if random.below(2) == 0 {
            let gone = block.iter().map(|(row, _)| row.to_row()).collect::<Vec<_>>();
            block = RowBlock::default();
            gone.iter().for_each(|row| block.push(row.as_ref(), -1));
        }
        let shard = ShardId(random.below(5));
        group.updates.push(ShardUpdate { shard, kind: BlockKind::Rows, block: Arc::new(block) });
    }
    if random.below(2) == 0 {
        group.progress.push((random.below(3), vec![(random.below(3) as i32, time as i64)]));
    }
    if random.below(4) == 0 {
        let value = (random.below(3) > 0).then(|| vec![time as u8; random.below(300) as usize]);
        group.catalog.push((format!("key {}", random.below(6)), value));
    }
    if random.below(3) == 0 {
        group.sinces.push((ShardId(random.below(5)), time.saturating_sub(random.below(8))));
    }
    if random.below(10) == 0 {
        group.drop_shards.push(ShardId(random.below(5)));
    }
    group
}

/// `DELTAMILL_STORAGE_SEEDS=5000 cargo test -p deltamill-storage --test storage any_history` looks longer.
#[test]
fn any_history_with_power_cuts_is_a_prefix_of_what_was_appended() {
    let seeds = std::env::var("DELTAMILL_STORAGE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let (mut starts, mut cut_off, mut jobs) = (0, 0, 0);
    for seed in 0..seeds {
        let mut random = Random::new(seed);
        let mut disk = SimFs::new();
        let mut models = vec![Model::default()];
        for life in 0..6 {
            let context = format!("seed {seed}, life {life}");
            let (storage, recovered) = try_open(&disk).unwrap_or_else(|e| panic!("{context}: {e}"));
            cut_off += recovered.notes.len();
            let found = Model::of(&storage, recovered);
            let at = models.iter().position(|m| *m == found);
            let last = models.last().expect("never empty");
            let at = at.unwrap_or_else(|| panic!("{context}: {}", found.difference(last)));
            models = vec![found];
            assert!(at < 10, "{context}");
            starts += 1;
            for time in (models[0].last_time + 1..).take(random.below(30) as usize) {
                let group = random_group(time, &mut random);
                models[0].apply(&group);
                storage.append_wait(group).expect("healthy");
            }
            // Some more of which the cut may take any.
            let op = [Op::Write, Op::Sync, Op::SyncDir][random.below(3) as usize];
            disk.inject(op, random.below(4), false, io::ErrorKind::Other);
            for time in (models[0].last_time + 1..).take(8) {
                let group = random_group(time, &mut random);
                let mut model = models.last().expect("never empty").clone();
                model.apply(&group);
                models.push(model);
                match storage.append_wait(group) {
                    Ok(()) => drop(models.drain(..models.len() - 1)),
                    Err(_) => break,
                }
            }
            jobs += storage.compaction().jobs;
            disk = if random.below(4) == 0 { disk.kill() } else { disk.power_cut(random.next_u64()) };
        }
    }
    assert!(starts == 6 * seeds && cut_off as u64 > seeds / 3 && jobs > seeds, "{starts} {cut_off} {jobs}");
}

/// A view of ten rows, one of which changes in each tick, beside a source that only grows. Old times are given up.
fn churn(storage: &Storage, ticks: std::ops::RangeInclusive<Timestamp>) {
    for time in ticks {
        let mut change = RowBlock::default();
        if time > 10 {
            change.push(block([time as i64 - 10]).row(0), -1);
        }
        change.push(block([time as i64]).row(0), 1);
        let view = ShardUpdate { shard: ShardId(1), kind: BlockKind::Rows, block: Arc::new(change) };
        let source = ShardUpdate { shard: ShardId(2), kind: BlockKind::Rows, block: block([time as i64]) };
        let updates = if time.is_multiple_of(50) { vec![view, source] } else { vec![view] };
        let sinces = vec![(ShardId(1), time - 1), (ShardId(2), time - 1)];
        storage.append_wait(FrameGroup { time, updates, sinces, ..FrameGroup::default() }).expect("healthy");
    }
}

/// What [`churn`] leaves.
fn check_churn(storage: &Storage, ticks: Timestamp, context: &str) {
    let now = |shard| {
        let rows = sums(read(storage, shard), ticks).into_iter();
        rows.map(|((_, row), diff)| (row, diff)).collect::<Vec<_>>()
    };
    let rows = |numbers: &mut dyn Iterator<Item = i64>| {
        let mut rows: Vec<_> = numbers.map(|n| (block([n]).row(0).to_row(), 1)).collect();
        rows.sort();
        rows
    };
    let ticks = ticks as i64;
    assert_eq!(now(ShardId(1)), rows(&mut ((ticks - 9).max(1)..=ticks)), "{context}");
    assert_eq!(now(ShardId(2)), rows(&mut (1..=ticks / 50).map(|n| n * 50)), "{context}");
}

#[test]
fn churn_does_not_fill_the_disk() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    let mut most = 0;
    for round in 0..40 {
        churn(&storage, round * 100 + 1..=round * 100 + 100);
        storage.settle();
        most = most.max(fs.used());
        check_churn(&storage, round * 100 + 100, "while running");
    }
    // Ten rows and eighty, the open file, and what is left alone.
    assert!(most < 4 * SMALL.segment_bytes, "{most} bytes");
    let (done, stats) = (storage.compaction(), storage.shard_stats(ShardId(1)).expect("has rows"));
    assert!(
        done.jobs > 10 && done.bytes_read > done.bytes_written && done.cpu > Default::default(),
        "{done:?}"
    );
    assert!(stats.rows == 10 && stats.updates < 400, "{stats:?}");
    storage.close();
    let (storage, recovered) = open(&fs);
    assert_eq!(recovered.notes, Vec::<String>::new());
    assert_eq!(storage.shard_stats(ShardId(1)), Some(stats));
    check_churn(&storage, 4000, "after a restart");
}

#[test]
fn many_small_ticks_stay_quick_to_open() {
    let fs = SimFs::new();
    let open = || {
        Storage::open(Location::Directory(DIR.into()), Arc::new(fs.clone()), Options::default())
            .expect("sound")
            .0
    };
    let storage = open();
    let (sender, receiver) = mpsc::channel();
    let ticks = 33_000;
    for time in 1..=ticks {
        let update = ShardUpdate { shard: SHARD, kind: BlockKind::Rows, block: block([time as i64 % 7]) };
        let group = FrameGroup { time, updates: vec![update], ..FrameGroup::default() };
        let sender = sender.clone();
        storage.append(group, Box::new(move |result| sender.send(result).expect("is awaited")));
    }
    (0..ticks).for_each(|_| receiver.recv().expect("answered").expect("healthy"));
    assert!(
        log_files(&fs).len() >= 2,
        "each has a bounded number of frames, all together have {} bytes",
        fs.used()
    );
    drop(storage);
    assert_eq!(read(&open(), SHARD).len() as u64, ticks);
}

#[test]
fn times_that_may_still_be_read_stay_apart() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    churn(&storage, 1..=300);
    storage
        .append_wait(FrameGroup { time: 301, sinces: vec![(SHARD, 9)], ..FrameGroup::default() })
        .expect("healthy");
    for time in 302..=400 {
        storage.append_wait(FrameGroup { time, ..tick(time - 301) }).expect("healthy");
    }
    storage.settle();
    assert!(!runs(&fs).is_empty());
    let mut times: Vec<_> = read(&storage, SHARD).iter().map(|(time, ..)| *time).collect();
    assert!(times.is_sorted());
    times.dedup();
    assert_eq!(times, (302..=400).collect::<Vec<_>>(), "since lies before all of them");
    let first: Vec<_> = storage.scan(SHARD, 310, 312).expect("known").map(|b| b.expect("sound").0).collect();
    assert!(first.first() == Some(&310) && first.last() == Some(&312), "{first:?}");
}

#[test]
fn a_cut_at_any_sync_of_background_work_changes_nothing() {
    let (mut cuts, mut unfinished, mut swapped) = (0, 0, 0);
    for seed in 0..20 {
        let fs = SimFs::new();
        let large = Options { segment_bytes: 1 << 20, ..SMALL };
        let (storage, _) = Storage::open(Location::Directory(DIR.into()), Arc::new(fs.clone()), large)
            .expect("a new directory");
        let ticks = 100 + seed * 10;
        churn(&storage, 1..=ticks);
        storage.close();
        // In small files there is something to do, as soon as the large one is sealed.
        let (storage, _) = open(&fs);
        fs.hold_syncs(true);
        let appending = std::thread::spawn({
            let storage = storage.clone();
            move || {
                let nothing = FrameGroup { time: ticks + 1, ..FrameGroup::default() };
                storage.append_wait(nothing).expect("healthy");
                storage.settle();
            }
        });
        while !appending.is_finished() {
            if !fs.holds_sync() {
                std::thread::yield_now();
                continue;
            }
            for disk in [fs.power_cut(cuts), fs.power_cut(cuts + 1), fs.kill()] {
                let context = format!("seed {seed}, cut {cuts}");
                let (storage, recovered) = try_open(&disk).unwrap_or_else(|e| panic!("{context}: {e}"));
                assert!(!recovered.notes.iter().any(|n| n.contains("aside")), "{:?}", recovered.notes);
                unfinished += usize::from(recovered.notes.iter().any(|n| n.contains(".run")));
                check_churn(&storage, ticks, &context);
                storage.settle();
                check_churn(&storage, ticks, &context);
                cuts += 1;
            }
            fs.pass_sync();
        }
        fs.hold_syncs(false);
        appending.join().expect("nothing panics");
        swapped += storage.compaction().jobs;
        check_churn(&storage, ticks, "uncut");
    }
    assert!(cuts > 100 && unfinished > 10 && swapped >= 20, "{cuts} {unfinished} {swapped}");
}

#[test]
fn background_work_that_fails_costs_nothing() {
    for (op, nth) in
        [Op::Create, Op::Write, Op::SyncDir].into_iter().flat_map(|op| (0..4).map(move |n| (op, n)))
    {
        for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            let fs = SimFs::new();
            let (storage, _) = open(&fs);
            let mut time = 0;
            // Until the fault has been met, by whomever.
            fs.inject(op, 20 + nth, true, error);
            let before = fs.calls(op);
            while fs.calls(op) <= before + 20 + nth && time < 2000 {
                time += 1;
                let view =
                    ShardUpdate { shard: ShardId(1), kind: BlockKind::Rows, block: block([time as i64]) };
                let group = FrameGroup {
                    time,
                    updates: vec![view],
                    sinces: vec![(ShardId(1), time - 1)],
                    ..FrameGroup::default()
                };
                match storage.append_wait(group) {
                    Ok(()) => {}
                    Err(StorageError::DiskFull { .. }) => {
                        storage.resume();
                        time -= 1;
                    }
                    Err(_) => {
                        time -= 1;
                        break;
                    }
                }
            }
            let context = format!("{op:?} {nth} {error:?}");
            drop(storage);
            let (storage, recovered) = open(&fs.power_cut(nth));
            assert!((time..=time + 1).contains(&recovered.last_time), "{context}");
            assert_eq!(read(&storage, ShardId(1)).len() as u64, recovered.last_time, "{context}");
        }
    }
}

#[test]
fn a_full_disk_takes_nothing_in_part_and_recovers() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=5 {
        storage.append_wait(tick(time)).expect("room");
    }
    for spare in [0, 1, 87, 88, 100, 150] {
        fs.set_capacity(Some(fs.used() + spare));
        let refused = storage.append_wait(tick(6));
        assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{spare}: {refused:?}");
        check(&storage, None, 5, "reads go on");
        recovered_ticks(&fs.kill(), 5, 5, "full");
        storage.resume();
    }
    fs.set_capacity(None);
    for time in 6..=60 {
        storage.append_wait(tick(time)).expect("room again");
    }
    check(&storage, None, 60, "after it was full");
}

#[test]
fn a_full_disk_at_the_start_still_serves_reads() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("room");
    }
    drop(storage);
    fs.set_capacity(Some(fs.used()));
    let (storage, recovered) = open(&fs);
    check(&storage, Some(&recovered), 60, "full");
    assert!(matches!(storage.append_wait(tick(61)), Err(StorageError::DiskFull { .. })));
    fs.set_capacity(None);
    storage.resume();
    storage.append_wait(tick(61)).expect("room again");
    check(&storage, None, 61, "after it was full");
}

#[test]
fn a_failed_sync_refuses_all_that_follows() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    storage.append_wait(tick(1)).expect("healthy");
    fs.inject(Op::Sync, 0, true, io::ErrorKind::Other);
    let failed = storage.append_wait(tick(2)).expect_err("the sync failed");
    assert!(matches!(failed, StorageError::SyncFailed { .. }) && failed.exit_code() == 74, "{failed}");
    storage.resume();
    assert_eq!(storage.append_wait(tick(3)), Err(failed));
    check(&storage, None, 1, "what is durable can be read");
}

#[test]
fn groups_that_queue_up_share_a_sync() {
    // How many have queued up when the sync ends is for the scheduler to say.
    let shared = (0..20).any(|_| {
        let fs = SimFs::new();
        let options = Options::default();
        let (storage, _) =
            Storage::open(Location::Directory(DIR.into()), Arc::new(fs.clone()), options).expect("sound");
        let (sender, receiver) = mpsc::channel();
        fs.hold_syncs(true);
        let (before, writes) = (fs.calls(Op::Sync), fs.calls(Op::Write));
        for time in 1..=10 {
            let sender = sender.clone();
            let done = move |result: Result<(), _>| sender.send((time, result.is_ok())).expect("is awaited");
            storage.append(tick(time), Box::new(done));
            if time == 1 {
                fs.await_held_sync();
            }
        }
        fs.hold_syncs(false);
        let answers: Vec<_> = (0..10).map(|_| receiver.recv().expect("answered")).collect();
        assert_eq!(answers, (1..=10).map(|t| (t, true)).collect::<Vec<_>>(), "in order");
        assert_eq!(fs.calls(Op::Write) - writes, 10, "one write a group");
        fs.calls(Op::Sync) - before <= 5
    });
    assert!(shared);
}

#[test]
fn any_damage_is_found_and_named() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=40 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    storage.settle();
    drop(storage);
    let tail = log_files(&fs).pop().expect("some");
    let files = [log_files(&fs), runs(&fs)].concat();
    assert!(files.len() >= 3 && !runs(&fs).is_empty(), "{files:?}");
    // The last write cannot be told from one that never ended, so its bytes are left alone.
    let last_write = fs.contents(&tail).expect("there").len() - 330;
    let mut random = Random::new(3);
    let (mut refused, mut unreadable, mut harmless) = (0, 0, 0);
    for trial in 0..1500 {
        let path = &files[random.below(files.len() as u64) as usize];
        let size = fs.contents(path).expect("there").len();
        let limit = if *path == tail { last_write } else { size };
        let at = random.below(limit as u64) as usize;
        let damaged = fs.kill();
        let kind = random.below(3);
        damaged.damage(path, |bytes| match kind {
            0 => bytes[at] ^= 1 << (trial % 8),
            1 => bytes[at..(at + 100).min(limit)].fill(0),
            _ if *path != tail => bytes.truncate(at),
            _ => bytes[at] = !bytes[at],
        });
        let context = format!("trial {trial}: {} at {at}, kind {kind}", path.display());
        let before = contents(&damaged);
        let report = inspect::inspect(Arc::new(damaged.clone()), Path::new(DIR), true).expect("readable");
        assert!(contents(&damaged) == before, "{context}: to look changes nothing");
        let said = report.damages.join("\n");
        let named = said.contains(path.file_name().and_then(|n| n.to_str()).expect("a name"));
        match try_open(&damaged) {
            Err(StorageError::Damaged { file, .. }) => {
                assert_eq!(file, *path, "{context}");
                assert!(named && said.contains("refuses"), "{context}: {said}");
                refused += 1;
            }
            Err(StorageError::Version { .. }) if at < 12 => refused += 1,
            Err(e) => panic!("{context}: {e}"),
            Ok((storage, recovered)) => {
                assert_eq!(recovered.last_time, 40, "{context}");
                let mut scan = storage.scan(SHARD, 0, Timestamp::MAX).expect("known");
                match scan.find_map(Result::err) {
                    Some(StorageError::Damaged { file, offset, .. }) => {
                        assert!(file == *path && offset as usize <= at + 100, "{context}");
                        assert!(named, "{context}: {said}");
                        unreadable += 1;
                    }
                    Some(StorageError::Version { file, .. }) if at < 12 && file == *path => unreadable += 1,
                    Some(e) => panic!("{context}: {e}"),
                    None => {
                        check(&storage, Some(&recovered), 40, &context);
                        assert_eq!(report.damages, Vec::<String>::new(), "{context}");
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 50 && unreadable > 100, "{refused} {unreadable} {harmless}");
}

#[test]
fn missing_and_swapped_files_are_named() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    let other = ShardUpdate { shard: ShardId(8), kind: BlockKind::Rows, block: block(0..5) };
    storage.append_wait(FrameGroup { updates: vec![other], ..tick(61) }).expect("healthy");
    storage.settle();
    storage.close();
    let sealed = runs(&fs);
    assert!(sealed.len() >= 2, "{sealed:?}");
    let missing = fs.kill();
    storage::Fs::remove(&missing, &sealed[1]).expect("there");
    let swapped = fs.kill();
    let other = fs.contents(&sealed[0]).expect("there");
    swapped.damage(&sealed[1], |bytes| *bytes = other);
    for (disk, wanted) in [(missing, "the file is missing"), (swapped, "bytes")] {
        // Twice: it stays as it is.
        for _ in 0..2 {
            let (storage, recovered) = open(&disk);
            assert!(recovered.notes.iter().any(|n| n.contains("set aside")), "{:?}", recovered.notes);
            let failed = storage.scan(SHARD, 0, Timestamp::MAX).expect("known").find_map(Result::err);
            match failed {
                Some(StorageError::Damaged { file, what, .. }) => {
                    assert!(file == sealed[1] && what.contains(wanted), "{what}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(read(&storage, ShardId(8)).len(), 5, "others go on");
            let last = recovered.last_time;
            storage.append_wait(FrameGroup { time: last + 1, ..FrameGroup::default() }).expect("healthy");
            storage.settle();
        }
        let (storage, recovered) = open(&disk);
        let group =
            FrameGroup { time: recovered.last_time + 1, drop_shards: vec![SHARD], ..FrameGroup::default() };
        storage.append_wait(group).expect("healthy");
        drop(storage);
        assert_eq!(open(&disk).1.notes, Vec::<String>::new(), "nobody needs it any more");
    }
}

#[test]
fn a_look_from_outside_tells_what_a_start_would_do() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    storage.settle();
    let locked = inspect::inspect(Arc::new(fs.clone()), Path::new(DIR), true).map(drop);
    assert!(matches!(locked, Err(StorageError::Locked { .. })), "{locked:?}");
    let (shards, expected) = (storage.shards(), read(&storage, SHARD));
    storage.close();
    let look = |disk: &SimFs| {
        let before = contents(disk);
        let report = inspect::inspect(Arc::new(disk.clone()), Path::new(DIR), true).expect("readable");
        assert!(contents(disk) == before, "to look changes nothing");
        report
    };
    let report = look(&fs);
    assert_eq!((&report.repairs, &report.damages), (&vec![], &vec![]));
    assert_eq!((report.shards, report.last_time), (shards, 60));
    assert_eq!(report.files.iter().filter(|f| f.role == Role::Tail).count(), 1);
    assert!(report.files.iter().any(|f| f.role == Role::Run && f.shards == [SHARD] && f.live_bytes > 0));
    assert_eq!(report.progress[&1][&0], 60);
    let mut rows = vec![];
    inspect::dump(Arc::new(fs.clone()), Path::new(DIR), Some(SHARD), &mut |item| {
        if let Item::Row(time, BlockKind::Rows, row, diff) = item {
            rows.push((time, row.to_row(), diff));
        }
        true
    })
    .expect("sound");
    assert_eq!(rows, expected);
    let mut text = vec![];
    inspect::dump(Arc::new(fs.clone()), Path::new(DIR), None, &mut |item| {
        match item {
            Item::File(name) => text.push(name.to_owned()),
            Item::Frame(offset, frame) => text.push(format!("{offset} {frame}")),
            Item::Row(..) => unreachable!("frames were asked for"),
        }
        true
    })
    .expect("sound");
    for wanted in [
        ".run",
        "Checkpoint #",
        "shard 7 Rows",
        "source 1 at 0:60",
        "Footer #",
        "trailer",
        "at 4 set to 1 bytes",
    ] {
        assert!(text.iter().any(|line| line.contains(wanted)), "{wanted}: {text:#?}");
    }
    // A write that never ended is no damage.
    let tail = log_files(&fs).pop().expect("some");
    let torn = fs.kill();
    torn.damage(&tail, |bytes| bytes.extend_from_slice(b"dM half a frame"));
    let report = look(&torn);
    assert!(report.damages.is_empty() && report.repairs.len() == 1, "{report:?}");
    assert_eq!(open(&torn).1.notes, report.repairs);
    // A file that background work had not finished.
    let leftover = fs.kill();
    storage::Fs::open(&leftover, Path::new("/data/000999.run"), true).expect("new");
    let report = look(&leftover);
    assert!(report.damages.is_empty() && report.files.iter().any(|f| f.role == Role::Leftover), "{report:?}");
    assert_eq!(open(&leftover).1.notes, report.repairs);
    assert!(!leftover.files().contains(&"/data/000999.run".into()));
    assert_eq!(open(&leftover).0.append_wait(tick(61)), Ok(()), "numbers go on behind it");
    let nothing = inspect::inspect(Arc::new(SimFs::new()), Path::new(DIR), true).expect("empty");
    assert!(nothing.files.is_empty() && nothing.damages.is_empty());
}

#[test]
fn dropped_shards_give_their_files_back_and_numbers_can_be_used_again() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    let other = ShardUpdate { shard: ShardId(8), kind: BlockKind::Rows, block: block(0..5) };
    let full = fs.used();
    let group =
        FrameGroup { time: 61, updates: vec![other], drop_shards: vec![SHARD], ..FrameGroup::default() };
    storage.append_wait(group).expect("healthy");
    assert!(fs.used() < full / 2, "{:?}", fs.files());
    storage.append_wait(FrameGroup { time: 62, ..tick(3) }).expect("healthy");
    for run in 0..2 {
        assert_eq!(read(&storage, ShardId(8)).len(), 5, "run {run}");
        assert_eq!(storage.shard_stats(SHARD).expect("is there again").rows, 4, "run {run}");
        assert!(read(&storage, SHARD).iter().all(|(time, ..)| *time == 62), "run {run}");
        assert_eq!(read(&storage, SHARD).len(), 4, "run {run}");
        if run == 0 {
            drop(open(&fs.kill()));
        }
    }
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let location = Location::Directory(dir.path().to_owned());
    let open = || Storage::open(location.clone(), Arc::new(RealFs), Options::default());
    let (storage, _) = open().expect("sound");
    match open().map(drop) {
        Err(e @ StorageError::Locked { .. }) => {
            assert_eq!(e.exit_code(), 5);
            assert!(e.to_string().contains(&std::process::id().to_string()), "{e}");
        }
        other => panic!("{other:?}"),
    }
    drop(storage);
    open().expect("the lock is free again");
}

#[test]
fn closing_answers_everything_and_refuses_the_rest() {
    let fs = SimFs::new();
    let (storage, _) = open(&fs);
    let (sender, receiver) = mpsc::channel();
    for time in 1..=30 {
        let sender = sender.clone();
        storage.append(tick(time), Box::new(move |result| sender.send(result).expect("is awaited")));
    }
    let other = storage.clone();
    storage.close();
    assert_eq!(receiver.try_iter().filter(Result::is_ok).count(), 30);
    assert_eq!(other.append_wait(tick(31)), Err(StorageError::Closed));
    check(&other, None, 30, "closed");
    check(&open(&fs).0, None, 30, "open again beside the closed handle");
}

/// A process that is just being started by another test has the lock file open for a moment, too.
fn open_real(dir: &Path) -> Result<(Storage, Recovered), StorageError> {
    loop {
        match Storage::open(Location::Directory(dir.to_owned()), Arc::new(RealFs), SMALL) {
            Err(StorageError::Locked { .. }) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// On a real disk with sled: writes ticks, does something to the directory, and expects all ticks back.
fn with_real_directory(harm: impl Fn(&Path), note: Option<&str>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || open_real(dir.path()).expect("the log is sound");
    let (storage, _) = open();
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    storage.close();
    harm(dir.path());
    let (storage, recovered) = open();
    check(&storage, Some(&recovered), 60, "rebuilt");
    match note {
        Some(note) => assert!(recovered.notes.iter().any(|n| n.contains(note)), "{:?}", recovered.notes),
        None => assert_eq!(recovered.notes, Vec::<String>::new()),
    }
    storage.append_wait(tick(61)).expect("healthy");
    storage.close();
    let (storage, recovered) = open();
    assert_eq!(recovered.notes, Vec::<String>::new(), "the index was rebuilt");
    check(&storage, Some(&recovered), 61, "after that");
}

/// The other process of the test below: appends ticks until it is killed.
#[test]
#[ignore = "run by the test that kills it"]
fn appender() {
    let Ok(dir) = std::env::var("STORAGE_TEST_DIRECTORY") else { return };
    let (storage, recovered) =
        Storage::open(Location::Directory(dir.into()), Arc::new(RealFs), SMALL).expect("the log is sound");
    for time in recovered.last_time + 1.. {
        storage.append_wait(tick(time)).expect("healthy");
        println!("acknowledged {time}");
    }
}

#[test]
fn kills_lose_nothing_acknowledged() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut random = Random::new(11);
    let mut acknowledged = 0;
    for round in 0..8 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("the test runs"))
            .args(["--exact", "appender", "--ignored", "--nocapture"])
            .env("STORAGE_TEST_DIRECTORY", dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = io::BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let wanted = 1 + random.below(60) as usize;
        let number = |line: String| line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse().ok());
        let mut last = lines.by_ref().filter_map(number).nth(wanted);
        child.kill().expect("alive");
        // What it had said before it died counts too.
        last = lines.filter_map(number).last().or(last);
        child.wait().expect("dead");
        acknowledged = last.expect("it acknowledged something");
        let (storage, recovered) = open_real(dir.path()).expect("the log is sound");
        assert!(
            recovered.last_time >= acknowledged,
            "round {round}: {} < {acknowledged}",
            recovered.last_time
        );
        check(&storage, Some(&recovered), recovered.last_time, &format!("round {round}"));
    }
    assert!(acknowledged > 8);
}

#[test]
fn an_intact_index_is_used() {
    with_real_directory(|_| {}, None);
}

#[test]
fn a_missing_index_is_rebuilt() {
    with_real_directory(|dir| std::fs::remove_dir_all(dir.join("index")).expect("there"), None);
}

#[test]
fn a_damaged_index_is_rebuilt() {
    for part in 0..8 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = || open_real(dir.path());
        let (storage, _) = open().expect("sound");
        for time in 1..=60 {
            storage.append_wait(tick(time)).expect("healthy");
        }
        storage.close();
        let path = dir.path().join("index/db");
        let mut bytes = std::fs::read(&path).expect("sled's file");
        let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0);
        match part {
            0..6 => bytes[used * part / 6] ^= 0x10,
            6 => bytes.truncate(used / 2),
            _ => bytes.fill(0x5a),
        }
        std::fs::write(&path, bytes).expect("writable");
        let (storage, recovered) = open().expect("the log is sound");
        check(&storage, Some(&recovered), 60, "rebuilt");
    }
}

/// The ways in which a directory goes wrong, on a real disk with sled: what was appended is all there, or what is not is named.
/// `DELTAMILL_DAMAGES=5000` looks longer.
#[test]
fn whatever_happens_to_a_directory_is_repaired_or_named() {
    let trials = std::env::var("DELTAMILL_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let sound = tempfile::tempdir().expect("a temporary directory");
    let (storage, _) = open_real(sound.path()).expect("new");
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    storage.settle();
    storage.close();
    let names = |dir: &Path, extensions: &[&str]| {
        let entries = std::fs::read_dir(dir).expect("there").map(|e| e.expect("an entry").path());
        let wanted = |p: &PathBuf| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
        let mut names: Vec<_> = entries.filter(wanted).collect();
        names.sort();
        names
    };
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..trials {
        let mut random = Random::new(seed);
        let copy = tempfile::tempdir().expect("a temporary directory");
        let dir = copy.path().join("data");
        let copied = std::process::Command::new("cp").arg("-r").arg(sound.path()).arg(&dir).status();
        assert!(copied.expect("cp runs").success());
        let files = names(&dir, &["log", "run"]);
        let tail = names(&dir, &["log"]).pop().expect("some");
        let file = files[random.below(files.len() as u64) as usize].clone();
        let other = files[random.below(files.len() as u64) as usize].clone();
        let index = dir.join("index/db");
        let change = |path: &Path, change: &mut dyn FnMut(&mut Vec<u8>)| {
            let mut bytes = std::fs::read(path).expect("there");
            change(&mut bytes);
            std::fs::write(path, bytes).expect("writable");
        };
        let harm = random.below(9);
        let what = match harm {
            0 => {
                std::fs::remove_file(&file).expect("there");
                "missing"
            }
            1 => {
                std::fs::copy(&other, &file).expect("copied");
                "swapped"
            }
            2 => {
                change(&tail, &mut |bytes| bytes.truncate(bytes.len() - 1 - random.below(300) as usize));
                "torn"
            }
            3 => {
                change(&file, &mut |bytes| bytes.truncate(random.below(bytes.len() as u64) as usize));
                "truncated"
            }
            4 => {
                change(&file, &mut |bytes| {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << random.below(8);
                });
                "flipped"
            }
            5 => {
                change(&file, &mut |bytes| {
                    let at = random.below(bytes.len() as u64) as usize;
                    let end = (at + 4096).min(bytes.len());
                    bytes[at..end].fill(0);
                });
                "zeroed"
            }
            6 => {
                change(&index, &mut |bytes| {
                    let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) as u64 + 1;
                    bytes[random.below(used) as usize] ^= 1 << random.below(8);
                });
                "index flipped"
            }
            7 => {
                std::fs::remove_dir_all(dir.join("index")).expect("there");
                "index missing"
            }
            _ => {
                change(&index, &mut |bytes| bytes.truncate(random.below(bytes.len() as u64) as usize));
                "index truncated"
            }
        };
        let context = format!("seed {seed}: {what} {} {}", file.display(), other.display());
        let report = inspect::inspect(Arc::new(RealFs), &dir, true).expect("readable");
        let (storage, recovered) = match open_real(&dir) {
            Err(StorageError::Damaged { .. } | StorageError::Version { .. }) => {
                assert!(!report.damages.is_empty(), "{context}: the doctor says so too");
                *outcomes.entry("refused, named").or_default() += 1;
                continue;
            }
            Err(e) => panic!("{context}: {e}"),
            Ok(opened) => opened,
        };
        let scan = storage.scan(SHARD, 0, Timestamp::MAX).expect("no scan fails at once");
        if scan.into_iter().any(|block| block.is_err()) {
            assert!(!report.damages.is_empty(), "{context}: the doctor says so too");
            *outcomes.entry("set aside, named").or_default() += 1;
            continue;
        }
        // The end of the last write may be missing; nothing else.
        let ticks = recovered.last_time;
        assert!(
            ticks == 60 || ticks >= 55 && *tail == *file || ticks >= 55 && harm == 2,
            "{context}: {ticks}"
        );
        assert!(ticks == 60 || !recovered.notes.is_empty(), "{context}: never in silence");
        check(&storage, Some(&recovered), ticks, &context);
        *outcomes.entry(if recovered.notes.is_empty() { "whole" } else { "repaired" }).or_default() += 1;
    }
    println!("{trials} damages: {outcomes:?}, 0 wrong");
    assert!(outcomes.len() == 4, "{outcomes:?}");
}

#[test]
fn an_index_of_another_log_is_not_believed() {
    let other = tempfile::tempdir().expect("a temporary directory");
    let (storage, _) = Storage::open(Location::Directory(other.path().to_owned()), Arc::new(RealFs), SMALL)
        .expect("a new directory");
    for time in 1..=200 {
        storage
            .append_wait(FrameGroup { time, catalog: vec![("x".into(), None)], ..FrameGroup::default() })
            .expect("healthy");
    }
    storage.close();
    with_real_directory(
        |dir| {
            std::fs::remove_dir_all(dir.join("index")).expect("there");
            let copied =
                std::process::Command::new("cp").arg("-r").arg(other.path().join("index")).arg(dir).status();
            assert!(copied.expect("cp runs").success());
        },
        Some("does not agree"),
    );
}

#[test]
fn a_log_whose_end_vanished_is_damaged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (storage, _) = open_real(dir.path()).expect("new");
    for time in 1..=60 {
        storage.append_wait(tick(time)).expect("healthy");
    }
    storage.close();
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).expect("there").map(|e| e.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "log"));
    files.sort();
    std::fs::remove_file(files.last().expect("some")).expect("removed");
    match open_real(dir.path()).map(drop) {
        Err(StorageError::Damaged { what, .. }) => {
            assert!(what.contains("missing") || what.contains("index"), "{what}")
        }
        other => panic!("{other:?}"),
    }
    // To look leaves the index as it is, too.
    let report = inspect::inspect(Arc::new(RealFs), dir.path(), true).expect("readable");
    assert_eq!(report.damages.len(), 1, "{report:?}");
    assert!(open_real(dir.path()).is_err());
}

#[test]
fn a_log_that_vanished_is_not_taken_for_a_new_directory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || open_real(dir.path());
    let (storage, _) = open().expect("sound");
    storage.append_wait(tick(1)).expect("healthy");
    storage.close();
    std::fs::remove_file(dir.path().join("000001.log")).expect("there");
    assert!(matches!(open().map(drop), Err(StorageError::Damaged { .. })));
}

/// A directory as this program writes it, for the fixtures below: rows, errors, negative diffs, a dropped shard, progress,
/// catalog, sealed files and a tail.
fn fill_fixture(storage: &Storage) {
    for time in 1..=40 {
        let mut group = tick(time);
        if time == 10 {
            let mut mixed = block(0..3).as_ref().clone();
            mixed.push(Row::pack([Datum::Null]).as_ref(), -4);
            group.updates.push(ShardUpdate { shard: ShardId(8), kind: BlockKind::Rows, block: block(0..30) });
            group.updates.push(ShardUpdate {
                shard: ShardId(9),
                kind: BlockKind::Errors,
                block: block(0..2),
            });
            group.updates.push(ShardUpdate {
                shard: ShardId(9),
                kind: BlockKind::Rows,
                block: Arc::new(mixed),
            });
        }
        if time == 30 {
            group.drop_shards.push(ShardId(8));
        }
        storage.append_wait(group).expect("healthy");
    }
    storage.settle();
}

/// `DELTAMILL_WRITE_FIXTURE=1 cargo test -p deltamill-storage --test storage every_format` writes one for the present
/// format; those that are there already stay as they are.
#[test]
fn a_directory_of_every_format_opens_for_ever() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let present = fixtures.join(storage::FORMAT_VERSION.to_string());
    if std::env::var_os("DELTAMILL_WRITE_FIXTURE").is_some() && !present.exists() {
        let location = Location::Directory(present.clone());
        let (storage, _) = Storage::open(location, Arc::new(RealFs), SMALL).expect("a new directory");
        fill_fixture(&storage);
        storage.close();
        std::fs::remove_dir_all(present.join("index")).expect("sled's");
        std::fs::remove_file(present.join("LOCK")).expect("there");
    }
    for version in 1..=storage::FORMAT_VERSION {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut files = 0;
        for entry in std::fs::read_dir(fixtures.join(version.to_string())).expect("a fixture a format") {
            let path = entry.expect("readable").path();
            std::fs::copy(&path, dir.path().join(path.file_name().expect("a file"))).expect("copied");
            files += 1;
        }
        assert!(files > 2, "version {version}: sealed files and a tail");
        for ticks in [40, 41] {
            let (storage, recovered) = open_real(dir.path()).expect("sound");
            assert_eq!(recovered.notes, Vec::<String>::new(), "version {version}");
            check(&storage, Some(&recovered), ticks, &format!("version {version}"));
            assert_eq!(storage.shard_stats(ShardId(8)), None, "version {version}");
            let nine = storage.shard_stats(ShardId(9)).expect("has rows");
            assert_eq!((nine.rows, nine.errors, nine.append_only), (-1, 2, false), "version {version}");
            assert_eq!(read(&storage, ShardId(9)).len(), 6, "version {version}");
            if ticks == 40 {
                storage.append_wait(tick(41)).expect("healthy");
            }
        }
    }
}

/// `cargo test -p deltamill-storage --test storage -- --ignored --nocapture speed`
#[test]
#[ignore = "writes a gigabyte; run it by hand"]
fn speed_of_a_million_events() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        Storage::open(Location::Directory(dir.path().to_owned()), Arc::new(RealFs), Options::default())
            .expect("sound")
    };
    let (storage, _) = open();
    let mut random = Random::new(1);
    let event = |random: &mut Random| {
        let mut text = String::from(r#"{"type":"track","context":{"ip":"#);
        while text.len() < 940 {
            text.push_str(&format!(
                r#""{:x}","page":"https://example.com/products/{}","#,
                random.next_u64(),
                random.below(900)
            ));
        }
        text
    };
    let blocks: Vec<_> = (0..1000)
        .map(|_| {
            let mut block = RowBlock::default();
            (0..1000).for_each(|_| block.push_datums([Datum::Bytes(event(&mut random).as_bytes())], 1));
            Arc::new(block)
        })
        .collect();
    let start = std::time::Instant::now();
    let (sender, receiver) = mpsc::channel();
    for (time, block) in (1..).zip(&blocks) {
        let update = ShardUpdate { shard: SHARD, kind: BlockKind::Rows, block: block.clone() };
        let sender = sender.clone();
        let group = FrameGroup { time, updates: vec![update], ..FrameGroup::default() };
        storage.append(group, Box::new(move |result| sender.send(result).expect("is awaited")));
    }
    (0..blocks.len()).for_each(|_| receiver.recv().expect("answered").expect("healthy"));
    let took = start.elapsed();
    let stats = storage.shard_stats(SHARD).expect("has rows");
    eprintln!("append: {took:?}, {} MB raw, {} MB stored", stats.bytes >> 20, stats.stored_bytes >> 20);
    storage.close();
    let start = std::time::Instant::now();
    let (storage, _) = open();
    eprintln!("open: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    assert_eq!(read_count(&storage), 1_000_000);
    eprintln!("scan: {:?}", start.elapsed());
}

fn read_count(storage: &Storage) -> usize {
    let scan = storage.scan(SHARD, 0, Timestamp::MAX).expect("known");
    scan.map(|item| item.expect("sound").2.len()).sum()
}
