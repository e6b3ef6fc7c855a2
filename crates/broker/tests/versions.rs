//! Every request in every version that is offered: the shape check lets it through, and the answer has the version's form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use broker::{Broker, BrokerConfig};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

/// All requests that were sent.
static CORPUS: Mutex<Vec<Vec<u8>>> = Mutex::new(vec![]);

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
    CORPUS.lock().expect("sound").push(frame.to_vec());
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
                ApiKey::ListTransactions => {
                    let request = ListTransactionsRequest::default()
                        .with_state_filters(vec![text("Ongoing"), text("Odd")]);
                    let answer: ListTransactionsResponse = ask(socket, key, v, &request);
                    assert_eq!((answer.transaction_states.len(), answer.unknown_state_filters.len()), (0, 1));
                }
                ApiKey::DescribeTransactions => {
                    let request = DescribeTransactionsRequest::default()
                        .with_transactional_ids(vec![TransactionalId(text("none"))]);
                    let answer: DescribeTransactionsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.transaction_states[0].error_code, 105);
                }
                ApiKey::DescribeLogDirs => {
                    let answer: DescribeLogDirsResponse =
                        ask(socket, key, v, &DescribeLogDirsRequest::default().with_topics(None));
                    assert!(answer.results[0].topics.iter().any(|t| t.name == topic()));
                }
                ApiKey::ListPartitionReassignments => {
                    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
                    let answer: ListPartitionReassignmentsResponse = ask(socket, key, v, &request);
                    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
                }
                ApiKey::DescribeAcls => {
                    let answer: DescribeAclsResponse = ask(socket, key, v, &DescribeAclsRequest::default());
                    assert_eq!(answer.error_code, 54);
                }
                ApiKey::CreateAcls => {
                    let right = create_acls_request::AclCreation::default();
                    let request = CreateAclsRequest::default().with_creations(vec![right]);
                    let answer: CreateAclsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.results[0].error_code, 54);
                }
                ApiKey::DeleteAcls => {
                    let filter = delete_acls_request::DeleteAclsFilter::default();
                    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
                    let answer: DeleteAclsResponse = ask(socket, key, v, &request);
                    assert_eq!(answer.filter_results[0].error_code, 54);
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
    stored(&std::mem::take(&mut *CORPUS.lock().expect("sound")));
}

/// The stored corpus, from which `faults.rs` makes damaged requests, has every request in every version. `BROKER_CORPUS=write`
/// writes it anew.
fn stored(sent: &[Vec<u8>]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus.txt");
    let name = |frame: &[u8]| {
        let (key, version) =
            (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        format!("{:?} {version}", ApiKey::try_from(key).expect("known"))
    };
    let frames: std::collections::BTreeMap<String, &Vec<u8>> = sent.iter().map(|f| (name(f), f)).collect();
    if std::env::var_os("BROKER_CORPUS").is_some() {
        let hex = |frame: &[u8]| frame.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let lines = frames.iter().map(|(name, frame)| format!("{name} {}\n", hex(frame)));
        std::fs::write(&path, lines.collect::<String>()).expect("written");
    }
    let text = std::fs::read_to_string(&path).expect("the corpus");
    for name in frames.keys() {
        let found = text.lines().any(|l| l.strip_prefix(name.as_str()).is_some_and(|l| l.starts_with(' ')));
        assert!(found, "{name} is not in the corpus: BROKER_CORPUS=write cargo test --test versions");
    }
}

/// A batch with one record.
fn batch(producer: i64, epoch: i16, sequence: i32, transactional: bool) -> Bytes {
    use kafka_protocol::records::*;
    let record = Record {
        transactional,
        control: false,
        partition_leader_epoch: 0,
        producer_id: producer,
        producer_epoch: epoch,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence,
        timestamp: 1,
        key: None,
        value: Some(Bytes::from_static(b"v")),
        headers: Default::default(),
        delete_horizon: false,
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("a batch");
    bytes.freeze()
}

/// A client that speaks of one transactional id.
struct Owner {
    socket: TcpStream,
    producer: i64,
    epoch: i16,
}

impl Owner {
    fn new(broker: &Broker) -> Owner {
        let socket = TcpStream::connect(broker.listeners()[0].address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        Owner { socket, producer: -1, epoch: -1 }
    }

    /// Asks for the id, naming itself by what it has; the answer is the code, and kept.
    fn init(&mut self) -> i16 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("x"))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch);
        let answer: InitProducerIdResponse = ask(&mut self.socket, ApiKey::InitProducerId, 4, &request);
        if answer.error_code == 0 {
            (self.producer, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
        }
        answer.error_code
    }

    fn add(&mut self, partition: i32) -> i16 {
        let wanted = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text("x")))
            .with_v3_and_below_producer_id(self.producer.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![wanted]);
        let answer: AddPartitionsToTxnResponse =
            ask(&mut self.socket, ApiKey::AddPartitionsToTxn, 3, &request);
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    fn produce(&mut self, sequence: i32) -> i16 {
        let records = batch(self.producer, self.epoch, sequence, true);
        let data = produce_request::PartitionProduceData::default().with_records(Some(records));
        let data =
            produce_request::TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text("x"))))
            .with_acks(-1)
            .with_topic_data(vec![data]);
        let answer: ProduceResponse = ask(&mut self.socket, ApiKey::Produce, 9, &request);
        answer.responses[0].partition_responses[0].error_code
    }

    fn offsets(&mut self) -> i16 {
        let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
        let wanted = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text("x")))
            .with_group_id(GroupId(text("g")))
            .with_generation_id(-1)
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_topics(vec![wanted]);
        let answer: TxnOffsetCommitResponse = ask(&mut self.socket, ApiKey::TxnOffsetCommit, 3, &request);
        answer.topics[0].partitions[0].error_code
    }

    fn end(&mut self, committed: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text("x")))
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(committed);
        let answer: EndTxnResponse = ask(&mut self.socket, ApiKey::EndTxn, 3, &request);
        answer.error_code
    }
}

