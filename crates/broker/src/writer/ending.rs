//! Transactions in the log: who gets an id, what belongs to a transaction, and how it ends. The decision and its markers are
//! one write.

use std::sync::atomic::Ordering;

use super::{Begun, Owner, Writer, now};
use crate::batch;
use crate::codes::{self, Code};
use crate::entry::Entry;
use crate::state::indexed;
use crate::transaction::Transaction;

impl Writer {
    pub(super) fn own(
        &mut self,
        id: &str,
        timeout_ms: i32,
        before: Option<(i64, i16)>,
    ) -> Result<(i64, i16), Code> {
        if !self.transactions.make_room_for(id) {
            return Err(codes::POLICY_VIOLATION);
        }
        let found = self.transactions.get(id);
        let known = found.map(|t| (t.producer, t.epoch));
        // A producer that goes on after an error names itself; one that was fenced off meanwhile is told so.
        if let (Some(known), Some(_)) = (known, before)
            && Some(known) != before
        {
            // It asked before, and the answer was lost. Who was fenced off by another also has the epoch before.
            let again = found.is_some_and(|t| t.before == before);
            return if again { Ok(known) } else { Err(codes::PRODUCER_FENCED) };
        }
        let (producer, epoch) = match known {
            Some((producer, epoch)) if epoch < i16::MAX - 1 => (producer, epoch + 1),
            _ => (self.shared.next_producer.fetch_add(1, Ordering::Relaxed), 0),
        };
        // One write: what was under way is not aborted without its producer being fenced off.
        self.finish_transaction(id, false, Some(Entry::Owner { producer, epoch, timeout_ms, id }))?;
        let owner = Transaction { producer, epoch, timeout_ms, before, ..Transaction::default() };
        self.transactions.set(id, owner);
        Ok((producer, epoch))
    }

    pub(super) fn begun(&mut self, owner: &Owner, begun: Begun) -> Result<(), Code> {
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        let offsets = match begun {
            Begun::Partitions(partitions) => {
                transaction.added.extend(partitions);
                vec![]
            }
            Begun::Group => vec![],
            // They come late: the transaction that they belong to has ended.
            Begun::Offsets(_) if transaction.begun.is_none() && !transaction.recovered => {
                return Err(codes::INVALID_TXN_STATE);
            }
            Begun::Offsets(offsets) => offsets,
        };
        let mut entries = vec![];
        for ((group, topic, partition), c) in &offsets {
            let (number, _) = self.place(topic, *partition)?;
            let metadata = c.metadata.as_deref();
            let (partition, offset, epoch, producer) = (*partition, c.offset, c.epoch, owner.producer);
            entries.push(
                Entry::Waiting { topic: number, partition, group, offset, epoch, metadata, producer }
                    .encode(),
            );
        }
        if !entries.is_empty() {
            self.append(&entries)?;
        }
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        transaction.begun.get_or_insert_with(now);
        for (place, value) in offsets {
            let (producer, shown) = (owner.producer, place.clone());
            transaction.offsets.insert(place, value);
            self.changes.push(Box::new(move |state| {
                state.waiting.insert(shown, producer);
            }));
        }
        Ok(())
    }

    pub(super) fn end(&mut self, owner: &Owner, committed: bool) -> Result<(), Code> {
        let transaction = self.transactions.owned(&owner.id, owner.producer, owner.epoch)?;
        if transaction.begun.is_none() {
            // It was asked before, and the answer was lost.
            transaction.recovered = false;
            let same = transaction.last.is_none_or(|last| last == committed);
            return if same { Ok(()) } else { Err(codes::INVALID_TXN_STATE) };
        }
        self.finish_transaction(&owner.id, committed, None)
    }

