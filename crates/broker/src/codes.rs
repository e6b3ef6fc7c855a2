//! Kafka's error codes, as far as they are sent.

/// An error code of the protocol; 0 is none.
pub type Code = i16;

#[allow(missing_docs, reason = "the names are those of Kafka")]
mod list {
    use super::Code;
    pub const NONE: Code = 0;
    pub const OFFSET_OUT_OF_RANGE: Code = 1;
    pub const CORRUPT_MESSAGE: Code = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: Code = 3;
    pub const MESSAGE_TOO_LARGE: Code = 10;
    pub const OFFSET_METADATA_TOO_LARGE: Code = 12;
    pub const INVALID_TOPIC: Code = 17;
    pub const ILLEGAL_GENERATION: Code = 22;
    pub const INCONSISTENT_GROUP_PROTOCOL: Code = 23;
    pub const INVALID_GROUP_ID: Code = 24;
    pub const UNKNOWN_MEMBER_ID: Code = 25;
    pub const REBALANCE_IN_PROGRESS: Code = 27;
    pub const UNSUPPORTED_SASL_MECHANISM: Code = 33;
    pub const ILLEGAL_SASL_STATE: Code = 34;
    pub const UNSUPPORTED_VERSION: Code = 35;
    pub const TOPIC_ALREADY_EXISTS: Code = 36;
    pub const INVALID_PARTITIONS: Code = 37;
    pub const INVALID_REPLICATION_FACTOR: Code = 38;
    pub const INVALID_CONFIG: Code = 40;
    pub const INVALID_REQUEST: Code = 42;
    pub const POLICY_VIOLATION: Code = 44;
    pub const OUT_OF_ORDER_SEQUENCE: Code = 45;
    pub const INVALID_PRODUCER_EPOCH: Code = 47;
    pub const INVALID_TXN_STATE: Code = 48;
    pub const INVALID_PRODUCER_ID_MAPPING: Code = 49;
    pub const INVALID_TRANSACTION_TIMEOUT: Code = 50;
    pub const SECURITY_DISABLED: Code = 54;
    pub const OPERATION_NOT_ATTEMPTED: Code = 55;
    pub const STORAGE_ERROR: Code = 56;
    pub const SASL_AUTHENTICATION_FAILED: Code = 58;
    pub const NON_EMPTY_GROUP: Code = 68;
    pub const GROUP_ID_NOT_FOUND: Code = 69;
    pub const MEMBER_ID_REQUIRED: Code = 79;
    pub const GROUP_SUBSCRIBED_TO_TOPIC: Code = 86;
    pub const INVALID_RECORD: Code = 87;
    pub const UNSTABLE_OFFSET_COMMIT: Code = 88;
    pub const TRANSACTIONAL_ID_NOT_FOUND: Code = 105;
    pub const PRODUCER_FENCED: Code = 90;
}
pub use list::*;
