//! Compaction: of the records of a key, only the last one stays.
//!
//! ```text
//!   1  dirty part  ─► last offset of each key
//!   2  from the partition's first batch on: what is not the last of its key goes; each run of changed batches is replaced
//!      at once, by one entry of the log
//! ```
//!
//! Runs are replaced from low offsets to high ones, so that at no moment, and after no crash, an older value of a key can be
//! read where a newer one, or the mark of its deletion, could be read before. Such a mark (a record without a value) goes
//! `delete.retention.ms` after the pass that first saw it, in which everything older of its key went.
//!
//! What belongs to an aborted transaction goes too; what comes after the first open one waits; markers stay.
//!
//! Records keep their bytes and offsets; a batch keeps its first and last offset. The last batch of a partition is left as
//! it is: a reader that found nothing there would never come to the partition's end.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::Shared;
use crate::batch::{self, HEADER, Header, Record};
use crate::codec;
use crate::state::{Aborted, Indexed, NEVER, Piece};
use crate::writer::{Job, Run, now};

/// The keys that one pass looks at. More of them take more passes.
const MAX_KEYS: usize = 1_000_000;
/// How much is replaced at a time.
const CHUNK: usize = 8 << 20;

/// A key's hash: nobody finds two keys with the same.
type Hash = [u8; 16];
/// The last offset of each key.
type Last = HashMap<Hash, i64>;

fn hash(key: &[u8]) -> Hash {
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    *digest.as_ref().first_chunk().expect("it has 32 bytes")
}

/// A partition as a pass finds it.
struct Found {
    topic: u32,
    name: String,
    partition: i32,
    batches: Vec<(Indexed, Piece)>,
    aborted: Vec<Aborted>,
    cleaned: i64,
    lag_ms: i64,
    retention_ms: i64,
}

impl Found {
    fn is_aborted(&self, header: &Header) -> bool {
        let here = |a: &&Aborted| a.producer == header.producer && (a.first..=a.last).contains(&header.base);
        header.is_transactional() && self.aborted.iter().any(|a| here(&a))
    }
}

/// Compacts what is due, on a thread that may wait.
pub fn pass(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle) {
    // A second pass would put back what this one takes away.
    let _alone = shared.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
    let places: Vec<_> = {
        let state = shared.state();
        let topics = state.topics.iter().filter(|(_, t)| t.settings.compact);
        topics.flat_map(|(name, t)| (0..t.partitions.len()).map(move |i| (name.clone(), i as i32))).collect()
    };
    for (name, partition) in places {
        if let Some(found) = due(shared, &name, partition)
            && compact(shared, runtime, found).is_none()
        {
            tracing::warn!(topic = name, partition, "a partition could not be compacted");
        }
    }
}

/// The partition, if enough of it is not compacted or marks of deleted keys may go.
fn due(shared: &Shared, name: &str, partition: i32) -> Option<Found> {
    let state = shared.state();
    let topic = state.topics.get(name)?;
    let place = topic.partitions.get(usize::try_from(partition).ok()?)?;
    let stable = place.stable();
    let last = place.batches.len().saturating_sub(1);
    let batches = place.batches.iter().take(last).take_while(|b| b.last < stable);
    let dirty = batches.clone().skip(place.batches.partition_point(|b| b.base < place.cleaned));
    let lag_ms = topic.settings.compaction_lag_ms;
    let young = now().saturating_sub(lag_ms);
    let old = |b: &&Indexed| lag_ms == 0 || b.max_timestamp < young;
    let dirty: u64 = dirty.take_while(old).map(|b| u64::from(b.len)).sum();
    let enough = dirty > 0 && dirty as f64 >= topic.settings.dirty_ratio * place.bytes as f64;
    let passed = batches.clone().any(|b| b.horizon <= now());
    (enough || passed).then(|| Found {
        topic: topic.number,
        name: name.to_string(),
        partition,
        batches: batches.map(|b| (b.clone(), place.piece(b))).collect(),
        aborted: place.aborted.clone(),
        cleaned: place.cleaned,
        lag_ms,
        retention_ms: topic.settings.delete_retention_ms,
    })
}

