//! What is set of topics, and what can be seen of the broker's settings.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::NODE;
use crate::Shared;
use crate::codes::{self, Code};
use crate::group::text;
use crate::settings::Settings;
use crate::writer::Job;

/// Kinds of things that have settings.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from.
const GIVEN: i8 = 1;
const STATIC: i8 = 4;
const DEFAULT: i8 = 5;

/// An error and what it is about.
type Failed = (Code, String);

fn unknown(topic: &str) -> Failed {
    (codes::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{topic}'"))
}

pub fn describe(shared: &Shared, request: DescribeConfigsRequest, version: i16) -> DescribeConfigsResponse {
    let synonyms = request.include_synonyms;
    let results = request.resources.into_iter().map(|resource| {
        let wanted = |name: &str| match &resource.configuration_keys {
            Some(keys) if !keys.is_empty() => keys.iter().any(|k| k.as_str() == name),
            _ => true,
        };
        let entry = |name: &str, value: &str, source: i8, kind: i8| {
            let mut all = vec![];
            if synonyms {
                let synonym = |value: &str, source| {
                    DescribeConfigsSynonym::default()
                        .with_name(text(name))
                        .with_value(Some(text(value)))
                        .with_source(source)
                };
                all.push(synonym(value, source));
                all.extend(
                    Settings::default_of(name).filter(|_| source == GIVEN).map(|d| synonym(d, DEFAULT)),
                );
            }
            let entry = DescribeConfigsResourceResult::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_read_only(source == STATIC)
                .with_config_source(source)
                .with_synonyms(all);
            if version >= 3 { entry.with_config_type(kind) } else { entry }
        };
        let entries = match resource.resource_type {
            TOPIC => {
                let settings =
                    shared.state().topics.get(resource.resource_name.as_str()).map(|t| t.settings.clone());
                settings.ok_or_else(|| unknown(&resource.resource_name)).map(|settings| {
                    let all = settings.all().filter(|d| wanted(d.name));
                    all.map(|d| entry(d.name, d.value, if d.given { GIVEN } else { DEFAULT }, d.kind))
                        .collect()
                })
            }
            BROKER if resource.resource_name.is_empty() || *resource.resource_name == *NODE.0.to_string() => {
                let all = [
                    ("auto.create.topics.enable", shared.auto_create.to_string(), 1),
                    ("default.replication.factor", "1".into(), 3),
                    ("num.partitions", shared.default_partitions.to_string(), 3),
                ];
                let all = all.iter().filter(|(name, ..)| wanted(name));
                Ok(all.map(|(name, value, kind)| entry(name, value, STATIC, *kind)).collect())
            }
            _ => Err((codes::INVALID_REQUEST, "topics and broker 1 have settings here".to_string())),
        };
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match entries {
            Ok(entries) => result.with_configs(entries),
            Err((code, why)) => result.with_error_code(code).with_error_message(Some(text(&why))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// Sets what is set of a topic, if all of it is allowed.
async fn configure(
    shared: &Shared,
    kind: i8,
    name: &StrBytes,
    validate_only: bool,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    if kind != TOPIC {
        return Err((codes::INVALID_REQUEST, "only topics can be configured here".into()));
    }
    let before = shared.state().topics.get(name.as_str()).map(|t| t.settings.clone());
    let mut given = before.ok_or_else(|| unknown(name))?.given().clone();
    change(&mut given)?;
    let settings = Settings::new(given).map_err(|why| (codes::INVALID_CONFIG, why))?;
    if validate_only {
        return Ok(());
    }
    let (reply, done) = oneshot::channel();
    let failed = |code| (code, "the embedded broker could not write its log".to_string());
    match shared.job(Job::Configure { name: name.to_string(), settings, reply }).await {
        true => done.await.unwrap_or(Err(codes::STORAGE_ERROR)).map_err(failed),
        false => Err(failed(codes::STORAGE_ERROR)),
    }
}

fn parts(result: Result<(), Failed>) -> (Code, Option<StrBytes>) {
    match result {
        Ok(()) => (codes::NONE, None),
        Err((code, why)) => (code, Some(text(&why))),
    }
}

/// All settings of a topic at once: what is not named is a default again.
pub async fn alter(shared: &Shared, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = vec![];
    for resource in request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let configs = resource.configs;
        let result = configure(shared, kind, &name, request.validate_only, |given| {
            given.clear();
            for config in configs {
                if let Some(value) = config.value {
                    given.insert(config.name.to_string(), value.to_string());
                }
            }
            Ok(())
        });
        let (code, why) = parts(result.await);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(why)
                .with_resource_type(kind)
                .with_resource_name(name),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// Single settings of a topic.
pub async fn incremental(
    shared: &Shared,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = vec![];
    for resource in request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let configs = resource.configs;
        let result = configure(shared, kind, &name, request.validate_only, |given| {
            for config in configs {
                let (name, value) = (config.name.to_string(), config.value.unwrap_or_default().to_string());
                one(given, name, config.config_operation, &value)?;
            }
            Ok(())
        });
        let (code, why) = parts(result.await);
        responses.push(
            IncrementalResponse::default()
                .with_error_code(code)
                .with_error_message(why)
                .with_resource_type(kind)
                .with_resource_name(name),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn one(given: &mut BTreeMap<String, String>, name: String, operation: i8, value: &str) -> Result<(), Failed> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    match operation {
        SET => drop(given.insert(name, value.to_string())),
        DELETE => drop(given.remove(&name)),
        APPEND | SUBTRACT if Settings::is_list(&name) => {
            let now =
                given.get(&name).map_or_else(|| Settings::default_of(&name).unwrap_or(""), String::as_str);
            let mut words: Vec<&str> = now.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
            for word in value.split(',').map(str::trim) {
                words.retain(|w| *w != word);
                if operation == APPEND {
                    words.push(word);
                }
            }
            let words = words.join(",");
            given.insert(name, words);
        }
        APPEND | SUBTRACT => return Err((codes::INVALID_CONFIG, format!("{name} is not a list"))),
        _ => return Err((codes::INVALID_REQUEST, format!("operation {operation} is not known"))),
    }
    Ok(())
}
