//! Postgres wire protocol and HTTP.
