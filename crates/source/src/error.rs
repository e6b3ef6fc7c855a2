//! Why a source cannot be made: what a statement that creates one tells its client.

use std::fmt;

use repr::error::code;
use repr::{SqlError, SqlState};

/// A source, connection or topic that was checked and found wanting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// A setting that is missing, unknown or contradicts another.
    Option(String),
    /// The broker refused who we say we are.
    Authentication(String),
    /// TLS could not be set up.
    Tls(String),
    /// No broker answered: name, address, port or protocol is wrong, or it is down.
    Unreachable(String),
    /// The topic does not exist.
    NoTopic(String),
    /// The broker answered with an error.
    Broker(String),
    /// A file cannot be read.
    File(String),
}

impl SourceError {
    /// The SQLSTATE that a client sees.
    pub fn code(&self) -> SqlState {
        match self {
            Self::Option(_) => code::INVALID_PARAMETER_VALUE,
            Self::Authentication(_) => SqlState::new("28000"),
            Self::Tls(_) | Self::Unreachable(_) | Self::Broker(_) => code::CONNECTION_FAILURE,
            Self::NoTopic(_) => code::UNDEFINED_OBJECT,
            Self::File(_) => SqlState::new("58P01"),
        }
    }

    /// What to do about it, where the reason alone does not say.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Authentication(s) if no_login(s) => {
                "This listener knows no SASL: use SECURITY PROTOCOL PLAINTEXT or SSL, or the listener that does."
            }
            Self::Authentication(_) => "Check SASL USERNAME, SASL PASSWORD and SASL MECHANISMS.",
            Self::Tls(_) => {
                "Check SSL CERTIFICATE AUTHORITY and SECURITY PROTOCOL; the default protocol is SSL, a local broker \
                 usually wants SECURITY PROTOCOL = 'PLAINTEXT'."
            }
            Self::Unreachable(_) => {
                "Check BROKER and SECURITY PROTOCOL; the default protocol is SSL, a local broker usually wants \
                 SECURITY PROTOCOL = 'PLAINTEXT'."
            }
            Self::NoTopic(_) => "Create the topic first, or check its name and the user's rights.",
            Self::Option(_) | Self::Broker(_) | Self::File(_) => return None,
        })
    }
}

/// Whether a broker answered that it did not ask who comes (Kafka's ILLEGAL_SASL_STATE).
fn no_login(reason: &str) -> bool {
    reason.contains("not valid in current SASL state")
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(s) | Self::Broker(s) | Self::NoTopic(s) | Self::File(s) => f.write_str(s),
            Self::Authentication(s) if no_login(s) => write!(f, "the broker takes no login here: {s}"),
            Self::Authentication(s) => write!(f, "the broker refused the login: {s}"),
            Self::Tls(s) => write!(f, "no secure connection to the broker: {s}"),
            Self::Unreachable(s) => write!(f, "no broker could be reached: {s}"),
        }
    }
}

impl std::error::Error for SourceError {}

impl From<SourceError> for SqlError {
    fn from(e: SourceError) -> SqlError {
        let sql = SqlError::new(e.code(), e.to_string());
        match e.hint() {
            Some(hint) => sql.with_hint(hint),
            None => sql,
        }
    }
}
