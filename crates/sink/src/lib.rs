//! To the outside world.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`feed`] | where changes come from, what a sink says, its thread |
//! | [`kafka`] | changes as messages in topics, exactly once; single messages |
//! | [`segment`] | changes as calls to Segment's Tracking API: mapping, batches, retries, dead letters |

pub mod feed;
pub mod kafka;
pub mod segment;
