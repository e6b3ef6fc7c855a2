import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client against a Kafka: one line for each operation, the same for every Kafka. PLAINTEXT SASL_SSL CA USER PASSWORD. */
public class KafkaClient {
    static final String T = "java";
    static final long HOUR_AGO = System.currentTimeMillis() - 3_600_000;
    static String plain;

    static void say(String operation, Object result) {
        System.out.println(operation + "\t" + result);
    }

    static Map<String, Object> client(Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", plain, "default.api.timeout.ms", 30000));
        all.putAll(more);
        return all;
    }

    static KafkaProducer<String, String> producer(Map<String, Object> more) {
        return new KafkaProducer<>(client(more), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>(Map.of("group.id", "reader", "auto.offset.reset", "earliest",
            "enable.auto.commit", false));
        all.putAll(more);
        return new KafkaConsumer<>(client(all), new StringDeserializer(), new StringDeserializer());
    }

    static List<ConsumerRecord<String, String>> read(String topic, int partition, long offset, Map<String, Object> more) {
        List<ConsumerRecord<String, String>> out = new ArrayList<>();
        TopicPartition place = new TopicPartition(topic, partition);
        try (KafkaConsumer<String, String> consumer = consumer(more)) {
            consumer.assign(List.of(place));
            consumer.seek(place, offset);
            long end = consumer.endOffsets(List.of(place)).get(place);
            waitFor(() -> {
                consumer.poll(Duration.ofMillis(500)).forEach(out::add);
                return consumer.position(place) >= end;
            });
        }
        return out;
    }

    static void waitFor(BooleanSupplier condition) {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) throw new IllegalStateException("waited too long");
        }
    }

    static String refused(Callable<KafkaFuture<?>> call) throws Exception {
        try {
            call.call().get();
            return "done";
        } catch (ExecutionException e) {
            return e.getCause().getClass().getSimpleName();
        }
    }

    static List<ConsumerRecord<String, String>> groupRead(int n) {
        List<ConsumerRecord<String, String>> out = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("group.id", "j", "max.poll.records", 100))) {
            consumer.subscribe(List.of(T));
            waitFor(() -> {
                consumer.poll(Duration.ofMillis(500)).forEach(out::add);
                return out.size() >= n;
            });
            consumer.commitSync();
        }
        return out;
    }

    static String setting(Admin admin, String name) {
        try {
            ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, T);
            return admin.describeConfigs(List.of(topic)).all().get().get(topic).get(name).value();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    public static void main(String[] args) throws Exception {
        plain = args[0];
        Admin admin = Admin.create(client(Map.of()));
        NewTopic topic = new NewTopic(T, 3, (short) 1).configs(Map.of("retention.ms", "7200000"));
        say("create a topic", refused(() -> admin.createTopics(List.of(topic)).all()));
        say("create it again", refused(() -> admin.createTopics(List.of(topic)).all()));
        NewTopic wrong = new NewTopic("wrong", 1, (short) 1).configs(Map.of("retention.ms", "soon"));
        say("create with a wrong setting", refused(() -> admin.createTopics(List.of(wrong)).all()));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (var producer = producer(Map.of("compression.type", codec, "linger.ms", 5, "enable.idempotence", false))) {
                for (int n = 0; n < 200; n++) {
                    producer.send(new ProducerRecord<>(T, 0, HOUR_AGO + n, null, codec + " " + n));
                }
            }
        }
        var got = read(T, 0, 0, Map.of());
        say("produce, all codecs", got.size() + " " + got.get(199).value() + " " + got.get(999).value() + " " + got.get(999).offset());
        try (var producer = producer(Map.of("enable.idempotence", true))) {
            for (int n = 0; n < 500; n++) producer.send(new ProducerRecord<>(T, 1, null, "" + n));
            var record = new ProducerRecord<String, String>(T, 2, "k", null);
            record.headers().add("a", "1".getBytes(StandardCharsets.UTF_8));
            producer.send(record);
        }
        var once = read(T, 1, 0, Map.of());
        say("produce, idempotent", once.size() + " " + once.get(499).value());
        for (var m : read(T, 2, 0, Map.of())) {
            say("keys, headers, no value", m.key() + " " + m.value() + " " + new String(m.headers().lastHeader("a").value()));
        }
        try (var producer = producer(Map.of("max.request.size", 20_000_000, "buffer.memory", 64_000_000L))) {
            try {
                producer.send(new ProducerRecord<>(T, 2, null, "x".repeat(3_000_000))).get();
            } catch (ExecutionException e) {
                say("a message that is too large", e.getCause().getClass().getSimpleName());
            }
        }
        say("consume from an offset", read(T, 0, 998, Map.of()).stream().map(ConsumerRecord::value).toList());
        TopicPartition zero = new TopicPartition(T, 0);
        try (var consumer = consumer(Map.of())) {
            say("first and last offset", consumer.beginningOffsets(List.of(zero)).get(zero) + " " + consumer.endOffsets(List.of(zero)).get(zero));
            say("offsets by time", consumer.offsetsForTimes(Map.of(zero, HOUR_AGO + 150)).get(zero).offset() > 100);
        }
        say("list offsets", admin.listOffsets(Map.of(zero, OffsetSpec.maxTimestamp())).all().get().get(zero).timestamp() - HOUR_AGO);
        var first = groupRead(700);
        Set<String> all = new HashSet<>();
        for (var m : first) all.add(m.partition() + ":" + m.offset());
        for (var m : groupRead(1501 - first.size())) all.add(m.partition() + ":" + m.offset());
        say("group: commit and resume", all.size());
        var a = consumer(Map.of("group.id", "two"));
        var b = consumer(Map.of("group.id", "two"));
        a.subscribe(List.of(T));
        b.subscribe(List.of(T));
        waitFor(() -> {
            a.poll(Duration.ofMillis(50));
            b.poll(Duration.ofMillis(50));
            return a.assignment().size() + b.assignment().size() == 3 && !a.assignment().isEmpty() && !b.assignment().isEmpty();
        });
        say("group: two share the partitions", "done");
        var described = admin.describeConsumerGroups(List.of("two")).all().get().get("two");
        say("describe a group", described.groupState() + " " + described.members().size() + " " + described.partitionAssignor());
        say("delete a group that is read", refused(() -> admin.deleteConsumerGroups(List.of("two")).all()));
        b.close();
        waitFor(() -> {
            a.poll(Duration.ofMillis(50));
            return a.assignment().size() == 3;
        });
        say("group: one leaves", "done");
        a.close();
        Set<String> groups = new TreeSet<>();
        for (var g : admin.listGroups().all().get()) if (g.groupId().equals("j")) groups.add(g.groupId());
        say("list groups", groups);
        TopicPartition one = new TopicPartition(T, 1);
        say("list a group's offsets", admin.listConsumerGroupOffsets("j").partitionsToOffsetAndMetadata().get().get(one).offset());
        say("set a group's offsets", refused(() -> admin.alterConsumerGroupOffsets("j", Map.of(one, new OffsetAndMetadata(5))).all()));
        say("delete a group's offsets", refused(() -> admin.deleteConsumerGroupOffsets("j", Set.of(one)).all()));
        say("delete a group", refused(() -> admin.deleteConsumerGroups(List.of("j")).all()));
        say("delete it again", refused(() -> admin.deleteConsumerGroups(List.of("j")).all()));
        say("add partitions", refused(() -> admin.createPartitions(Map.of(T, NewPartitions.increaseTo(5))).all()));
        waitFor(() -> {
            try {
                return admin.describeTopics(List.of(T)).allTopicNames().get().get(T).partitions().size() == 5;
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        say("metadata", "done");
        say("describe settings", setting(admin, "retention.ms") + " " + setting(admin, "cleanup.policy"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, T);
        Collection<AlterConfigOp> change = List.of(
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
            new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000000"), AlterConfigOp.OpType.SET));
        say("alter settings", refused(() -> admin.incrementalAlterConfigs(Map.of(resource, change)).all()));
        waitFor(() -> setting(admin, "max.message.bytes").equals("2000000"));
        say("altered settings", setting(admin, "cleanup.policy"));
        try (var producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(T, 2, null, "no key")).get();
        } catch (ExecutionException e) {
            say("compacted: no key", e.getCause().getClass().getSimpleName());
        }
        var dirs = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).values();
        var sizes = new TreeMap<TopicPartition, Boolean>(Comparator.comparing(TopicPartition::toString));
        for (var dir : dirs) dir.replicaInfos().forEach((p, info) -> { if (p.topic().equals(T)) sizes.put(p, info.size() > 0); });
        say("describe log directories", sizes);
        say("describe access rights", refused(() -> admin.describeAcls(org.apache.kafka.common.acl.AclBindingFilter.ANY).values()));
        say("list reassignments", admin.listPartitionReassignments().reassignments().get());
        say("delete records", admin.deleteRecords(Map.of(zero, RecordsToDelete.beforeOffset(600))).lowWatermarks().get(zero).get().lowWatermark());
        say("what is left", read(T, 0, 600, Map.of()).size());
        admin.createTopics(List.of(new NewTopic("java-exact", 1, (short) 1))).all().get();
        var exact = producer(Map.of("transactional.id", "java"));
        exact.initTransactions();
        for (int n = 0; n < 3; n++) {
            exact.beginTransaction();
            exact.send(new ProducerRecord<>("java-exact", 0, null, "" + n)).get();
            if (n == 1) exact.abortTransaction(); else exact.commitTransaction();
        }
        List<Object> seen = new ArrayList<>();
        for (String level : List.of("read_committed", "read_uncommitted")) {
            seen.add(read("java-exact", 0, 0, Map.of("isolation.level", level)).stream().map(ConsumerRecord::value).toList());
        }
        say("transactions", seen);
        TopicPartition place = new TopicPartition("java-exact", 0);
        try (var consumer = consumer(Map.of("group.id", "java-exact"))) {
            exact.beginTransaction();
            exact.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(4)), consumer.groupMetadata());
            exact.commitTransaction();
            say("offsets in a transaction", consumer.committed(Set.of(place)).get(place).offset());
        }
        exact.beginTransaction();
        exact.send(new ProducerRecord<>("java-exact", 0, null, "late")).get();
        var open = admin.describeTransactions(List.of("java")).description("java").get();
        say("describe a transaction", open.state() + " " + open.topicPartitions() + " " + open.transactionTimeoutMs());
        var ongoing = new ListTransactionsOptions().filterStates(List.of(TransactionState.ONGOING));
        say("list transactions", admin.listTransactions(ongoing).all().get().stream().map(t -> t.transactionalId()).toList());
        var second = producer(Map.of("transactional.id", "java"));
        second.initTransactions();
        try {
            exact.commitTransaction();
        } catch (org.apache.kafka.common.KafkaException e) {
            say("transactions: fencing", e.getClass().getSimpleName());
        }
        exact.close(Duration.ZERO);
        second.close();
        Map<String, Object> login = new HashMap<>(Map.of("bootstrap.servers", args[1], "security.protocol", "SASL_SSL",
            "ssl.truststore.type", "PEM", "ssl.truststore.location", args[2]));
        for (String mechanism : List.of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "wrong")) {
            boolean right = !mechanism.equals("wrong");
            String kind = mechanism.startsWith("SCRAM") ? "scram.Scram" : "plain.Plain";
            login.put("sasl.mechanism", right ? mechanism : "PLAIN");
            login.put("sasl.jaas.config", "org.apache.kafka.common.security." + kind + "LoginModule required username=\""
                + args[3] + "\" password=\"" + (right ? args[4] : "wrong") + "\";");
            if (right) {
                say("SASL_SSL, " + mechanism, read(T, 0, 990, login).size());
            } else {
                try (Admin stranger = Admin.create(client(login))) {
                    say("a wrong password", refused(() -> stranger.listTopics().names()));
                }
            }
        }
        say("delete a topic", refused(() -> admin.deleteTopics(List.of(T)).all()));
        waitFor(() -> {
            try {
                return !admin.listTopics().names().get().contains(T);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        say("delete it again", refused(() -> admin.deleteTopics(List.of(T)).all()));
        admin.close();
    }
}
