//! One loop that puts everything in order: catalog, timestamps, sessions, statements.
//!
//! ```text
//!   sessions ──┐                             ┌──► storage (its own thread: one fdatasync a tick)
//!   readers  ──┼──► Command queue ──► loop ──┤
//!   workers  ──┤                             └──► dataflow workers
//!   storage  ──┘
//! ```
//!
//! Sessions parse and plan on threads of their own (with large stacks) against a shared, immutable catalog; the loop
//! carries plans out and never waits for anything.

mod alter;
mod bind;
pub mod catalog;
pub mod change;
pub mod clock;
pub mod command;
pub mod coordinator;
pub mod copy;
mod create;
pub mod credits;
mod ddl;
mod first;
pub mod introspection;
mod journal;
mod kafka;
pub mod oracle;
pub mod planner;
pub mod produce;
pub mod push;
pub mod read;
mod recency;
pub(crate) mod refused;
mod rename;
mod retention;
pub mod rows;
pub mod session;
pub mod sinks;
mod subscribe;
pub mod subscriptions;
mod transaction;
pub mod variables;
pub mod waits;
mod why;

pub use clock::{Clock, ManualClock, WallClock};
pub use coordinator::{Config, Coordinator, Handle, StartError};
pub use kafka::{KafkaGroup, KafkaPartition, KafkaReport, KafkaTopic, LocalKafka};
pub use rows::{Outcome, Rows};
pub use session::Session;
pub use transaction::TransactionStatus;
