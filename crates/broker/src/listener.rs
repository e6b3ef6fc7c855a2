//! Where the broker listens, and how clients speak there.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use kafka_protocol::protocol::StrBytes;

/// What lies under the frames of a listener, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Authenticated.
    SaslPlaintext,
    /// Encrypted and authenticated.
    SaslSsl,
}

/// All protocols with their names.
const PROTOCOLS: [(&str, Protocol); 4] = [
    ("PLAINTEXT", Protocol::Plaintext),
    ("SSL", Protocol::Ssl),
    ("SASL_PLAINTEXT", Protocol::SaslPlaintext),
    ("SASL_SSL", Protocol::SaslSsl),
];

impl Protocol {
    /// Whether it is encrypted.
    pub fn tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Whether clients say who they are.
    pub fn sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PROTOCOLS.iter().find(|(_, p)| p == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A port to listen on: `SASL_SSL://127.0.0.1:9093`, or an address alone for `PLAINTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where. Port 0: any free one.
    pub address: SocketAddr,
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Listener {
        Listener { protocol: Protocol::Plaintext, address }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

impl FromStr for Listener {
    type Err = String;

    fn from_str(text: &str) -> Result<Listener, String> {
        let (name, address) = text.split_once("://").unwrap_or(("PLAINTEXT", text));
        let known = PROTOCOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((_, protocol)) = known else {
            return Err(format!("\"{name}\" is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"));
        };
        let address = address.replace("localhost:", "127.0.0.1:");
        let address = address.parse().map_err(|e| format!("\"{address}\": {e}"))?;
        Ok(Listener { protocol: *protocol, address })
    }
}

/// What clients are told to connect to. They do so next, and forget the address that they came by.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    pub host: StrBytes,
    pub port: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_written_as_kafka_does() {
        for text in ["PLAINTEXT://127.0.0.1:9092", "SASL_SSL://[::1]:0", "SASL_PLAINTEXT://10.0.0.1:1"] {
            assert_eq!(text.parse::<Listener>().expect("a listener").to_string(), text);
        }
        assert_eq!("localhost:9092".parse(), Ok(Listener::from(SocketAddr::from(([127, 0, 0, 1], 9092)))));
        assert!("GSSAPI://127.0.0.1:1".parse::<Listener>().is_err());
        assert!("SSL://somewhere".parse::<Listener>().is_err());
    }
}
