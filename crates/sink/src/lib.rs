//! To the outside world.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`kafka`] | librdkafka's producer |
//! | [`segment`] | changes as calls to Segment's Tracking API: mapping, batches, retries, dead letters |

pub mod kafka;
pub mod segment;
