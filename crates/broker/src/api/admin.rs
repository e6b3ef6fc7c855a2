//! What administrators' tools ask: disks, reassignments, who may do what. There is one node, one directory, and no list of
//! rights.

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::Shared;
use crate::codes;
use crate::group::text;

/// The bytes of partitions: of those that are asked for, or of all.
pub fn log_dirs(shared: &Shared, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let state = shared.state();
    let wanted = |name: &str, partition: i32| {
        let all = request.topics.as_ref();
        all.is_none_or(|ts| ts.iter().any(|t| *t.topic == *name && t.partitions.contains(&partition)))
    };
    let topics = state.topics.iter().map(|(name, topic)| {
        let partitions = (0..).zip(&topic.partitions).filter(|(i, _)| wanted(name, *i)).map(|(i, p)| {
            let bytes = i64::try_from(p.bytes).unwrap_or(i64::MAX);
            DescribeLogDirsPartition::default().with_partition_index(i).with_partition_size(bytes)
        });
        DescribeLogDirsTopic::default().with_name(TopicName(text(name))).with_partitions(partitions.collect())
    });
    let topics = topics.filter(|t| !t.partitions.is_empty()).collect();
    let dir = DescribeLogDirsResult::default().with_log_dir(text(&shared.dir)).with_topics(topics);
    DescribeLogDirsResponse::default().with_results(vec![dir])
}

/// None are under way, and none ever will be.
pub fn reassignments() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}

/// As Kafka says it without an authorizer.
fn no_rights() -> Option<StrBytes> {
    Some(text("No Authorizer is configured on the broker"))
}

pub fn describe_acls() -> DescribeAclsResponse {
    DescribeAclsResponse::default().with_error_code(codes::SECURITY_DISABLED).with_error_message(no_rights())
}

pub fn create_acls(request: CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(codes::SECURITY_DISABLED)
        .with_error_message(no_rights());
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}

pub fn delete_acls(request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(codes::SECURITY_DISABLED)
        .with_error_message(no_rights());
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
