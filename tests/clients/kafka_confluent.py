"""confluent-kafka (a new librdkafka) against a Kafka: one line for each operation, the same for every Kafka.

usage: kafka_confluent.py PLAINTEXT SASL_SSL CA USER PASSWORD
"""

import sys
import time

from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition)
from confluent_kafka.admin import (AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType,
                                   ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourcePatternType,
                                   ResourceType)

plain, secure, ca, user, password = sys.argv[1:]
T = "confluent"
HOUR_AGO = int(time.time() * 1000) - 3_600_000


def say(operation, result):
    print(f"{operation}\t{result}", flush=True)


def producer(**more):
    return Producer({"bootstrap.servers": plain, "linger.ms": 5, **{k.replace("_", "."): v for k, v in more.items()}})


def consumer(**more):
    return Consumer({"bootstrap.servers": plain, "group.id": "reader", "enable.partition.eof": True,
                     "auto.offset.reset": "earliest", **{k.replace("_", "."): v for k, v in more.items()}})


def read(topic, partition, offset=0, **more):
    """All messages of a partition from an offset on."""
    c, out = consumer(**more), []
    c.assign([TopicPartition(topic, partition, offset)])
    while True:
        m = c.poll(30)
        assert m is not None, "no answer"
        if m.error():
            assert m.error().code() == KafkaError._PARTITION_EOF, m.error()
            c.close()
            return out
        out.append(m)


def refused(future):
    try:
        future.result(30)
        return "done"
    except KafkaException as e:
        return e.args[0].name()


def wait(condition):
    end = time.time() + 60
    while not condition():
        assert time.time() < end, "waited too long"
        time.sleep(0.05)


admin = AdminClient({"bootstrap.servers": plain})
say("create a topic", refused(admin.create_topics([NewTopic(T, 3, 1, config={"retention.ms": "7200000"})])[T]))
say("create it again", refused(admin.create_topics([NewTopic(T, 3, 1)])[T]))
wrong = NewTopic("wrong", 1, 1, config={"retention.ms": "soon"})
say("create with a wrong setting", refused(admin.create_topics([wrong])["wrong"]))
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    p = producer(compression_type=codec)
    for n in range(200):
        p.produce(T, f"{codec} {n}", partition=0, timestamp=HOUR_AGO + n)
    assert p.flush(30) == 0
got = read(T, 0, check_crcs=True)
say("produce, all codecs", (len(got), [m.value() for m in got[199::200]], got[-1].offset()))
p = producer(enable_idempotence=True)
for n in range(500):
    p.produce(T, str(n), partition=1)
assert p.flush(30) == 0
say("produce, idempotent", [int(m.value()) for m in read(T, 1)] == list(range(500)))
p.produce(T, None, "k", partition=2, headers=[("a", b"1"), ("b", None)])
assert p.flush(30) == 0
say("keys, headers, no value", [(m.key(), m.value(), m.headers()) for m in read(T, 2)])
p = producer(message_max_bytes=20_000_000)
done = []
p.produce(T, b"x" * 3_000_000, partition=2, on_delivery=lambda e, m: done.append(e.name() if e else "done"))
p.flush(30)
say("a message that is too large", done)
say("consume from an offset", [m.value() for m in read(T, 0, 998)])
c = consumer()
say("first and last offset", c.get_watermark_offsets(TopicPartition(T, 0), 30))
times = c.offsets_for_times([TopicPartition(T, 0, HOUR_AGO + 150), TopicPartition(T, 1, 9_999_999_999_999)], 30)
say("offsets by time", [times[0].offset > 100, times[1].offset])
c.close()
spec = {TopicPartition(T, 0): OffsetSpec.latest(), TopicPartition(T, 1): OffsetSpec.earliest()}
say("list offsets", sorted((tp.partition, f.result(30).offset) for tp, f in admin.list_offsets(spec).items()))


def group_read(n):
    c, out = consumer(group_id="g", enable_auto_commit=False), []
    c.subscribe([T])
    while len(out) < n:
        m = c.poll(30)
        if m is not None and not m.error():
            out.append(m)
            c.commit(m, asynchronous=False)
    c.close()
    return out


first = group_read(700)
say("group: commit and resume", (len(first), len({(m.partition(), m.offset()) for m in first + group_read(801)})))
a, b = consumer(group_id="pair"), consumer(group_id="pair")
a.subscribe([T])
b.subscribe([T])


def shared():
    a.poll(0.1), b.poll(0.1)
    mine = [{tp.partition for tp in x.assignment()} for x in (a, b)]
    return mine[0] and mine[1] and mine[0] | mine[1] == {0, 1, 2} and not mine[0] & mine[1]


wait(shared)
say("group: two share the partitions", "done")
described = admin.describe_consumer_groups(["pair"])["pair"].result(30)
say("describe a group", (described.state.name, len(described.members), described.partition_assignor))
say("delete a group that is read", refused(admin.delete_consumer_groups(["pair"])["pair"]))
b.close()


def alone():
    a.poll(0.1)
    return len(a.assignment()) == 3


