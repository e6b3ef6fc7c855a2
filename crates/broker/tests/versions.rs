//! Every request in every version that is offered: the shape check lets it through, and the answer has the version's form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use broker::{Broker, BrokerConfig};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

/// All requests that were sent.
static CORPUS: std::sync::Mutex<Vec<Vec<u8>>> = std::sync::Mutex::new(vec![]);

/// Sends one request and decodes its answer.
fn ask<Q: Encodable, A: Decodable>(socket: &mut TcpStream, key: ApiKey, version: i16, request: &Q) -> A {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(text("test")))
        .encode(&mut frame, key.request_header_version(version))
        .expect("a header");
    request.encode(&mut frame, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
    CORPUS.lock().expect("one thread").push(frame.to_vec());
    socket.write_all(&(frame.len() as i32).to_be_bytes()).expect("sent");
    socket.write_all(&frame).expect("sent");
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap_or_else(|e| panic!("{key:?} {version}: no answer, {e}"));
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).expect("whole");
    let mut answer = Bytes::from(answer);
    let header = ResponseHeader::decode(&mut answer, key.response_header_version(version)).expect("a header");
    assert_eq!(header.correlation_id, 7);
    let body = A::decode(&mut answer, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
    assert!(answer.is_empty(), "{key:?} {version}: {} bytes are left", answer.len());
    body
}

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.into())
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