/// One pass over a partition. None: something could not be read or written; the next pass tries again.
fn compact(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle, found: Found) -> Option<()> {
    let young = now().saturating_sub(found.lag_ms);
    let (mut last, mut cleaned) = (Last::new(), found.cleaned);
    for (batch, piece) in found.batches.iter().filter(|(b, _)| b.base >= found.cleaned) {
        if last.len() >= MAX_KEYS || (found.lag_ms > 0 && batch.max_timestamp >= young) {
            break;
        }
        let (header, records) = read(shared, piece)?;
        let counts = !header.is_control() && !found.is_aborted(&header);
        for record in batch::records(&header, &records).filter(|_| counts) {
            if let Record { key: Some(key), offset, .. } = record? {
                last.insert(hash(key), offset);
            }
        }
        cleaned = batch.last + 1;
    }
    let now = now();
    let send = |runs: Vec<Run>, cleaned: Option<i64>| {
        let (reply, done) = oneshot::channel();
        let (topic, name, partition) = (found.topic, found.name.clone(), found.partition);
        let job = Job::Compact { topic, name, partition, runs, cleaned, reply };
        let done = runtime.block_on(async { shared.job(job).await.then_some(done.await) });
        done?.ok()?.ok()
    };
    let (mut runs, mut bytes): (Vec<Run>, usize) = (vec![], 0);
    let mut adjacent = false;
    for (batch, piece) in found.batches.iter().take_while(|(b, _)| b.base < cleaned) {
        let (header, records) = read(shared, piece)?;
        let rewritten = if header.is_control() {
            Rewritten::Same
        } else if found.is_aborted(&header) {
            Rewritten::Nothing
        } else {
            rewrite(&header, &records, &last, batch.horizon, now, found.retention_ms)?
        };
        match rewritten {
            Rewritten::Same => adjacent = false,
            rewritten => {
                if !adjacent {
                    runs.push(Run { from: batch.base, to: batch.base, batches: vec![] });
                }
                adjacent = true;
                let run = runs.last_mut().expect("one was just begun");
                run.to = batch.last + 1;
                if let Rewritten::Less(header, left, horizon) = rewritten {
                    bytes += left.len();
                    run.batches.push((header, left, horizon));
                }
            }
        }
        if bytes >= CHUNK {
            send(std::mem::take(&mut runs), None)?;
            (bytes, adjacent) = (0, false);
        }
    }
    send(runs, Some(cleaned))
}

fn read(shared: &Shared, piece: &Piece) -> Option<(Header, Vec<u8>)> {
    let bytes = piece.clone().read(shared.log.as_ref()).ok()?;
    let header = Header::read(&bytes)?;
    let records = codec::unpack(header.attributes, bytes.get(HEADER..)?)?;
    Some((header, records))
}

/// What a pass leaves of a batch.
enum Rewritten {
    /// All of it.
    Same,
    /// Some of it, and from when on marks of deleted keys in it may go.
    Less(Header, Bytes, i64),
    Nothing,
}

