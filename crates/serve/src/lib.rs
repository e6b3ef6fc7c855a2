//! Postgres wire protocol and HTTP.
//!
//! | module | does |
//! |---|---|
//! | [`pg`] | psql and every Postgres driver: framing, the two query protocols, COPY, cancel |
//! | [`http`] | health, metrics, SQL over JSON |

pub mod http;
pub mod pg;
