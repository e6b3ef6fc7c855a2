//! Records in and out.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ProduceRequest, ProduceResponse,
    TopicName,
};
use tokio::sync::oneshot;

use super::{Place, ready};
use crate::Shared;
use crate::batch::{self, Header, Refused};
use crate::codec;
use crate::codes::{self, Code};
use crate::conn::{Answer, Closed, Reply, reserve, reserve_now};
use crate::group::text;
use crate::state::Piece;
use crate::writer::{Job, Placed, Produced};

/// The most that one answer holds, unless a single batch is bigger.
const MAX_FETCH: usize = 50 << 20;
/// The most that one answer holds when memory is short; one batch goes all the same.
const SMALL_FETCH: usize = 64 << 10;
/// How far from the log's end batches are sure to be in the system's cache.
const RECENT: u64 = 8 << 20;
/// The longest that a fetch waits for records.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The isolation level of who wants to see only what is committed.
const READ_COMMITTED: i8 = 1;

/// A batch on its way: where the answer to it goes, and whether it was refused.
type Sent = (TopicName, Vec<(i32, Result<(), Code>)>);

/// Hands batches to the writer now; the answer waits for them.
pub async fn begin_produce(shared: &Arc<Shared>, place: Place, request: ProduceRequest) -> Answer {
    let silent = request.acks == 0;
    let (mut sent, mut batches): (Vec<Sent>, Vec<Produced>) = (vec![], vec![]);
    for topic in request.topic_data {
        let mut partitions = vec![];
        for data in topic.partition_data {
            let bytes = data.records.unwrap_or_default();
            let settings = shared.state().topics.get(topic.name.as_str()).map(|t| Arc::clone(&t.settings));
            // Checksums are computed here, by the connections, and not by the one writer.
            let checked = match Header::check(&bytes) {
                Ok(_) if settings.as_ref().is_some_and(|s| bytes.len() > s.max_message_bytes) => {
                    Err(codes::MESSAGE_TOO_LARGE)
                }
                Ok(header) if settings.is_some_and(|s| s.compact) && !has_keys(&header, &bytes) => {
                    Err(codes::INVALID_RECORD)
                }
                Ok(header) => {
                    batches.push(Produced {
                        topic: topic.name.to_string(),
                        partition: data.index,
                        header,
                        bytes,
                    });
                    Ok(())
                }
                Err(Refused::Corrupt) => Err(codes::CORRUPT_MESSAGE),
                Err(Refused::TooLarge) => Err(codes::MESSAGE_TOO_LARGE),
                Err(Refused::Control) => Err(codes::INVALID_RECORD),
            };
            partitions.push((data.index, checked));
        }
        sent.push((topic.name, partitions));
    }
    let n = batches.len();
    let (reply, done) = oneshot::channel();
    let queued = n == 0 || shared.job(Job::Produce { batches, reply }).await;
    if silent {
        // Any answer at all would confuse the client.
        return ready(Ok(None));
    }
    Box::pin(async move {
        let failed = || vec![Err(codes::STORAGE_ERROR); n];
        let placed = match n {
            0 => vec![],
            _ if queued => done.await.unwrap_or_else(|_| failed()),
            _ => failed(),
        };
        place.answer(&produced(sent, placed, place.version))
    })
}

/// Whether all records have a key, as a compacted topic needs.
fn has_keys(header: &Header, batch: &[u8]) -> bool {
    let records = codec::unpack(header.attributes, &batch[batch::HEADER..]);
    records.is_some_and(|r| batch::records(header, &r).all(|r| r.is_some_and(|r| r.key.is_some())))
}

fn produced(sent: Vec<Sent>, placed: Vec<Result<Placed, Code>>, version: i16) -> ProduceResponse {
    let mut placed = placed.into_iter();
    let responses = sent.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, checked)| {
            let result =
                checked.and_then(|()| placed.next().expect("the writer answers for each batch that it got"));
            let answer = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
            match result {
                Ok(Placed { base, start, time }) => {
                    let answer = answer.with_base_offset(base).with_log_append_time_ms(time);
                    if version >= 5 { answer.with_log_start_offset(start) } else { answer }
                }
                Err(code) => {
                    let answer = answer.with_base_offset(-1).with_error_code(code);
                    match why(code).filter(|_| version >= 8) {
                        Some(why) => answer.with_error_message(Some(text(why))),
                        None => answer,
                    }
                }
            }
        });
        TopicProduceResponse::default().with_name(name).with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(responses.collect())
}

