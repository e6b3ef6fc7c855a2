//! A Kafka-compatible listener on storage segment files.
