//! Consumer groups: the coordinator is this broker, always.

use std::collections::BTreeMap;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::NODE;
use crate::Shared;
use crate::codes;
use crate::group::text;
use crate::listener::Advertised;
use crate::report::CONSUMER;
use crate::state::{Committed, State};
use crate::writer::Job;

/// The longest note that a client may keep with an offset, as in Kafka.
const MAX_METADATA: usize = 4_096;

pub fn coordinator(
    at: &Advertised,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (host, port) = (at.host.clone(), at.port);
    if version < 4 {
        return FindCoordinatorResponse::default().with_node_id(NODE).with_host(host).with_port(port);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default().with_key(key).with_node_id(NODE).with_host(host.clone()).with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

pub fn heartbeat(shared: &Shared, request: HeartbeatRequest) -> HeartbeatResponse {
    let code = shared.groups.heartbeat(&request.group_id, &request.member_id, request.generation_id);
    HeartbeatResponse::default().with_error_code(code)
}

pub fn leave(shared: &Shared, request: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    if version < 3 {
        let code = shared.groups.leave(&request.group_id, &request.member_id);
        return LeaveGroupResponse::default().with_error_code(code);
    }
    let members =
        request.members.into_iter().map(|MemberIdentity { member_id, group_instance_id, .. }| {
            let code = shared.groups.leave(&request.group_id, &member_id);
            MemberResponse::default()
                .with_member_id(member_id)
                .with_group_instance_id(group_instance_id)
                .with_error_code(code)
        });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub async fn commit(shared: &Shared, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let generation = request.generation_id_or_member_epoch;
    let allowed = shared.groups.may_commit(&request.group_id, &request.member_id, generation);
    let mut offsets = vec![];
    let mut topics: Vec<(TopicName, Vec<(i32, i16)>)> = vec![];
    for topic in request.topics {
        let mut partitions = vec![];
        for p in topic.partitions {
            let metadata = p.committed_metadata.map(|m| m.to_string());
            let code = match &metadata {
                _ if allowed != codes::NONE => allowed,
                Some(m) if m.len() > MAX_METADATA => codes::OFFSET_METADATA_TOO_LARGE,
                _ => {
                    let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                    let committed = Committed { offset, epoch, metadata };
                    offsets.push((topic.name.to_string(), p.partition_index, committed));
                    codes::NONE
                }
            };
            partitions.push((p.partition_index, code));
        }
        topics.push((topic.name, partitions));
    }
    let n = offsets.len();
    let (reply, done) = oneshot::channel();
    let failed = || vec![Err(codes::STORAGE_ERROR); n];
    let done = match n {
        0 => vec![],
        _ if shared.job(Job::Commit { group: request.group_id.to_string(), offsets, reply }).await => {
            done.await.unwrap_or_else(|_| failed())
        }
        _ => failed(),
    };
    let mut done = done.into_iter();
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            let code = match code {
                codes::NONE => done
                    .next()
                    .expect("the writer answers for each offset that it got")
                    .err()
                    .unwrap_or(codes::NONE),
                code => code,
            };
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
        });
        OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// The partitions that are asked for, of each topic; without a list, all that the group has read.
fn wanted(state: &State, group: &str, topics: Option<Vec<(String, Vec<i32>)>>) -> Vec<(String, Vec<i32>)> {
    topics.unwrap_or_else(|| {
        let mut all: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in state.committed.get(group).into_iter().flat_map(|c| c.keys()) {
            all.entry(topic.clone()).or_default().push(*partition);
        }
        all.into_iter().collect()
    })
}

fn lookup(state: &State, group: &str, topic: &str, partition: i32) -> Committed {
    let found = state.committed.get(group).and_then(|c| c.get(&(topic.to_string(), partition)));
    found.cloned().unwrap_or(Committed { offset: -1, epoch: -1, metadata: Some(String::new()) })
}

/// From version 8 on a request names several groups; the answer holds the same in other structs.
pub fn committed(shared: &Shared, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let state = shared.state();
    // Who asks for what is stable must come again while a transaction may still change it.
    let unstable = |group: &str, topic: &str, partition: i32| {
        let waits = || state.waiting.contains_key(&(group.to_string(), topic.to_string(), partition));
        if request.require_stable && waits() { codes::UNSTABLE_OFFSET_COMMIT } else { codes::NONE }
    };
    if version < 8 {
        let group = request.group_id.to_string();
        let topics = request
            .topics
            .map(|ts| ts.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect());
        let topics = wanted(&state, &group, topics).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|partition| {
                let c = lookup(&state, &group, &topic, partition);
                let answer = OffsetFetchResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(unstable(&group, &topic, partition))
                    .with_committed_offset(c.offset)
                    .with_metadata(Some(text(c.metadata.as_deref().unwrap_or(""))));
                if version >= 5 { answer.with_committed_leader_epoch(c.epoch) } else { answer }
            });
            let partitions = partitions.collect();
            OffsetFetchResponseTopic::default().with_name(TopicName(text(&topic))).with_partitions(partitions)
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = request.groups.into_iter().map(|asked| {
        let group = asked.group_id.to_string();
        let topics = asked
            .topics
            .map(|ts| ts.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect());
        let topics = wanted(&state, &group, topics).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|partition| {
                let c = lookup(&state, &group, &topic, partition);
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(partition)
                    .with_error_code(unstable(&group, &topic, partition))
                    .with_committed_offset(c.offset)
                    .with_committed_leader_epoch(c.epoch)
                    .with_metadata(Some(text(c.metadata.as_deref().unwrap_or(""))))
            });
            let partitions = partitions.collect();
            OffsetFetchResponseTopics::default()
                .with_name(TopicName(text(&topic)))
                .with_partitions(partitions)
        });
        OffsetFetchResponseGroup::default().with_group_id(asked.group_id).with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

pub fn list(shared: &Shared, request: ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let all = shared.list_groups();
    let same = |wanted: &[StrBytes], name: &str| {
        wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(name))
    };
    let (states, types) = (&request.states_filter, &request.types_filter);
    let wanted = all.into_iter().filter(|(_, g)| same(states, g.state) && same(types, "classic"));
    let groups = wanted.map(|(name, g)| {
        let listed = ListedGroup::default().with_group_id(GroupId(text(&name))).with_protocol_type(g.kind);
        let listed = if version >= 4 { listed.with_group_state(text(g.state)) } else { listed };
        if version >= 5 { listed.with_group_type(text("classic")) } else { listed }
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub fn describe(shared: &Shared, request: DescribeGroupsRequest, version: i16) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|id| {
        shared.groups.describe(&id, version).unwrap_or_else(|| {
            let known = shared.state().committed.contains_key(id.as_str());
            let (state, kind) = if known { ("Empty", CONSUMER) } else { ("Dead", "") };
            DescribedGroup::default()
                .with_group_id(id)
                .with_group_state(text(state))
                .with_protocol_type(text(kind))
        })
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

async fn forget(shared: &Shared, group: &str, offsets: Vec<(String, i32)>) -> Vec<Result<(), i16>> {
    let n = offsets.len();
    let (reply, done) = oneshot::channel();
    let failed = || vec![Err(codes::STORAGE_ERROR); n];
    match shared.job(Job::Forget { group: group.to_string(), offsets, reply }).await {
        true => done.await.unwrap_or_else(|_| failed()),
        false => failed(),
    }
}

pub async fn delete(shared: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = vec![];
    for id in request.groups_names {
        let offsets: Option<Vec<_>> =
            shared.state().committed.get(id.as_str()).map(|c| c.keys().cloned().collect());
        let code = match offsets {
            _ if shared.groups.is_active(&id) => codes::NON_EMPTY_GROUP,
            None => codes::GROUP_ID_NOT_FOUND,
            Some(offsets) => {
                let done = forget(shared, &id, offsets).await;
                done.into_iter().find_map(Result::err).unwrap_or(codes::NONE)
            }
        };
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

pub async fn delete_offsets(shared: &Shared, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = request.group_id.to_string();
    if !shared.groups.is_active(&group) && !shared.state().committed.contains_key(&group) {
        return OffsetDeleteResponse::default().with_error_code(codes::GROUP_ID_NOT_FOUND);
    }
    let mut topics = vec![];
    for topic in request.topics {
        let wanted: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        let done = match shared.groups.is_active(&group) {
            true => vec![Err(codes::GROUP_SUBSCRIBED_TO_TOPIC); wanted.len()],
            false => {
                let offsets = wanted.iter().map(|p| (topic.name.to_string(), *p)).collect();
                forget(shared, &group, offsets).await
            }
        };
        let partitions = wanted.into_iter().zip(done).map(|(index, done)| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(done.err().unwrap_or(codes::NONE))
        });
        let answer = OffsetDeleteResponseTopic::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions.collect()));
    }
    OffsetDeleteResponse::default().with_topics(topics)
}