fn why(code: Code) -> Option<&'static str> {
    Some(match code {
        codes::CORRUPT_MESSAGE => "not one record batch of format 2 with a fitting checksum",
        codes::INVALID_RECORD => {
            "a record of a compacted topic must have a key, and no client writes markers"
        }
        codes::POLICY_VIOLATION => "the embedded broker keeps topics in memory, and its limit is reached",
        codes::STORAGE_ERROR => "the embedded broker could not write its log",
        _ => return None,
    })
}

/// A partition's part of an answer, still without its records.
type Part = (PartitionData, Vec<Piece>);

/// What a look at the topics found for a fetch.
struct Found {
    topics: Vec<(TopicName, Vec<Part>)>,
    bytes: usize,
    failed: bool,
}

pub async fn fetch(
    shared: &Arc<Shared>,
    place: Place,
    request: FetchRequest,
) -> Result<Option<Reply>, Closed> {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let until = tokio::time::Instant::now() + wait;
    let enough = usize::try_from(request.min_bytes).unwrap_or(0);
    loop {
        let mut found = loop {
            let appended = shared.appended.notified();
            tokio::pin!(appended);
            // Listen before looking, else what is appended in between costs the whole wait.
            appended.as_mut().enable();
            let found = look(shared, &request, place.version, MAX_FETCH);
            if found.failed
                || found.bytes >= enough
                || tokio::time::timeout_at(until, appended).await.is_err()
                || shared.failed.load(std::sync::atomic::Ordering::Relaxed)
            {
                break found;
            }
        };
        // While clients that do not take their answers hold the memory, others get small ones and come again.
        let mut permit = reserve_now(&shared.outgoing, 2 * found.bytes);
        if permit.is_none() {
            found = look(shared, &request, place.version, SMALL_FETCH);
            if found.bytes > 2 * SMALL_FETCH {
                permit = reserve(&shared.outgoing, 2 * found.bytes).await;
            }
        }
        let (version, log) = (shared.state().version, shared.log.clone());
        // A little that was just written is in the system's cache, and not worth another thread.
        let end = log.as_ref().map_or(0, |log| log.end().0);
        let recent = |p: &Piece| match p {
            Piece::Here(_) => true,
            Piece::There(position, _) => position.0 + RECENT >= end && found.bytes <= SMALL_FETCH,
        };
        let mut pieces = found.topics.iter().flat_map(|(_, ps)| ps).flat_map(|(_, pieces)| pieces);
        let must_read = !pieces.all(recent);
        let read = move || {
            let mut lost = false;
            let topics = found.topics.into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(data, pieces)| {
                    match gather(pieces, log.as_ref()) {
                        // Never null: librdkafka takes that for an error.
                        Ok(records) => data.with_records(Some(records)),
                        Err(code) => {
                            lost = true;
                            data.with_error_code(code).with_records(Some(Bytes::new()))
                        }
                    }
                });
                FetchableTopicResponse::default().with_topic(name).with_partitions(partitions.collect())
            });
            // Session 0: no incremental fetches, the client names all its partitions each time.
            let answer = FetchResponse::default().with_session_id(0).with_responses(topics.collect());
            (place.answer(&answer), lost)
        };
        let (answer, lost) = match must_read {
            true => tokio::task::spawn_blocking(read).await.map_err(|_| Closed::Stopping)?,
            false => read(),
        };
        // What was looked up may have been moved or let go before it was read.
        if lost && shared.state().version != version {
            continue;
        }
        return Ok(answer?.map(|reply| Reply { _permit: permit, ..reply }));
    }
}

