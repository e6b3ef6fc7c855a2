//! Transactions, and numbers for producers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse,
    TopicName, TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    describe_transactions_response, list_transactions_response,
};
use tokio::sync::oneshot;

use crate::Shared;
use crate::codes::{self, Code};
use crate::group::text;
use crate::state::Committed;
use crate::transaction::{MAX_TIMEOUT_MS, Transaction};
use crate::writer::{Begun, Job, Owner, now};

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
    let topics: Vec<_> = request.v3_and_below_topics.into_iter().collect();
    // If one is not there, none is added, and the client must know which.
    let known = |topic: &str, partition: i32| shared.state().partition(topic, partition).is_some();
    let named = topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), *p)));
    let named: Vec<_> = named.collect();
    let all = named.iter().all(|(topic, partition)| known(topic, *partition));
    let allowed = match all {
        true => ask(shared, |reply| Job::Begun { owner, begun: Begun::Partitions(named), reply }).await,
        false => Ok(()),
    };
    let allowed = allowed.map_err(|code| fenced(code, version >= 2)).err();
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
    let done = ask(shared, |reply| Job::Begun { owner, begun: Begun::Group, reply }).await;
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

/// As Kafka calls them. What is being decided is never seen here.
fn state_name(transaction: &Transaction) -> &'static str {
    match (transaction.begun, transaction.last) {
        (Some(_), _) => "Ongoing",
        (None, Some(true)) => "CompleteCommit",
        (None, Some(false)) => "CompleteAbort",
        (None, None) => "Empty",
    }
}

async fn all(shared: &Shared) -> Vec<(String, Transaction)> {
    let (reply, done) = oneshot::channel();
    match shared.job(Job::Transactions { reply }).await {
        true => done.await.unwrap_or_default(),
        false => vec![],
    }
}

/// The transactional ids: those in some state, of some producer, or under way for longer than so many ms.
pub async fn list(shared: &Shared, request: ListTransactionsRequest) -> ListTransactionsResponse {
    const STATES: [&str; 8] = [
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "PrepareEpochFence",
        "Dead",
    ];
    let (unknown, states): (Vec<_>, Vec<_>) =
        request.state_filters.into_iter().partition(|s| !STATES.contains(&s.as_str()));
    let producers = &request.producer_id_filters;
    let before = now().saturating_sub(request.duration_filter);
    let wanted = |t: &Transaction| {
        (states.is_empty() && unknown.is_empty() || states.iter().any(|s| s.as_str() == state_name(t)))
            && (producers.is_empty() || producers.iter().any(|p| p.0 == t.producer))
            && (request.duration_filter < 0 || t.begun.is_some_and(|begun| begun < before))
    };
    let found = all(shared).await.into_iter().filter(|(_, t)| wanted(t)).map(|(id, t)| {
        list_transactions_response::TransactionState::default()
            .with_transactional_id(TransactionalId(text(&id)))
            .with_producer_id(t.producer.into())
            .with_transaction_state(text(state_name(&t)))
    });
    let found = found.collect();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown).with_transaction_states(found)
}

pub async fn describe(shared: &Shared, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let known: BTreeMap<_, _> = all(shared).await.into_iter().collect();
    let states = request.transactional_ids.into_iter().map(|id| {
        let answer = describe_transactions_response::TransactionState::default();
        let Some(t) = known.get(id.as_str()) else {
            return answer.with_transactional_id(id).with_error_code(codes::TRANSACTIONAL_ID_NOT_FOUND);
        };
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        t.added.union(&t.partitions).for_each(|(topic, p)| topics.entry(topic).or_default().push(*p));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            describe_transactions_response::TopicData::default()
                .with_topic(TopicName(text(topic)))
                .with_partitions(partitions)
        });
        answer
            .with_transactional_id(id)
            .with_transaction_state(text(state_name(t)))
            .with_transaction_timeout_ms(t.timeout_ms)
            .with_transaction_start_time_ms(t.begun.unwrap_or(-1))
            .with_producer_id(t.producer.into())
            .with_producer_epoch(t.epoch)
            .with_topics(topics.collect())
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
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
