// kafkajs against a Kafka: one line for each operation, the same for every Kafka.
//
// usage: kafka_js.js PLAINTEXT SASL_SSL CA USER PASSWORD
'use strict';
const fs = require('fs');
const { Kafka, logLevel, CompressionTypes } = require('kafkajs');

const [plain, secure, ca, user, password] = process.argv.slice(2);
const T = 'kafkajs';
const say = (operation, result) => console.log(`${operation}\t${JSON.stringify(result)}`);
const quiet = { logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } };
const kafka = new Kafka({ clientId: 'test', brokers: [plain], ...quiet });
const refused = async (promise) => {
  try { await promise; return 'done'; } catch (e) { return (e.errors ? e.errors[0] : e.groups ? e.groups[0].error : e).type || e.name; }
};

// So many messages as a member of a group; each is committed.
async function groupRead(client, group, topic, n) {
  const consumer = client.consumer({ groupId: group });
  const got = [];
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error));
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        if (got.length === n) return;
        got.push({ partition, ...message });
        await consumer.commitOffsets([{ topic, partition, offset: String(BigInt(message.offset) + 1n) }]);
        if (got.length === n) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
  return got;
}

(async () => {
  const admin = kafka.admin();
  await admin.connect();
  const topic = { topic: T, numPartitions: 2, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '7200000' }] };
  say('create a topic', await admin.createTopics({ topics: [topic] }));
  say('create it again', await admin.createTopics({ topics: [topic] }));
  // Apache Kafka says that a topic is created a moment before all of it knows the topic.
  for (let known = false; !known;) {
    known = await admin.fetchTopicMetadata({ topics: [T] }).then(() => true, () => false);
  }
  const producer = kafka.producer();
  await producer.connect();
  const messages = (name, n) => Array.from({ length: n }, (_, i) => ({ value: `${name} ${i}`, partition: 0 }));
  await producer.send({ topic: T, messages: messages('none', 100) });
  await producer.send({ topic: T, messages: messages('gzip', 100), compression: CompressionTypes.GZIP });
  const idempotent = kafka.producer({ idempotent: true });
  await idempotent.connect();
  await idempotent.send({ topic: T, messages: messages('once', 100) });
  await idempotent.disconnect();
  await producer.send({ topic: T, messages: [{ key: 'k', value: null, headers: { a: '1' }, partition: 1 }] });
  await producer.disconnect();
  const exact = kafka.producer({ transactionalId: 'js', idempotent: true, maxInFlightRequests: 1 });
  await exact.connect();
  await admin.createTopics({ topics: [{ topic: 'js-exact', numPartitions: 1, replicationFactor: 1 }] });
  for (const n of [0, 1, 2]) {
    const transaction = await exact.transaction();
    await transaction.send({ topic: 'js-exact', messages: [{ value: String(n), partition: 0 }] });
    await (n === 1 ? transaction.abort() : transaction.commit());
  }
  say('transactions', (await groupRead(kafka, 'js-exact', 'js-exact', 2)).map((m) => m.value.toString()));
  const moving = await exact.transaction();
  const offsets = [{ topic: 'js-exact', partitions: [{ partition: 0, offset: '5' }] }];
  await moving.sendOffsets({ consumerGroupId: 'js-moved', topics: offsets });
  await moving.commit();
  // A broker may take its time between the end of a transaction and what it holds for groups.
  let moved;
  for (let tries = 0; tries < 100; tries++) {
    moved = await admin.fetchOffsets({ groupId: 'js-moved', topics: ['js-exact'] });
    if (moved[0].partitions[0].offset !== '-1') break;
    await new Promise((go) => setTimeout(go, 100));
  }
  say('offsets in a transaction', moved[0].partitions.map((p) => p.offset));
  await exact.disconnect();
  const first = await groupRead(kafka, 'js', T, 101);
  const all = first.concat(await groupRead(kafka, 'js', T, 200));
  const values = all.filter((m) => m.partition === 0).map((m) => m.value.toString());
  say('produce, gzip', [values.length, values[99], values[199], values[299]]);
  say('produce, idempotent', values.filter((v) => v.startsWith('once')).length);
  const marked = all.filter((m) => m.partition === 1).map((m) => [m.key.toString(), m.value, m.headers.a.toString()]);
  say('keys, headers, no value', marked);
  say('group: commit and resume', [first.length, new Set(all.map((m) => `${m.partition}:${m.offset}`)).size]);
  say('first and last offset', (await admin.fetchTopicOffsets(T)).sort((a, b) => a.partition - b.partition));
  say('offsets by time', (await admin.fetchTopicOffsetsByTimestamp(T, 1000)).map((o) => o.offset).sort());
  say('list groups', (await admin.listGroups()).groups.filter((g) => g.groupId === 'js'));
  const described = (await admin.describeGroups(['js'])).groups[0];
  say('describe a group', [described.state, described.members.length]);
  say("list a group's offsets", (await admin.fetchOffsets({ groupId: 'js', topics: [T] }))[0].partitions.map((p) => p.offset).sort());
  await admin.setOffsets({ groupId: 'js', topic: T, partitions: [{ partition: 0, offset: '5' }] });
  const set = (await admin.fetchOffsets({ groupId: 'js', topics: [T] }))[0].partitions.filter((p) => p.partition === 0);
  say("set a group's offsets", set.map((p) => p.offset));
  say('delete a group', (await admin.deleteGroups(['js'])).map((g) => g.errorCode));
  say('delete it again', await refused(admin.deleteGroups(['js'])));
  say('add partitions', await refused(admin.createPartitions({ topicPartitions: [{ topic: T, count: 4 }] })));
  say('metadata', (await admin.fetchTopicMetadata({ topics: [T] })).topics[0].partitions.length);
  const settings = async () => {
    const found = await admin.describeConfigs({ resources: [{ type: 2, name: T, configNames: ['retention.ms'] }] });
    return found.resources[0].configEntries.map((e) => e.configValue);
  };
  say('describe settings', await settings());
  const rights = { resourceType: 1, resourcePatternType: 1, operation: 1, permissionType: 1 };
  say('describe access rights', await refused(admin.describeAcls(rights)));
  await admin.alterConfigs({ resources: [{ type: 2, name: T, configEntries: [{ name: 'retention.ms', value: '9000000' }] }] });
  for (let i = 0; i < 200 && (await settings())[0] !== '9000000'; i++) await new Promise((r) => setTimeout(r, 50));
  say('alter settings', await settings());
  await admin.deleteTopicRecords({ topic: T, partitions: [{ partition: 0, offset: '150' }] });
  const low = (await admin.fetchTopicOffsets(T)).filter((p) => p.partition === 0).map((p) => p.low);
  say('delete records', low);
  const tls = { ca: [fs.readFileSync(ca)] };
  const login = (mechanism, password) =>
    new Kafka({ clientId: 'test', brokers: [secure], ssl: tls, sasl: { mechanism, username: user, password }, ...quiet });
  for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
    const got = await groupRead(login(mechanism, password), `js ${mechanism}`, T, 1);
    say(`SASL_SSL, ${mechanism.toUpperCase()}`, got.length);
  }
  const wrong = login('scram-sha-256', 'wrong').admin();
  say('a wrong password', await refused(wrong.connect()));
  await wrong.disconnect();
  say('delete a topic', await refused(admin.deleteTopics({ topics: [T] })));
  for (let i = 0; i < 200 && (await admin.listTopics()).includes(T); i++) await new Promise((r) => setTimeout(r, 50));
  say('delete it again', await refused(admin.deleteTopics({ topics: [T] })));
  await admin.disconnect();
})().catch((e) => { console.error(e); process.exit(1); });
