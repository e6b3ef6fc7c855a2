//! Tests of the whole program through its real interfaces. What needs something that is not installed (a JDK for Kafka,
//! psql) says so and is skipped; with `DELTAMILL_REQUIRE=1`, as in CI, a skip is a failure.
//!
//! | module | what belongs in it |
//! |---|---|
//! | `bars` | the bars of reliability that take the whole program: bad input, panics, readers, clocks, restarts |
//! | `catalog` | what clients find in the system catalog |
//! | `cli` | the command line: flags, output, exit codes |
//! | `clients` | Kafka clients against the embedded broker and against Apache Kafka |
//! | `durability` | what survives kill −9, and restarts |
//! | `errors` | errors as data: ON ERROR, the errors relations |
//! | `guide` | the guide's way: Kafka bytes, jsonb, views; both syntaxes; bad records |
//! | `house` | the rules of the repository itself |
//! | `kafka` | a real Apache Kafka over SASL_SSL |
//! | `kafka_sink` | sinks into Kafka: messages; exactly once through kills, the embedded and a real one |
//! | `models` | the files of `sql/models` and `sql/warehouse` over the generator's events |
//! | `moods` | what becomes of topics and brokers under a running source |
//! | `oracle` | random expressions and queries beside Postgres 15 |
//! | `protocol` | the Postgres protocol, its misuse, clients |
//! | `queries` | scripts of queries with their rows, and views of them that follow changes |
//! | `retention` | what a source is told not to keep |
//! | `segment` | Segment's Tracking API: answers, limits, its own libraries and others' |
//! | `sessions` | transactions, time and notices as one session sees them |
//! | `sink` | sinks into a mock of Segment's API that fails in every way |
//! | `slt` | sqllogictest files by topic, at once and as views made before the data |
//! | `templates` | the projects of `deltamill init`, from topic to a mock of Segment; `deltamill send` |
//! | `w1` | the six views of the speed workload against a plain computation |
//! | `webhook` | what is posted: bodies, headers, checks, limits, kill −9 |

mod support;

mod bars;
mod catalog;
mod cli;
mod clients;
mod durability;
mod errors;
mod guide;
mod house;
mod kafka;
mod kafka_sink;
mod models;
mod moods;
mod oracle;
mod protocol;
mod queries;
mod retention;
mod segment;
mod sessions;
mod sink;
mod slt;
mod templates;
mod w1;
mod webhook;
