//! Transactions, and numbers for producers.

use std::sync::atomic::Ordering;

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use tokio::sync::oneshot;

use crate::Shared;
use crate::codes::{self, Code};
use crate::state::Committed;
use crate::transaction::MAX_TIMEOUT_MS;
use crate::writer::{Begun, Job, Owner};

/// Older clients know the older word for it.
fn fenced(code: Code, new: bool) -> Code {
    if code == codes::PRODUCER_FENCED && !new { codes::INVALID_PRODUCER_EPOCH } else { code }
}

async fn ask<T>(
    shared: &Shared,
    job: impl FnOnce(oneshot::Sender<Result<T, Code>>) -> Job,
) -> Result<T, Code> {
    let (reply, done) = oneshot::channel();
    match shared.job(job(reply)).await {
        true => done.await.unwrap_or(Err(codes::STORAGE_ERROR)),
        false => Err(codes::STORAGE_ERROR),
    }
}

/// Numbers for idempotent producers, and for those with a transactional id the number that belongs to it.
pub async fn producer(
    shared: &Shared,
    request: InitProducerIdRequest,
    version: i16,
) -> InitProducerIdResponse {
    let given = match request.transactional_id {
        None => Ok((shared.next_producer.fetch_add(1, Ordering::Relaxed), 0)),
        Some(id) if id.is_empty() => Err(codes::INVALID_REQUEST),
        Some(_) if !(1..=MAX_TIMEOUT_MS).contains(&request.transaction_timeout_ms) => {
            Err(codes::INVALID_TRANSACTION_TIMEOUT)
        }
        Some(id) => {
            let before =
                (request.producer_id.0 >= 0).then_some((request.producer_id.0, request.producer_epoch));
            let (id, timeout_ms) = (id.to_string(), request.transaction_timeout_ms);
            ask(shared, |reply| Job::Own { id, timeout_ms, before, reply }).await
        }
    };
    let answer = InitProducerIdResponse::default();
    match given {
        Ok((id, epoch)) => answer.with_producer_id(id.into()).with_producer_epoch(epoch),
        Err(code) => answer
            .with_error_code(fenced(code, version >= 4))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    }
}

pub async fn add_partitions(
    shared: &Shared,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let owner = Owner {
        id: request.v3_and_below_transactional_id.to_string(),
        producer: request.v3_and_below_producer_id.0,
        epoch: request.v3_and_below_producer_epoch,
    };
    let allowed = ask(shared, |reply| Job::Begun { owner, begun: Begun::Nothing, reply }).await;
    let allowed = allowed.map_err(|code| fenced(code, version >= 2)).err();
    let topics: Vec<_> = request.v3_and_below_topics.into_iter().collect();
    // If one is not there, none is added, and the client must know which.
    let known = |topic: &str, partition: i32| shared.state().partition(topic, partition).is_some();
    let all = topics.iter().all(|t| t.partitions.iter().all(|p| known(&t.name, *p)));
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let code = match allowed {
                Some(code) => code,
                None if !known(&topic.name, *partition) => codes::UNKNOWN_TOPIC_OR_PARTITION,
                None if !all => codes::OPERATION_NOT_ATTEMPTED,
                None => codes::NONE,
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code)
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(partitions)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

pub async fn add_offsets(
    shared: &Shared,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let owner = Owner {
        id: request.transactional_id.to_string(),
        producer: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let done = ask(shared, |reply| Job::Begun { owner, begun: Begun::Nothing, reply }).await;
    let code = done.map_err(|code| fenced(code, version >= 2)).err().unwrap_or(codes::NONE);
    AddOffsetsToTxnResponse::default().with_error_code(code)
}

pub async fn commit_offsets(shared: &Shared, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let group = request.group_id.to_string();
    let allowed = match request.generation_id >= 0 || !request.member_id.is_empty() {
        true => shared.groups.may_commit(&group, &request.member_id, request.generation_id),
        false => codes::NONE,
    };
    let offsets = request.topics.iter().flat_map(|topic| {
        let group = &group;
        topic.partitions.iter().map(move |p| {
            let metadata = p.committed_metadata.as_ref().map(|m| m.to_string());
            let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
            let place = (group.clone(), topic.name.to_string(), p.partition_index);
            (place, Committed { offset, epoch, metadata })
        })
    });
    let owner = Owner {
        id: request.transactional_id.to_string(),
        producer: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let code = match allowed {
        codes::NONE => {
            let begun = Begun::Offsets(offsets.collect());
            let done = ask(shared, |reply| Job::Begun { owner, begun, reply }).await;
            done.map_err(|code| fenced(code, false)).err().unwrap_or(codes::NONE)
        }
        code => code,
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code)
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub async fn end(shared: &Shared, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let owner = Owner {
        id: request.transactional_id.to_string(),
        producer: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let done = ask(shared, |reply| Job::End { owner, committed: request.committed, reply }).await;
    let code = done.map_err(|code| fenced(code, version >= 2)).err().unwrap_or(codes::NONE);
    EndTxnResponse::default().with_error_code(code)
}
