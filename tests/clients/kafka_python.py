"""kafka-python (no librdkafka) against a Kafka: one line for each operation, the same for every Kafka.

usage: kafka_python.py PLAINTEXT SASL_SSL CA USER PASSWORD
"""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

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