#[test]
fn every_version_that_is_offered_is_answered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("threads");
    let broker = runtime.block_on(Broker::start(BrokerConfig::default())).expect("a free port");
    let mut socket = TcpStream::connect(broker.listeners()[0].address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    let socket = &mut socket;

    // A version that nobody knows gets the list, in the oldest form.
    let mut offered = vec![];
    for version in 0..=4 {
        let request = ApiVersionsRequest::default();
        let request = match version {
            0..=2 => request,
            _ => request.with_client_software_name(text("a")).with_client_software_version(text("1")),
        };
        let answer: ApiVersionsResponse = ask(socket, ApiKey::ApiVersions, version, &request);
        assert_eq!(answer.error_code, 0);
        offered = answer.api_keys;
    }

    let mut asked = 0;
    for offer in offered {
        let key = ApiKey::try_from(offer.api_key).expect("known");
        // Produce is announced from 0 but spoken from 3, the handshake from 1.
        let first = if key == ApiKey::SaslHandshake { 1 } else { key.valid_versions().min };
        for v in offer.min_version.max(first)..=offer.max_version {
            asked += 1;
            match key {
                ApiKey::Produce => {
                    let data = produce_request::PartitionProduceData::default()
                        .with_records(Some(Bytes::from_static(b"no batch")));
                    let data = produce_request::TopicProduceData::default()
                        .with_name(topic())
                        .with_partition_data(vec![data]);
                    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]);
                    let answer: ProduceResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.responses[0].partition_responses[0].error_code, 2);
                }
                ApiKey::Fetch => {
                    let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(1_000);
                    let wanted = fetch_request::FetchTopic::default()
                        .with_topic(topic())
                        .with_partitions(vec![partition]);
                    let request = FetchRequest::default().with_max_bytes(1_000).with_topics(vec![wanted]);
                    let _: FetchResponse = ask(socket, key, v, &request);
                }
                ApiKey::ListOffsets => {
                    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
                    let wanted = list_offsets_request::ListOffsetsTopic::default()
                        .with_name(topic())
                        .with_partitions(vec![partition]);
                    let request = ListOffsetsRequest::default().with_topics(vec![wanted]);
                    let _: ListOffsetsResponse = ask(socket, key, v, &request);
                }
                ApiKey::Metadata => {
                    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
                    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
                    let answer: MetadataResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.topics[0].partitions.len(), 1, "made by asking");
                }
                ApiKey::OffsetCommit => {
                    let partition = offset_commit_request::OffsetCommitRequestPartition::default()
                        .with_committed_offset(3)
                        .with_committed_metadata(Some(text("note")));
                    let wanted = offset_commit_request::OffsetCommitRequestTopic::default()
                        .with_name(topic())
                        .with_partitions(vec![partition]);
                    let request = OffsetCommitRequest::default()
                        .with_group_id(GroupId(text("g")))
                        .with_topics(vec![wanted]);
                    let answer: OffsetCommitResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
                }
                ApiKey::OffsetFetch if v < 8 => {
                    let wanted = offset_fetch_request::OffsetFetchRequestTopic::default()
                        .with_name(topic())
                        .with_partition_indexes(vec![0]);
                    let request = OffsetFetchRequest::default()
                        .with_group_id(GroupId(text("g")))
                        .with_topics(Some(vec![wanted]));
                    let answer: OffsetFetchResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.topics[0].partitions[0].committed_offset, 3);
                }
                ApiKey::OffsetFetch => {
                    let group = offset_fetch_request::OffsetFetchRequestGroup::default()
                        .with_group_id(GroupId(text("g")));
                    let request = OffsetFetchRequest::default().with_groups(vec![group.with_topics(None)]);
                    let answer: OffsetFetchResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.groups[0].topics[0].partitions[0].committed_offset, 3);
                }
                ApiKey::FindCoordinator => {
                    let request = FindCoordinatorRequest::default();
                    let request = match v {
                        0..=3 => request.with_key(text("g")),
                        _ => request.with_coordinator_keys(vec![text("g"), text("h")]),
                    };
                    let answer: FindCoordinatorResponse = ask(socket, key, v, &request);
                    assert!(if v < 4 { answer.port > 0 } else { answer.coordinators[1].port > 0 });
                }
                ApiKey::JoinGroup => {
                    let protocol =
                        join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
                    let request = JoinGroupRequest::default()
                        .with_group_id(GroupId(text("joined")))
                        .with_session_timeout_ms(10)
                        .with_protocol_type(text("consumer"))
                        .with_protocols(vec![protocol]);
                    let request = if v >= 1 { request.with_rebalance_timeout_ms(10) } else { request };
                    let answer: JoinGroupResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.error_code, if v < 4 { 0 } else { 79 });
                }
                ApiKey::Heartbeat => {
                    let request = HeartbeatRequest::default().with_group_id(GroupId(text("none")));
                    let answer: HeartbeatResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.error_code, 25);
                }
                ApiKey::LeaveGroup => {
                    let request = LeaveGroupRequest::default().with_group_id(GroupId(text("none")));
                    let member = leave_group_request::MemberIdentity::default().with_member_id(text("m"));
                    let request = match v {
                        0..=2 => request.with_member_id(text("m")),
                        _ => request.with_members(vec![member]),
                    };
                    let answer: LeaveGroupResponse = ask(socket, key, v, &request);
                    assert_eq!(if v < 3 { answer.error_code } else { answer.members[0].error_code }, 25);
                }
                ApiKey::SyncGroup => {
                    let request = SyncGroupRequest::default().with_group_id(GroupId(text("none")));
                    let answer: SyncGroupResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.error_code, 25);
                }
                ApiKey::ApiVersions => {}
                ApiKey::CreateTopics => {
                    let name = TopicName(text(&format!("made{v}")));
                    let topic = create_topics_request::CreatableTopic::default()
                        .with_name(name)
                        .with_num_partitions(2)
                        .with_replication_factor(1);
                    let answer: CreateTopicsResponse =
                        ask(socket, key, v, &CreateTopicsRequest::default().with_topics(vec![topic]));
                    assert_eq!(answer.topics[0].error_code, 0);
                }
                ApiKey::DeleteTopics => {
                    let name = TopicName(text(&format!("made{v}")));
                    let request = DeleteTopicsRequest::default();
                    let topic =
                        delete_topics_request::DeleteTopicState::default().with_name(Some(name.clone()));
                    let request = match v {
                        0..=5 => request.with_topic_names(vec![name]),
                        _ => request.with_topics(vec![topic]),
                    };
                    let answer: DeleteTopicsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.responses[0].error_code, if v < 2 { 3 } else { 0 });
                }
                ApiKey::CreatePartitions => {
                    let topic = create_partitions_request::CreatePartitionsTopic::default()
                        .with_name(TopicName(text("made7")))
                        .with_count(3 + i32::from(v));
                    let answer: CreatePartitionsResponse =
                        ask(socket, key, v, &CreatePartitionsRequest::default().with_topics(vec![topic]));
                    assert_eq!(answer.results[0].error_code, 0);
                }
                ApiKey::InitProducerId => {
                    let answer: InitProducerIdResponse =
                        ask(socket, key, v, &InitProducerIdRequest::default().with_transactional_id(None));
                    assert!(answer.producer_id.0 > 0);
                }
                ApiKey::AddPartitionsToTxn => {
                    let wanted = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
                        .with_name(topic())
                        .with_partitions(vec![0]);
                    let request = AddPartitionsToTxnRequest::default()
                        .with_v3_and_below_transactional_id(TransactionalId(text("none")))
                        .with_v3_and_below_topics(vec![wanted]);
                    let answer: AddPartitionsToTxnResponse = ask(socket, key, v, &request);
                    let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
                    assert_eq!(results[0].partition_error_code, 49);
                }
                ApiKey::AddOffsetsToTxn => {
                    let answer: AddOffsetsToTxnResponse =
                        ask(socket, key, v, &AddOffsetsToTxnRequest::default());
                    assert_eq!(answer.error_code, 49);
                }
                ApiKey::EndTxn => {
                    let answer: EndTxnResponse = ask(socket, key, v, &EndTxnRequest::default());
                    assert_eq!(answer.error_code, 49);
                }
                ApiKey::TxnOffsetCommit => {
                    let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
                    let wanted = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
                        .with_name(topic())
                        .with_partitions(vec![partition]);
                    let request = TxnOffsetCommitRequest::default().with_topics(vec![wanted]);
                    let answer: TxnOffsetCommitResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.topics[0].partitions[0].error_code, 49);
                }
                ApiKey::DescribeCluster => {
                    let answer: DescribeClusterResponse =
                        ask(socket, key, v, &DescribeClusterRequest::default());
                    assert_eq!(answer.brokers.len(), 1);
                }
                ApiKey::DeleteRecords => {
                    let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(0);
                    let wanted = delete_records_request::DeleteRecordsTopic::default()
                        .with_name(topic())
                        .with_partitions(vec![partition]);
                    let answer: DeleteRecordsResponse =
                        ask(socket, key, v, &DeleteRecordsRequest::default().with_topics(vec![wanted]));
                    assert_eq!(answer.topics[0].partitions[0].low_watermark, 0);
                }
                ApiKey::DescribeConfigs => {
                    let wanted = describe_configs_request::DescribeConfigsResource::default()
                        .with_resource_type(2)
                        .with_resource_name(text("t"))
                        .with_configuration_keys(Some(vec![text("retention.ms")]));
                    let request = DescribeConfigsRequest::default()
                        .with_resources(vec![wanted])
                        .with_include_synonyms(true);
                    let answer: DescribeConfigsResponse = ask(socket, key, v, &request);
                    let found = &answer.results[0].configs;
                    assert_eq!(found[0].value.as_deref(), Some("-1"));
                    assert_eq!((found.len(), found[0].synonyms.len()), (1, 1));
                }
                ApiKey::AlterConfigs => {
                    let set = alter_configs_request::AlterableConfig::default()
                        .with_name(text("retention.bytes"))
                        .with_value(Some(text("1000000")));
                    let wanted = alter_configs_request::AlterConfigsResource::default()
                        .with_resource_type(2)
                        .with_resource_name(text("t"))
                        .with_configs(vec![set]);
                    let answer: AlterConfigsResponse =
                        ask(socket, key, v, &AlterConfigsRequest::default().with_resources(vec![wanted]));
                    assert_eq!(answer.responses[0].error_code, 0);
                }
                ApiKey::IncrementalAlterConfigs => {
                    let wrong = incremental_alter_configs_request::AlterableConfig::default()
                        .with_name(text("retention.bytes"))
                        .with_value(Some(text("some")));
                    let wanted = incremental_alter_configs_request::AlterConfigsResource::default()
                        .with_resource_type(2)
                        .with_resource_name(text("t"))
                        .with_configs(vec![wrong]);
                    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![wanted]);
                    let answer: IncrementalAlterConfigsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.responses[0].error_code, 40);
                }
                ApiKey::ListGroups => {
                    let answer: ListGroupsResponse = ask(socket, key, v, &ListGroupsRequest::default());
                    assert!(answer.groups.iter().any(|g| g.group_id.as_str() == "g"));
                }
                ApiKey::DescribeGroups => {
                    let request = DescribeGroupsRequest::default()
                        .with_groups(vec![GroupId(text("g")), GroupId(text("none"))]);
                    let answer: DescribeGroupsResponse = ask(socket, key, v, &request);
                    let states: Vec<_> = answer.groups.iter().map(|g| g.group_state.as_str()).collect();
                    assert_eq!(states, ["Empty", "Dead"]);
                }
                ApiKey::DeleteGroups => {
                    let request =
                        DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("none"))]);
                    let answer: DeleteGroupsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.results[0].error_code, 69);
                }
                ApiKey::OffsetDelete => {
                    let request = OffsetDeleteRequest::default().with_group_id(GroupId(text("none")));
                    let answer: OffsetDeleteResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.error_code, 69);
                }
                // Nobody asks here who comes; those who log in have their own tests.
                ApiKey::SaslHandshake => {
                    let request = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
                    let answer: SaslHandshakeResponse = ask(socket, key, v, &request);
                    assert_eq!((answer.error_code, answer.mechanisms.len()), (34, 3));
                }
                ApiKey::SaslAuthenticate => {
                    let answer: SaslAuthenticateResponse =
                        ask(socket, key, v, &SaslAuthenticateRequest::default());
                    assert_eq!(answer.error_code, 34);
                }
                other => panic!("{other:?} is offered, but not tested"),
            }
        }
    }
    assert!(asked > 150, "{asked}");
    mutated(&runtime);
}

