"""kafka-python (no librdkafka) against a Kafka: one line for each operation, the same for every Kafka.

usage: kafka_python.py PLAINTEXT SASL_SSL CA USER PASSWORD
"""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ConfigResource,
                         ConfigResourceType, NewPartitions, NewTopic, OffsetSpec, ResourcePatternFilter, ResourceType)
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata

plain, secure, ca, user, password = sys.argv[1:]
T = "python"
HOUR_AGO = int(time.time() * 1000) - 3_600_000


def say(operation, result):
    print(f"{operation}\t{result}", flush=True)


def read(topic, partition, offset, **more):
    c = KafkaConsumer(**{"bootstrap_servers": plain, "consumer_timeout_ms": 30_000, **more})
    place = TopicPartition(topic, partition)
    c.assign([place])
    c.seek(place, offset)
    end, out = c.end_offsets([place])[place], []
    while c.position(place) < end:
        for ms in c.poll(1_000).values():
            out += ms
    c.close()
    return out


admin = KafkaAdminClient(bootstrap_servers=plain)
admin.create_topics([NewTopic(T, 2, 1)])
say("create a topic", "done")
try:
    admin.create_topics([NewTopic(T, 2, 1)])
except TopicAlreadyExistsError as e:
    say("create it again", type(e).__name__)
for codec in [None, "gzip"]:
    p = KafkaProducer(bootstrap_servers=plain, compression_type=codec, linger_ms=5)
    for n in range(200):
        p.send(T, f"{codec} {n}".encode(), partition=0, timestamp_ms=HOUR_AGO + n)
    p.flush(30)
    p.close()
got = read(T, 0, 0)
say("produce, gzip", (len(got), [m.value for m in got[199::200]], got[-1].offset))
p = KafkaProducer(bootstrap_servers=plain, acks="all", enable_idempotence=True)
for n in range(300):
    p.send(T, str(n).encode(), partition=1)
p.flush(30)
say("produce, idempotent", [int(m.value) for m in read(T, 1, 0)] == list(range(300)))
p.send(T, None, b"k", partition=1, headers=[("a", b"1")])
p.flush(30)
say("keys, headers, no value", [(m.key, m.value, m.headers) for m in read(T, 1, 300)])
say("consume from an offset", [m.value for m in read(T, 0, 398)])
c = KafkaConsumer(bootstrap_servers=plain)
place = TopicPartition(T, 0)
say("first and last offset", (c.beginning_offsets([place])[place], c.end_offsets([place])[place]))
say("offsets by time", c.offsets_for_times({place: HOUR_AGO + 150})[place].offset > 100)
c.close()


def group_read(n):
    c = KafkaConsumer(T, bootstrap_servers=plain, group_id="p", auto_offset_reset="earliest", enable_auto_commit=False,
                      max_poll_records=1)
    out = []
    while len(out) < n:
        for ms in c.poll(1_000).values():
            out += ms
    c.commit()
    c.close()
    return out


first = group_read(400)
say("group: commit and resume", (len(first), len({(m.partition, m.offset) for m in first + group_read(301)})))
say("list offsets", admin.list_partition_offsets({place: OffsetSpec.LATEST})[place].offset)
say("list groups", [g["group_id"] for g in admin.list_groups() if g["group_id"] == "p"])
say("describe a group", admin.describe_groups(["p"])["p"]["group_state"])
say("list a group's offsets", admin.list_group_offsets({"p": None})["p"][place].offset)
done = admin.alter_group_offsets("p", {place: OffsetAndMetadata(5, "", -1)})
say("set a group's offsets", (done[place].__name__, admin.list_group_offsets({"p": None})["p"][place].offset))
say("delete a group", admin.delete_groups(["p"]))
say("add partitions", admin.create_partitions({T: NewPartitions(4)}).results[0].error_code)


def setting(name):
    return admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, T)])["topic"][T].get(name, {}).get("value")


say("alter settings", admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, T, {"retention.ms": "9000000"})]))
end = time.time() + 30
while setting("retention.ms") != "9000000" and time.time() < end:
    time.sleep(0.05)
say("describe settings", setting("retention.ms"))
say("delete records", admin.delete_records({place: 100})[place]["low_watermark"])
say("describe log directories", repr(admin.describe_log_dirs()).count(repr(T)))
say("list reassignments", admin.list_partition_reassignments())
everything = ACLFilter(principal=None, host=None, operation=ACLOperation.ANY, permission_type=ACLPermissionType.ANY,
                       resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY))
try:
    rights = admin.describe_acls(everything)[1]
except KafkaError as e:
    rights = type(e)
say("describe access rights", rights.__name__)
admin.create_topics([NewTopic("python-exact", 1, 1)])
exact = KafkaProducer(bootstrap_servers=plain, transactional_id="python")
exact.init_transactions()
for n in range(3):
    exact.begin_transaction()
    exact.send("python-exact", str(n).encode(), partition=0).get(30)
    if n == 1:
        exact.abort_transaction()
    else:
        exact.commit_transaction()
levels = ["read_committed", "read_uncommitted"]
say("transactions", [[m.value for m in read("python-exact", 0, 0, isolation_level=level)] for level in levels])
exact.begin_transaction()
exact.send("python-exact", b"open", partition=0).get(30)
open_one = admin.describe_transactions(["python"])["python"]
say("describe a transaction", getattr(open_one.state, "value", open_one.state))
exact.abort_transaction()
exact.close()
say("delete a topic", "done" if admin.delete_topics([T]) else "")
end = time.time() + 30
while T in admin.list_topics() and time.time() < end:
    time.sleep(0.05)
try:
    admin.delete_topics([T])
except UnknownTopicOrPartitionError as e:
    say("delete it again", type(e).__name__)
admin.create_topics([NewTopic("python-sasl", 1, 1)])
p.send("python-sasl", b"x", partition=0)
p.flush(30)
p.close()
admin.close()
for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]:
    got = read("python-sasl", 0, 0, bootstrap_servers=secure, security_protocol="SASL_SSL", sasl_mechanism=mechanism,
               sasl_plain_username=user, sasl_plain_password=password, ssl_cafile=ca)
    say(f"SASL_SSL, {mechanism}", [m.value for m in got])
try:
    KafkaConsumer(bootstrap_servers=secure, security_protocol="SASL_SSL", sasl_mechanism="PLAIN", ssl_cafile=ca,
                  sasl_plain_username=user, sasl_plain_password="wrong", api_version_auto_timeout_ms=5_000).topics()
except KafkaError:
    say("a wrong password", "refused")