    /// Decides, writes the markers and one more entry, and commits the offsets that waited.
    pub(super) fn finish_transaction(
        &mut self,
        id: &str,
        committed: bool,
        and: Option<Entry<'_>>,
    ) -> Result<(), Code> {
        let transaction = self.transactions.get(id).cloned().unwrap_or_default();
        let (producer, epoch, time) = (transaction.producer, transaction.epoch, now());
        let and = and.map(|entry| entry.encode());
        if transaction.is_empty() {
            self.append(&Vec::from_iter(and))?;
        } else {
            // Topics that were deleted meanwhile need no marker.
            let places: Vec<_> = transaction
                .partitions
                .iter()
                .filter_map(|(name, partition)| {
                    let (number, place) = self.place(name, *partition).ok()?;
                    Some((name.clone(), number, *partition, place.end))
                })
                .collect();
            let markers =
                places.iter().map(|(_, number, partition, end)| (*number, *partition, *end)).collect();
            let mut entries = vec![Entry::Ended { producer, epoch, committed, time, markers }.encode()];
            let mut batches = vec![];
            for (_, number, partition, end) in &places {
                let (header, bytes) = batch::marker(producer, epoch, committed, time, *end);
                entries.push(Entry::Batch { topic: *number, partition: *partition, batch: &bytes }.encode());
                batches.push((header, bytes));
            }
            entries.extend(and);
            // One write: all of it, or nothing.
            let positions = self.append(&entries)?;
            for (((name, _, partition, end), (header, bytes)), position) in
                places.into_iter().zip(batches).zip(positions.into_iter().skip(1))
            {
                if let Ok((_, place)) = self.place(&name, partition) {
                    place.note(&header);
                }
                self.coming += bytes.len() as u64;
                let batch = indexed(&header, position, bytes.len());
                let held = self.log.is_none().then_some(bytes);
                self.changes.push(Box::new(move |state| {
                    state.append(&name, partition, batch, held);
                    state.closed(&name, partition, producer, committed, end);
                }));
            }
            self.changes.push(Box::new(move |state| {
                for (place, value) in transaction.offsets {
                    state.waiting.remove(&place);
                    let (group, topic, partition) = place;
                    if committed && state.topics.contains_key(&topic) {
                        state.committed.entry(group).or_default().insert((topic, partition), value);
                    }
                }
            }));
        }
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.ended(committed);
        }
        Ok(())
    }

    /// Aborts what takes too long, and fences its producer off.
    pub(super) fn abort_late(&mut self) {
        for id in self.transactions.late(now()) {
            let Some(timeout_ms) = self.transactions.get(&id).map(|t| t.timeout_ms) else { continue };
            tracing::warn!(id, timeout_ms, "a transaction took too long and is aborted");
            if let Err(code) = self.own(&id, timeout_ms, None) {
                tracing::warn!(id, code, "a transaction could not be aborted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use storage::segment::SegmentLog;
    use tokio::sync::oneshot;

    use super::*;
    use crate::batch::Header;
    use crate::settings::Settings;
    use crate::state::Committed;
    use crate::writer::{Job, Produced, recover};

    /// The decision stands in the log before its markers. Wherever a crash cuts the log: it holds in all partitions or none.
    #[test]
    fn a_decision_holds_though_a_crash_cut_off_its_markers() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let dir = tempfile::tempdir().expect("a directory");
        let config = crate::BrokerConfig { dir: Some(dir.path().into()), ..crate::BrokerConfig::default() };
        let broker = runtime.block_on(crate::Broker::start(config)).expect("a free port");
        let shared = Arc::clone(&broker.shared);
        runtime.block_on(async {
            let (reply, done) = oneshot::channel();
            let settings = Settings::default();
            shared.job(Job::Create { name: "t".into(), partitions: 3, settings, reply }).await;
            done.await.expect("an answer").expect("made");
            let (reply, done) = oneshot::channel();
            shared.job(Job::Own { id: "x".into(), timeout_ms: 60_000, before: None, reply }).await;
            let (producer, epoch) = done.await.expect("an answer").expect("given");
            let begin = async |begun| {
                let (reply, done) = oneshot::channel();
                let owner = Owner { id: "x".into(), producer, epoch };
                shared.job(Job::Begun { owner, begun, reply }).await;
                done.await.expect("an answer").expect("it is begun");
            };
            for (round, committed) in [(0, true), (1, false)] {
                begin(Begun::Partitions((0..3).map(|p| ("t".into(), p)).collect())).await;
                let batches = (0..3).map(|partition| {
                    let mut bytes = batch::tests::batch(&[(1, b"v")], producer, round);
                    batch::tests::make_transactional(&mut bytes);
                    let header = Header::check(&bytes).expect("sound");
                    Produced { topic: "t".into(), partition, header, bytes: bytes.into() }
                });
                let (reply, done) = oneshot::channel();
                shared.job(Job::Produce { batches: batches.collect(), reply }).await;
                done.await.expect("an answer").into_iter().for_each(|r| assert!(r.is_ok(), "{r:?}"));
                let place = ("g".to_string(), "t".to_string(), 0);
                let value = Committed { offset: i64::from(round), epoch: -1, metadata: None };
                begin(Begun::Offsets(vec![(place, value)])).await;
                let (reply, done) = oneshot::channel();
                let owner = Owner { id: "x".into(), producer, epoch };
                shared.job(Job::End { owner, committed, reply }).await;
                done.await.expect("an answer").expect("ended");
            }
        });
        drop(shared);
        runtime.block_on(broker.shutdown());
        let open = |dir: &std::path::Path| {
            let options = storage::segment::SegmentOptions::default();
            SegmentLog::open(Arc::new(storage::RealFs), dir, options).expect("a log").0
        };
        let mut files = std::fs::read_dir(dir.path()).expect("there").map(|f| f.expect("a file").path());
        let file = files.find(|p| p.extension().is_some_and(|e| e == "segment")).expect("one");
        let bytes = std::fs::read(&file).expect("read");
        let log = open(dir.path());
        let mut ends: Vec<_> = log.iter().map(|r| r.expect("sound").position.0).skip(1).collect();
        ends.push(log.end().0);
        let mut decisions = vec![];
        for (record, end) in log.iter().map(|r| r.expect("sound")).zip(ends) {
            if let Entry::Ended { committed, markers, .. } = Entry::decode(&record.bytes).expect("an entry") {
                assert_eq!(markers.len(), 3);
                decisions.push(committed);
            }
            let cut = tempfile::tempdir().expect("a directory");
            let copy = cut.path().join(file.file_name().expect("named"));
            std::fs::write(copy, &bytes[..end as usize]).expect("written");
            let cut = open(cut.path());
            // Twice: what recovery writes is found by the next.
            for _ in 0..2 {
                let mut recovered = recover(&cut).expect("recovered");
                let under_way = recovered.transactions.get("x").is_some_and(|t| t.begun.is_some());
                let state = recovered.take_state();
                let Some(topic) = state.topics.get("t") else { continue };
                let open = topic.partitions.iter().any(|p| !p.open.is_empty()) || !state.waiting.is_empty();
                assert_eq!(open, under_way, "cut at {end}");
                for place in &topic.partitions {
                    let markers =
                        place.batches.iter().filter(|b| b.len as usize == batch::HEADER + batch::MARKER);
                    assert_eq!(markers.count(), decisions.len(), "cut at {end}");
                    assert_eq!(place.aborted.len(), decisions.iter().filter(|c| !**c).count());
                }
                let kept = state.committed.get("g").map(|c| c.values().map(|c| c.offset).collect::<Vec<_>>());
                assert_eq!(kept, (!decisions.is_empty()).then(|| vec![0]), "cut at {end}");
            }
        }
        assert_eq!(decisions, [true, false]);
    }
}