fn look(shared: &Shared, request: &FetchRequest, version: i16, most: usize) -> Found {
    let most = usize::try_from(request.max_bytes).unwrap_or(0).min(most);
    let (mut bytes, mut failed) = (0, false);
    let committed = request.isolation_level == READ_COMMITTED;
    let state = shared.state();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let data = PartitionData::default().with_partition_index(wanted.partition);
            let Some(partition) = state.partition(&topic.topic, wanted.partition) else {
                failed = true;
                let code = codes::UNKNOWN_TOPIC_OR_PARTITION;
                return (data.with_error_code(code).with_high_watermark(-1), vec![]);
            };
            let stable = partition.stable();
            let below = if committed { stable } else { i64::MAX };
            let mut data = data.with_high_watermark(partition.end).with_last_stable_offset(stable);
            if version >= 5 {
                data = data.with_log_start_offset(partition.start);
            }
            if !(partition.start..=partition.end).contains(&wanted.fetch_offset) {
                failed = true;
                return (data.with_error_code(codes::OFFSET_OUT_OF_RANGE), vec![]);
            }
            // The first batch of an answer always goes, however big it is.
            let room =
                most.saturating_sub(bytes).min(usize::try_from(wanted.partition_max_bytes).unwrap_or(0));
            let (pieces, end) = if bytes == 0 || room > 0 {
                partition.pieces(wanted.fetch_offset, below, room)
            } else {
                (vec![], wanted.fetch_offset)
            };
            if committed {
                let aborted = partition.aborted_within(wanted.fetch_offset, end).map(|a| {
                    AbortedTransaction::default()
                        .with_producer_id(a.producer.into())
                        .with_first_offset(a.first)
                });
                data = data.with_aborted_transactions(Some(aborted.collect()));
            }
            bytes += pieces.iter().map(Piece::len).sum::<usize>();
            (data, pieces)
        });
        (topic.topic.clone(), partitions.collect::<Vec<_>>())
    });
    let topics = topics.collect();
    Found { topics, bytes, failed }
}

/// The pieces of a partition as one.
fn gather(pieces: Vec<Piece>, log: Option<&storage::segment::SegmentLog>) -> Result<Bytes, Code> {
    if pieces.len() == 1 {
        return pieces.into_iter().next().map_or_else(|| Ok(Bytes::new()), |piece| piece.read(log));
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Piece::len).sum());
    for piece in pieces {
        all.extend_from_slice(&piece.read(log)?);
    }
    Ok(all.freeze())
}

pub async fn list_offsets(
    shared: &Arc<Shared>,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = vec![];
    for topic in request.topics {
        let mut partitions = vec![];
        for wanted in topic.partitions {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
            partitions.push(
                match offset(shared, &topic.name, wanted.partition_index, wanted.timestamp, committed).await {
                    Ok((timestamp, offset)) => {
                        let epoch = if version >= 4 { 0 } else { -1 };
                        answer.with_timestamp(timestamp).with_offset(offset).with_leader_epoch(epoch)
                    }
                    Err(code) => answer.with_error_code(code),
                },
            );
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Timestamp and offset for a time, or for one of the protocol's words.
async fn offset(
    shared: &Arc<Shared>,
    topic: &str,
    partition: i32,
    timestamp: i64,
    committed: bool,
) -> Result<(i64, i64), Code> {
    const LATEST: i64 = -1;
    const EARLIEST: i64 = -2;
    const EARLIEST_HERE: i64 = -4;
    const NEWEST: i64 = -3;
    let (at, piece) = {
        let state = shared.state();
        let found = state.partition(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let below = if committed { found.stable() } else { found.end };
        match timestamp {
            LATEST => return Ok((-1, below)),
            EARLIEST | EARLIEST_HERE => return Ok((-1, found.start)),
            NEWEST => match found.newest() {
                Some(newest) => newest,
                None => return Ok((-1, -1)),
            },
            time => match found.batch_at_time(time, below) {
                Some(piece) => (time, piece),
                None => return Ok((-1, -1)),
            },
        }
    };
    let log = shared.log.clone();
    let read = tokio::task::spawn_blocking(move || piece.read(log.as_ref())).await;
    let bytes = read.map_err(|_| codes::STORAGE_ERROR)??;
    batch::find_timestamp(&bytes, at).ok_or(codes::STORAGE_ERROR)
}
