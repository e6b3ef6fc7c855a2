//! What topics there are, and how they come and go.

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterResponse, MetadataRequest, MetadataResponse, TopicName,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{CLUSTER, NODE};
use crate::Shared;
use crate::codes::{self, Code};
use crate::group::text;
use crate::listener::Advertised;
use crate::settings::{Described, Settings};
use crate::writer::{Job, MAX_PARTITIONS};

/// Whether Kafka allows the name.
pub fn valid_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(valid) && name != "." && name != ".."
}

pub async fn metadata(
    shared: &Shared,
    at: &Advertised,
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let names: Vec<(Option<String>, Uuid)> = match request.topics {
        // Version 0 asks for all by an empty list, later ones by null.
        None => all(shared),
        Some(topics) if topics.is_empty() && version == 0 => all(shared),
        Some(topics) => topics.into_iter().map(|t| (t.name.map(|n| n.to_string()), t.topic_id)).collect(),
    };
    let may_create = shared.auto_create && (version < 4 || request.allow_auto_topic_creation);
    for name in names.iter().filter_map(|(name, _)| name.as_ref()) {
        if may_create && valid_name(name) && !shared.state().topics.contains_key(name) {
            // Somebody else may have been faster: it is there then.
            let _ = make(shared, name.clone(), shared.default_partitions, Settings::default()).await;
        }
    }
    let state = shared.state();
    let topics = names.into_iter().map(|(name, id)| {
        let by_id = || state.topics.iter().find(|(_, t)| t.id == id).map(|(n, _)| n.clone());
        let Some(name) = name.or_else(by_id) else {
            let unknown =
                MetadataResponseTopic::default().with_error_code(UNKNOWN_TOPIC_ID).with_topic_id(id);
            return unknown.with_name(if version >= 12 { None } else { Some(TopicName(text(""))) });
        };
        let answer = MetadataResponseTopic::default().with_name(Some(TopicName(text(&name))));
        let Some(topic) = state.topics.get(&name) else {
            let code =
                if valid_name(&name) { codes::UNKNOWN_TOPIC_OR_PARTITION } else { codes::INVALID_TOPIC };
            return answer.with_error_code(code);
        };
        let partitions = (0..topic.partitions.len() as i32).map(|i| {
            MetadataResponsePartition::default()
                .with_partition_index(i)
                .with_leader_id(NODE)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE])
        });
        answer.with_topic_id(topic.id).with_partitions(partitions.collect())
    });
    let broker =
        MetadataResponseBroker::default().with_node_id(NODE).with_host(at.host.clone()).with_port(at.port);
    MetadataResponse::default()
        .with_topics(topics.collect())
        .with_cluster_id(Some(text(CLUSTER)))
        .with_controller_id(NODE)
        .with_brokers(vec![broker])
}

const UNKNOWN_TOPIC_ID: Code = 100;

fn all(shared: &Shared) -> Vec<(Option<String>, Uuid)> {
    shared.state().topics.keys().map(|name| (Some(name.clone()), Uuid::nil())).collect()
}

/// Makes a topic.
async fn make(shared: &Shared, name: String, partitions: i32, settings: Settings) -> Result<Uuid, Code> {
    let (reply, made) = oneshot::channel();
    if !shared.job(Job::Create { name, partitions, settings, reply }).await {
        return Err(codes::STORAGE_ERROR);
    }
    made.await.unwrap_or(Err(codes::STORAGE_ERROR))
}