wait(alone)
say("group: one leaves", "done")
a.close()
listed = admin.list_consumer_groups().result(30)
say("list groups", sorted(g.group_id for g in listed.valid if g.group_id in ("g", "pair")))
wanted = ConsumerGroupTopicPartitions("g", [TopicPartition(T, 1)])
say("list a group's offsets", [tp.offset for tp in admin.list_consumer_group_offsets([wanted])["g"].result(30).topic_partitions])
moved = ConsumerGroupTopicPartitions("g", [TopicPartition(T, 1, 100)])
say("set a group's offsets", [tp.offset for tp in admin.alter_consumer_group_offsets([moved])["g"].result(30).topic_partitions])
say("delete a group", refused(admin.delete_consumer_groups(["g"])["g"]))
say("delete it again", refused(admin.delete_consumer_groups(["g"])["g"]))
say("add partitions", refused(admin.create_partitions([NewPartitions(T, 5)])[T]))
wait(lambda: len(admin.list_topics(T, timeout=30).topics[T].partitions) == 5)
say("metadata", "done")
resource = ConfigResource(ResourceType.TOPIC, T)


def setting(name):
    resource = ConfigResource(ResourceType.TOPIC, T)
    return admin.describe_configs([resource])[resource].result(30)[name].value


say("describe settings", (setting("retention.ms"), setting("cleanup.policy"), setting("max.message.bytes")))
resource.add_incremental_config(ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET))
resource.add_incremental_config(ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE))
say("alter settings", refused(admin.incremental_alter_configs([resource])[resource]))
wait(lambda: setting("max.message.bytes") == "2000000")
say("altered settings", (setting("max.message.bytes"), setting("message.timestamp.type")))
cut = admin.delete_records([TopicPartition(T, 0, 600)])
say("delete records", [f.result(30).low_watermark for f in cut.values()])
say("what is left", (read(T, 0, 600)[0].offset(), len(read(T, 0, 600))))
stamped = NewTopic("stamped", 1, 1, config={"message.timestamp.type": "LogAppendTime"})
admin.create_topics([stamped])["stamped"].result(30)
p = producer()
p.produce("stamped", "x", timestamp=5)
assert p.flush(30) == 0
say("time of arrival", [(m.timestamp()[0], m.timestamp()[1] > 1_600_000_000_000) for m in read("stamped", 0)])
admin.create_topics([NewTopic("brief", 1, 1, config={"retention.ms": "1000", "segment.ms": "1000"})])["brief"].result(30)
p.produce("brief", "old", timestamp=5)
assert p.flush(30) == 0
c = consumer()


def gone():
    # Apache Kafka lets go of whole files, and begins a new one when something comes.
    p.produce("brief", "new", timestamp=int(time.time() * 1000))
    assert p.flush(30) == 0
    return c.get_watermark_offsets(TopicPartition("brief", 0), 30)[0] >= 1


wait(gone)
say("retention by age", "done")
c.close()
admin.create_topics([NewTopic("exact", 1, 1)])["exact"].result(30)
t = producer(transactional_id="py", message_timeout_ms=30_000)
t.init_transactions(30)
for n, commit in enumerate([True, False, True]):
    t.begin_transaction()
    t.produce("exact", str(n))
    assert t.flush(30) == 0
    (t.commit_transaction if commit else t.abort_transaction)(30)
say("transactions", [[m.value() for m in read("exact", 0, isolation_level=i)] for i in ("read_committed", "read_uncommitted")])
c = consumer(group_id="exact", isolation_level="read_committed")
t.begin_transaction()
t.send_offsets_to_transaction([TopicPartition("exact", 0, 4)], c.consumer_group_metadata(), 30)
t.commit_transaction(30)
say("offsets in a transaction", [tp.offset for tp in c.committed([TopicPartition("exact", 0)], 30)])
c.close()
t.begin_transaction()
t.produce("exact", "late")
assert t.flush(30) == 0
second = producer(transactional_id="py")
second.init_transactions(30)
try:
    t.commit_transaction(30)
except KafkaException as e:
    say("transactions: fencing", (e.args[0].name(), e.args[0].fatal()))
everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                              AclPermissionType.ANY)
say("describe access rights", refused(admin.describe_acls(everything)))
say("delete a topic", refused(admin.delete_topics([T])[T]))
wait(lambda: T not in admin.list_topics(timeout=30).topics)
say("delete it again", refused(admin.delete_topics([T])[T]))

login = {"security_protocol": "SASL_SSL", "sasl_username": user, "sasl_password": password, "ssl_ca_location": ca,
         "bootstrap_servers": secure}
for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]:
    say(f"SASL_SSL, {mechanism}", [m.value() for m in read("stamped", 0, sasl_mechanism=mechanism, **login)])
c = Consumer({**{k.replace("_", "."): v for k, v in login.items()}, "group.id": "x", "sasl.mechanism": "SCRAM-SHA-256",
              "sasl.password": "wrong", "error_cb": lambda e: errors.append(e.name())})
errors = []
wait(lambda: c.poll(0.1) is None and "_AUTHENTICATION" in errors)
say("a wrong password", "refused")