fn rewrite(
    header: &Header,
    records: &[u8],
    last: &Last,
    horizon: i64,
    now: i64,
    retention_ms: i64,
) -> Option<Rewritten> {
    let (mut left, mut n, mut marks) = (Vec::with_capacity(records.len()), 0, false);
    for record in batch::records(header, records) {
        let record = record?;
        // Records without a key have no place in a compacted topic.
        let Some(key) = record.key else { continue };
        let newest = last.get(&hash(key)).is_none_or(|offset| record.offset >= *offset);
        if newest && (record.has_value || horizon > now) {
            marks |= !record.has_value;
            left.extend_from_slice(record.bytes);
            n += 1;
        }
    }
    let until = match (marks, horizon) {
        (false, _) => NEVER,
        (true, NEVER) => now.saturating_add(retention_ms),
        (true, horizon) => horizon,
    };
    if n == 0 {
        return Some(Rewritten::Nothing);
    }
    if n == header.records && until == horizon {
        return Some(Rewritten::Same);
    }
    let (header, bytes) = batch::with_records(header, n, &left)?;
    Some(Rewritten::Less(header, bytes, until))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use storage::segment::SegmentLog;

    use super::*;
    use crate::batch::tests::keyed;
    use crate::entry::Entry;
    use crate::settings::Settings;
    use crate::writer::Produced;

    fn left(r: &Rewritten) -> Vec<i64> {
        let Rewritten::Less(_, bytes, _) = r else { return vec![] };
        let header = Header::sound(bytes).expect("sound");
        let records = codec::unpack(header.attributes, &bytes[HEADER..]).expect("whole");
        batch::records(&header, &records).map(|r| r.expect("a record").offset).collect()
    }

    #[test]
    fn the_last_record_of_a_key_stays_and_a_mark_of_deletion_for_a_while() {
        let mut bytes = keyed(&[("a", Some("1")), ("b", Some("1")), ("a", None), ("c", None)]);
        batch::place(&mut bytes, 10);
        for codec in 0..5 {
            let header = Header::read(&bytes).expect("a header");
            let header = Header { attributes: codec, ..header };
            let records = &bytes[HEADER..];
            let last: Last = [(hash(b"a"), 12), (hash(b"c"), 20)].into();
            let first = rewrite(&header, records, &last, NEVER, 1_000, 50).expect("rewritten");
            assert_eq!(left(&first), [11, 12], "{codec}");
            let Rewritten::Less(_, again, horizon) = first else { panic!("something stays") };
            assert_eq!(horizon, 1_050);
            // A second pass knows only what is new; the mark goes when its time has come, and never before.
            let header = Header::sound(&again).expect("sound");
            let records = codec::unpack(header.attributes, &again[HEADER..]).expect("whole");
            let same = rewrite(&header, &records, &Last::new(), horizon, 1_049, 50).expect("rewritten");
            assert!(matches!(same, Rewritten::Same));
            let gone = rewrite(&header, &records, &Last::new(), horizon, 1_050, 50).expect("rewritten");
            assert_eq!(left(&gone), [11], "{codec}");
            let all: Last = [(hash(b"a"), 99), (hash(b"b"), 98)].into();
            let none = rewrite(&header, &records, &all, horizon, 1_000, 50).expect("rewritten");
            assert!(matches!(none, Rewritten::Nothing));
        }
    }

    /// What a reader of the whole partition knows: the last value of each key that has one.
    fn view(log: &SegmentLog, place: &crate::state::Partition) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut view = BTreeMap::new();
        for batch in &place.batches {
            let bytes = place.piece(batch).read(Some(log)).expect("it is there");
            let header = Header::sound(&bytes).expect("sound");
            let records = codec::unpack(header.attributes, &bytes[HEADER..]).expect("whole");
            for record in batch::records(&header, &records) {
                let record = record.expect("a record");
                let key = record.key.expect("a key").to_vec();
                match record.has_value {
                    true => drop(view.insert(key, record.bytes.to_vec())),
                    false => drop(view.remove(&key)),
                }
            }
        }
        view
    }

    /// A crash leaves a prefix of the log. Whatever it is: nobody reads an old value where a new one could be read before.
    #[test]
    fn no_crash_in_the_middle_brings_an_old_value_back() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let dir = tempfile::tempdir().expect("a directory");
        let config = crate::BrokerConfig { dir: Some(dir.path().into()), ..crate::BrokerConfig::default() };
        let broker = runtime.block_on(crate::Broker::start(config)).expect("a free port");
        let shared = Arc::clone(&broker.shared);
        let settings =
            [("cleanup.policy", "compact"), ("delete.retention.ms", "0"), ("min.cleanable.dirty.ratio", "0")];
        let settings = settings.map(|(k, v)| (k.to_string(), v.to_string()));
        runtime.block_on(async {
            let settings = Settings::new(settings.into()).expect("allowed");
            let (reply, done) = oneshot::channel();
            shared.job(Job::Create { name: "t".into(), partitions: 1, settings, reply }).await;
            done.await.expect("an answer").expect("made");
        });
        let mut seed = 7u32;
        let mut random = move |n: u32| {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (seed >> 16) % n
        };
        for round in 0..12 {
            for n in 0..20 {
                let records: Vec<_> = (0..5)
                    .map(|_| (format!("k{}", random(12)), (random(3) > 0).then(|| format!("{round}.{n}"))))
                    .collect();
                let records: Vec<_> = records.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                let bytes = Bytes::from(keyed(&records));
                let header = Header::check(&bytes).expect("sound");
                let (reply, done) = oneshot::channel();
                let produced = Produced { topic: "t".into(), partition: 0, header, bytes };
                runtime.block_on(async {
                    shared.job(Job::Produce { batches: vec![produced], reply }).await;
                    done.await.expect("an answer")[0].expect("taken");
                });
            }
            pass(&shared, runtime.handle());
        }
        drop(shared);
        runtime.block_on(broker.shutdown());

        let open = |dir: &std::path::Path| {
            let fs = Arc::new(storage::RealFs);
            SegmentLog::open(fs, dir, storage::segment::SegmentOptions::default()).expect("a log").0
        };
        let mut file = std::fs::read_dir(dir.path()).expect("there").map(|f| f.expect("a file").path());
        let file = file.find(|p| p.extension().is_some_and(|e| e == "segment")).expect("one");
        let bytes = std::fs::read(&file).expect("read");
        let log = open(dir.path());
        let ends: Vec<_> = log.iter().map(|r| r.expect("sound").position.0).skip(1).collect();
        let (mut expected, mut compactions) = (BTreeMap::new(), 0);
        for (record, end) in log.iter().map(|r| r.expect("sound")).zip(ends) {
            match Entry::decode(&record.bytes).expect("an entry") {
                Entry::Batch { batch, .. } => {
                    let header = Header::sound(batch).expect("sound");
                    for record in batch::records(&header, &batch[HEADER..]) {
                        let record = record.expect("a record");
                        let key = record.key.expect("a key").to_vec();
                        match record.has_value {
                            true => drop(expected.insert(key, record.bytes.to_vec())),
                            false => drop(expected.remove(&key)),
                        }
                    }
                }
                Entry::Compaction { .. } => compactions += 1,
                _ => {}
            }
            let cut = tempfile::tempdir().expect("a directory");
            std::fs::write(cut.path().join(file.file_name().expect("named")), &bytes[..end as usize])
                .expect("written");
            let cut = open(cut.path());
            let mut recovered = crate::writer::recover(&cut).expect("recovered");
            let state = recovered.take_state();
            let Some(place) = state.partition("t", 0) else { continue };
            assert_eq!(view(&cut, place), expected, "cut at {end}");
            assert!(place.bytes == place.batches.iter().map(|b| u64::from(b.len)).sum::<u64>());
        }
        assert!(compactions > 10, "{compactions}");
    }
}
