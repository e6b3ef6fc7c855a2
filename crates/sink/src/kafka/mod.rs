//! Into Kafka topics.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`produce`] | single messages, each told when it is there: what is posted over HTTP |
//! | [`message`] | changes of rows as messages: keys, values, headers, envelopes |
//! | [`transactions`] | a sink: changes in transactions, each with a record of how far it has come |
//! | [`topics`] | topics are made, looked at, and read to their end |

pub mod message;
pub mod produce;
mod topics;
mod transactions;

pub use message::{Encoder, Envelope, Format, PartitionBy};
pub use produce::{Message, Place, ProduceError, Producer};
pub use topics::{NewTopic, prepare};
pub use transactions::KafkaSink;
