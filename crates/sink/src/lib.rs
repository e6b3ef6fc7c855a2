//! To the outside world.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`kafka`] | librdkafka's producer |

pub mod kafka;
