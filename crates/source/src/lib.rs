//! The outside world to storage: Kafka, files, generators; formats and decoding.
