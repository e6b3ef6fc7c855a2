//! The flags of the embedded Kafka.

use std::path::PathBuf;

use clap::Args;
use deltamill::broker::{BrokerConfig, CertificateFiles, Listener, User};

use super::Failure;

/// How the embedded Kafka runs.
#[derive(Args)]
pub(super) struct KafkaFlags {
    /// Where the embedded Kafka listens: an address, or PROTOCOL://ADDRESS with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    /// May come several times. What is not loopback must be SASL.
    #[arg(long, env = "DELTAMILL_KAFKA_LISTEN", value_name = "LISTENER", value_delimiter = ',')]
    kafka_listen: Vec<Listener>,
    /// A user who may log in (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512). May come several times.
    #[arg(long, env = "DELTAMILL_KAFKA_USER", value_name = "NAME:PASSWORD", hide_env_values = true)]
    kafka_user: Vec<User>,
    /// A file of users, `name:password` a line.
    #[arg(long, env = "DELTAMILL_KAFKA_USERS", value_name = "FILE")]
    kafka_users: Option<PathBuf>,
    /// The certificate of encrypted listeners (PEM, with those that signed it). Without it an authority is made at the first
    /// start; what clients must trust is then kafka/tls/ca.pem in the data directory.
    #[arg(long, env = "DELTAMILL_KAFKA_CERTIFICATE", value_name = "FILE", requires = "kafka_key")]
    kafka_certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, env = "DELTAMILL_KAFKA_KEY", value_name = "FILE", requires = "kafka_certificate")]
    kafka_key: Option<PathBuf>,
    /// The host that clients are told to connect to, if it is not the one that they came to.
    #[arg(long, env = "DELTAMILL_KAFKA_ADVERTISE", value_name = "HOST")]
    kafka_advertise: Option<String>,
    /// Whether a topic that is asked for and not there is made.
    #[arg(long, env = "DELTAMILL_KAFKA_AUTO_CREATE", default_value_t = true, action = clap::ArgAction::Set)]
    kafka_auto_create: bool,
}

impl KafkaFlags {
    /// What they say; none: there is no embedded Kafka.
    pub fn config(&self) -> Result<Option<BrokerConfig>, Failure> {
        let mut users = self.kafka_user.clone();
        if let Some(path) = &self.kafka_users {
            let failed =
                |what: &dyn std::fmt::Display| Failure::new(3, format!("{}: {what}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
            for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
                users.push(line.parse().map_err(|e: String| failed(&e))?);
            }
        }
        let files = self.kafka_certificate.clone().zip(self.kafka_key.clone());
        if self.kafka_listen.is_empty() {
            return Ok(None);
        }
        Ok(Some(BrokerConfig {
            listen: self.kafka_listen.clone(),
            advertise: self.kafka_advertise.clone(),
            users,
            certificate: files.map(|(certificate, key)| CertificateFiles { certificate, key }),
            auto_create: self.kafka_auto_create,
            ..BrokerConfig::default()
        }))
    }
}
