//! How to reach a Kafka cluster.

use std::fmt;

use rdkafka::ClientConfig;

use crate::SourceError;

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A cluster's addresses, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaConnection {
    /// `host:port`, several with commas between.
    pub brokers: String,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`, in any case.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// PEM text of the authorities that may sign the broker's certificate; none: those of the system.
    pub ca_pem: Option<String>,
    /// PEM text of our certificate.
    pub certificate_pem: Option<String>,
    /// PEM text of our certificate's key.
    pub key_pem: Option<Secret>,
    /// Settings of librdkafka that the statements of the old binary name (`ssl_ca_location` or `ssl.ca.location` …).
    pub extra: Vec<(String, String)>,
}

/// The settings that a statement may pass on. Others could load code into this process or undo what the reader relies on.
const PASSED_ON: [&str; 12] = [
    "client.id",
    "enable.ssl.certificate.verification",
    "fetch.message.max.bytes",
    "fetch.wait.max.ms",
    "reconnect.backoff.max.ms",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
];

/// Settings of the old binary that mean nothing here: offsets, group and isolation are the reader's business.
const IGNORED: [&str; 6] = [
    "enable.auto.commit",
    "group.id.prefix",
    "isolation.level",
    "statistics.interval.ms",
    "timestamp.frequency.ms",
    "topic.metadata.refresh.interval.ms",
];

impl KafkaConnection {
    /// A plaintext connection.
    pub fn plaintext(brokers: impl Into<String>) -> KafkaConnection {
        KafkaConnection {
            brokers: brokers.into(),
            security_protocol: "PLAINTEXT".into(),
            ..KafkaConnection::default()
        }
    }

    /// librdkafka's settings for it, checked as far as that needs no broker.
    pub fn client_config(&self) -> Result<ClientConfig, SourceError> {
        let wrong = |what: String| Err(SourceError::Option(what));
        let protocol = self.security_protocol.to_ascii_uppercase().replace('-', "_");
        let sasl = match protocol.as_str() {
            "PLAINTEXT" | "SSL" => false,
            "SASL_PLAINTEXT" | "SASL_SSL" => true,
            other => {
                return wrong(format!(
                    "SECURITY PROTOCOL \"{other}\" is unknown: use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
                ));
            }
        };
        if self.brokers.split(',').all(|b| b.trim().is_empty()) {
            return wrong("BROKER must be specified".into());
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("security.protocol", &protocol);
        if sasl {
            let (Some(mechanism), Some(username), Some(password)) =
                (&self.sasl_mechanism, &self.username, &self.password)
            else {
                let missing = [
                    ("SASL MECHANISMS", self.sasl_mechanism.is_none()),
                    ("SASL USERNAME", self.username.is_none()),
                    ("SASL PASSWORD", self.password.is_none()),
                ];
                let names: Vec<_> = missing.iter().filter(|(_, m)| *m).map(|(n, _)| *n).collect();
                return wrong(format!("{} must be specified for {protocol}", names.join(" and ")));
            };
            let mechanism = mechanism.to_ascii_uppercase();
            if !matches!(mechanism.as_str(), "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") {
                return wrong(format!(
                    "SASL mechanism \"{mechanism}\" is not supported: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
                ));
            }
            config.set("sasl.mechanism", mechanism).set("sasl.username", username);
            config.set("sasl.password", password.reveal());
        } else if self.sasl_mechanism.is_some() || self.username.is_some() || self.password.is_some() {
            return wrong(format!(
                "SASL options need SECURITY PROTOCOL SASL_PLAINTEXT or SASL_SSL, not {protocol}"
            ));
        }
        if protocol.ends_with("SSL") {
            let pems = [
                ("ssl.ca.pem", self.ca_pem.as_deref()),
                ("ssl.certificate.pem", self.certificate_pem.as_deref()),
                ("ssl.key.pem", self.key_pem.as_ref().map(Secret::reveal)),
            ];
            for (name, pem) in pems {
                if let Some(pem) = pem {
                    config.set(name, pem);
                }
            }
        }
        for (name, value) in &self.extra {
            let name = name.to_ascii_lowercase().replace('_', ".");
            if PASSED_ON.contains(&name.as_str()) {
                config.set(name, value);
            } else if !IGNORED.contains(&name.as_str()) {
                return wrong(format!("the Kafka option \"{name}\" is not supported"));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let base = KafkaConnection {
            security_protocol: "sasl_ssl".into(),
            username: Some("me".into()),
            ..KafkaConnection::plaintext("b:9092")
        };
        let reason = |c: &KafkaConnection| c.client_config().err().map(|e| e.to_string());
        assert_eq!(
            reason(&base).as_deref(),
            Some("SASL MECHANISMS and SASL PASSWORD must be specified for SASL_SSL")
        );
        let full = KafkaConnection {
            sasl_mechanism: Some("scram-sha-256".into()),
            password: Some("hush".into()),
            ..base.clone()
        };
        assert_eq!(reason(&full), None);
        assert!(!format!("{full:?}").contains("hush"));
        for (connection, says) in [
            (
                KafkaConnection { sasl_mechanism: Some("GSSAPI".into()), ..full.clone() },
                "\"GSSAPI\" is not supported",
            ),
            (KafkaConnection { security_protocol: "TLS".into(), ..full.clone() }, "\"TLS\" is unknown"),
            (KafkaConnection { security_protocol: "SSL".into(), ..full.clone() }, "SASL options need"),
            (KafkaConnection { brokers: " ,".into(), ..full.clone() }, "BROKER must be specified"),
            (
                KafkaConnection { extra: vec![("plugin_library_paths".into(), "x".into())], ..full },
                "\"plugin.library.paths\" is not supported",
            ),
        ] {
            let reason = reason(&connection).expect("refused");
            assert!(reason.contains(says), "{reason}");
        }
    }
}