/// Every request in every version, damaged in all the ways that bytes can be: some answer or none, and the broker lives.
fn mutated(runtime: &tokio::runtime::Runtime) {
    let broker = runtime.block_on(Broker::start(BrokerConfig::default())).expect("a free port");
    let address = broker.listeners()[0].address;
    let mut seed = 42u64;
    let mut random = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let corpus = std::mem::take(&mut *CORPUS.lock().expect("one thread"));
    for frame in &corpus {
        let mut socket = TcpStream::connect(address).expect("it listens");
        for round in 0..16 {
            let mut bytes = frame.clone();
            // The key and version stay: what cannot be read as a request at all has its own test.
            let at = 4 + random(bytes.len() - 4);
            match round % 4 {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes.truncate(at.max(8)),
                2 => (at..bytes.len().min(at + 4)).for_each(|i| bytes[i] = [0x7f, 0xff, 0x80][random(3)]),
                _ => drop(bytes.splice(at..at, (0..random(9)).map(|_| 0xff).collect::<Vec<_>>())),
            }
            let length = (bytes.len() as i32).to_be_bytes();
            if socket.write_all(&[&length[..], &bytes].concat()).is_err() {
                socket = TcpStream::connect(address).expect("it listens");
            }
        }
    }
    let mut socket = TcpStream::connect(address).expect("it listens");
    let answer: ApiVersionsResponse = ask_again(&mut socket);
    assert_eq!(answer.error_code, 0);
    runtime.block_on(broker.shutdown());
}

fn ask_again(socket: &mut TcpStream) -> ApiVersionsResponse {
    ask(socket, ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())
}