pub async fn create(shared: &Shared, request: CreateTopicsRequest, version: i16) -> CreateTopicsResponse {
    let mut results = vec![];
    for topic in request.topics {
        let partitions = match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => shared.default_partitions,
            (0, n) => n,
            (n, _) => i32::try_from(n).unwrap_or(i32::MAX),
        };
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let name = topic.name.to_string();
        let checked =
            check(&topic, partitions).and_then(|settings| match shared.state().topics.contains_key(&name) {
                true => Err((codes::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists."))),
                false => Ok(settings),
            });
        let mut described = None;
        let made = match checked {
            Ok(settings) => {
                described = (version >= 5).then(|| all_settings(&settings));
                match request.validate_only {
                    true => Ok(Uuid::nil()),
                    false => make(shared, name, partitions, settings)
                        .await
                        .map_err(|code| (code, "the embedded broker could not make the topic".into())),
                }
            }
            Err(e) => Err(e),
        };
        results.push(match made {
            Ok(id) => result.with_topic_id(id).with_configs(described.or(Some(vec![]))),
            Err((code, why)) => result.with_error_code(code).with_error_message(Some(text(&why))),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn all_settings(settings: &Settings) -> Vec<CreatableTopicConfigs> {
    let one = |d: Described| {
        CreatableTopicConfigs::default()
            .with_name(text(d.name))
            .with_value(Some(text(d.value)))
            .with_config_source(if d.given { 1 } else { 5 })
    };
    settings.all().map(one).collect()
}

/// Refuses by name what a topic here cannot be.
fn check(topic: &CreatableTopic, partitions: i32) -> Result<Settings, (Code, String)> {
    if !valid_name(&topic.name) {
        return Err((
            codes::INVALID_TOPIC,
            "a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -".into(),
        ));
    }
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        return Err((codes::INVALID_PARTITIONS, format!("a topic has 1 to {MAX_PARTITIONS} partitions")));
    }
    let replicas = topic.assignments.iter().map(|a| a.broker_ids.len()).max().unwrap_or(1);
    if topic.replication_factor > 1 || replicas > 1 {
        return Err((codes::INVALID_REPLICATION_FACTOR, "the embedded broker is one node".into()));
    }
    let given =
        topic.configs.iter().filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())));
    Settings::new(given.collect()).map_err(|why| (codes::INVALID_CONFIG, why))
}

pub async fn delete_records(shared: &Shared, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = vec![];
    for topic in request.topics {
        let mut partitions = vec![];
        for wanted in topic.partitions {
            let (reply, done) = oneshot::channel();
            let (partition, offset) = (wanted.partition_index, wanted.offset);
            let job = Job::Begin { topic: topic.name.to_string(), partition, offset, reply };
            let begun = match shared.job(job).await {
                true => done.await.unwrap_or(Err(codes::STORAGE_ERROR)),
                false => Err(codes::STORAGE_ERROR),
            };
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(partition);
            partitions.push(match begun {
                Ok(offset) => answer.with_low_watermark(offset),
                Err(code) => answer.with_low_watermark(-1).with_error_code(code),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

pub async fn delete(shared: &Shared, request: DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
    let names: Vec<(Option<TopicName>, Uuid)> = if version < 6 {
        request.topic_names.into_iter().map(|n| (Some(n), Uuid::nil())).collect()
    } else {
        let name_of = |id: Uuid| {
            let state = shared.state();
            state.topics.iter().find(|(_, t)| t.id == id).map(|(n, _)| TopicName(text(n)))
        };
        request.topics.into_iter().map(|t| (t.name.or_else(|| name_of(t.topic_id)), t.topic_id)).collect()
    };
    let mut responses = vec![];
    for (name, id) in names {
        let code = match &name {
            None => UNKNOWN_TOPIC_ID,
            Some(name) => {
                let (reply, done) = oneshot::channel();
                match shared.job(Job::Delete { name: name.to_string(), reply }).await {
                    true => done.await.unwrap_or(Err(codes::STORAGE_ERROR)).err().unwrap_or(codes::NONE),
                    false => codes::STORAGE_ERROR,
                }
            }
        };
        let answer = DeletableTopicResult::default().with_name(name).with_error_code(code);
        responses.push(if version >= 6 { answer.with_topic_id(id) } else { answer });
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

pub async fn grow(shared: &Shared, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = vec![];
    for topic in request.topics {
        let name = topic.name.to_string();
        let before = shared.state().topics.get(&name).map(|t| t.partitions.len());
        let wanted = usize::try_from(topic.count).unwrap_or(0);
        let code = match before {
            None => codes::UNKNOWN_TOPIC_OR_PARTITION,
            Some(n) if wanted <= n || topic.count > MAX_PARTITIONS => codes::INVALID_PARTITIONS,
            Some(_) if request.validate_only => codes::NONE,
            Some(_) => {
                let (reply, done) = oneshot::channel();
                match shared.job(Job::Grow { name, partitions: topic.count, reply }).await {
                    true => done.await.unwrap_or(Err(codes::STORAGE_ERROR)).err().unwrap_or(codes::NONE),
                    false => codes::STORAGE_ERROR,
                }
            }
        };
        results.push(CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(code));
    }
    CreatePartitionsResponse::default().with_results(results)
}

pub fn cluster(at: &Advertised) -> DescribeClusterResponse {
    let broker =
        DescribeClusterBroker::default().with_broker_id(NODE).with_host(at.host.clone()).with_port(at.port);
    DescribeClusterResponse::default()
        .with_cluster_id(text(CLUSTER))
        .with_controller_id(NODE)
        .with_brokers(vec![broker])
}