const OUT_OF_ORDER: i16 = 45;
const OLD_EPOCH: i16 = 47;
const NO_SUCH_TRANSACTION: i16 = 48;
const FENCED: i16 = 90;

/// Who is fenced off stays so, whatever it asks; who lost an answer may ask again; what comes late is in no transaction.
#[test]
fn one_producer_has_a_transactional_id() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("threads");
    let dir = tempfile::tempdir().expect("a directory");
    let start = || {
        let config = BrokerConfig { dir: Some(dir.path().into()), ..BrokerConfig::default() };
        runtime.block_on(Broker::start(config)).expect("a free port")
    };
    let broker = start();
    let mut a = Owner::new(&broker);
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
    let request =
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let _: MetadataResponse = ask(&mut a.socket, ApiKey::Metadata, 9, &request);
    assert_eq!(a.init(), 0);
    assert_eq!(a.produce(0), NO_SUCH_TRANSACTION, "nothing was added");
    assert_eq!(a.offsets(), NO_SUCH_TRANSACTION);
    assert_eq!(a.add(7), 3);
    assert_eq!((a.add(0), a.produce(0), a.produce(0), a.offsets()), (0, 0, 0, 0));
    let mut b = Owner::new(&broker);
    assert_eq!(b.init(), 0);
    assert_eq!((b.producer, b.epoch), (a.producer, a.epoch + 1));
    // librdkafka asks for a new epoch after a refused record: it must not get that of the other.
    assert_eq!((a.produce(1), a.add(0), a.end(true), a.init()), (OLD_EPOCH, FENCED, FENCED, FENCED));
    assert_eq!((b.add(0), b.produce(1), b.produce(0)), (0, OUT_OF_ORDER, 0));
    assert_eq!((b.end(false), b.end(false), b.end(true)), (0, 0, NO_SUCH_TRANSACTION));
    assert_eq!((b.produce(1), b.offsets()), (NO_SUCH_TRANSACTION, NO_SUCH_TRANSACTION));
    let lost = (b.producer, b.epoch);
    assert_eq!(b.init(), 0);
    let given = (b.producer, b.epoch);
    (b.producer, b.epoch) = lost;
    assert_eq!((b.init(), (b.producer, b.epoch)), (0, given), "its answer was lost");
    assert_eq!((b.add(0), b.produce(0)), (0, 0));
    runtime.block_on(broker.shutdown());

    // What was under way goes on; who was fenced off before still is.
    let broker = start();
    let mut c = Owner::new(&broker);
    (c.producer, c.epoch) = given;
    assert_eq!((c.produce(1), c.offsets(), c.end(true), c.end(true)), (0, 0, 0, 0));
    assert_eq!(c.produce(2), NO_SUCH_TRANSACTION);
    (c.producer, c.epoch) = lost;
    assert_eq!((c.init(), c.end(true)), (FENCED, FENCED));
    (c.producer, c.epoch) = given;
    assert_eq!((c.init(), c.epoch), (0, given.1 + 1));
    runtime.block_on(broker.shutdown());
}
