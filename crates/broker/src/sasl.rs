//! Who a client is: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677).
//!
//! ```text
//!   New ── SaslHandshake: mechanism ──► Chosen ── client-first ──► Challenged ── client-final ──► Known
//!                                          └──────────────── PLAIN: name, password ────────────────►
//! ```
//!
//! Passwords are not kept: what is kept can check one, and takes thousands of hashes for each guess to invert.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};

/// The mechanisms, in the order in which clients are told of them.
pub const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// How often a password is hashed: Kafka's number, and the least that its clients accept.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).expect("it is not zero");

/// A user that may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.name)
    }
}

impl std::str::FromStr for User {
    type Err = String;

    /// `name:password`; the password may have further colons.
    fn from_str(text: &str) -> Result<User, String> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                Ok(User { name: name.into(), password: password.into() })
            }
            _ => Err("a user is name:password".into()),
        }
    }
}

/// What is kept of the users.
#[derive(Default)]
pub struct Users(BTreeMap<String, Kept>);

/// For SHA-256 and SHA-512.
struct Kept([Keys; 2]);

#[derive(Clone)]
struct Keys {
    salt: [u8; 16],
    stored: Vec<u8>,
    server: Vec<u8>,
}

/// A hash function in the roles that it plays in SCRAM.
struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

static HASHES: [Hash; 2] = [
    Hash { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 },
    Hash { digest: &digest::SHA512, hmac: hmac::HMAC_SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 },
];

impl Hash {
    fn mac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key), data).as_ref().to_vec()
    }

    fn keys(&self, password: &str, salt: [u8; 16]) -> Keys {
        let mut salted = vec![0; self.digest.output_len()];
        pbkdf2::derive(self.pbkdf2, ITERATIONS, &salt, password.as_bytes(), &mut salted);
        let stored = digest::digest(self.digest, &self.mac(&salted, b"Client Key")).as_ref().to_vec();
        Keys { salt, stored, server: self.mac(&salted, b"Server Key") }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

impl Users {
    /// Takes what is needed of the users. A name that comes twice has its last password.
    pub fn new(users: &[User]) -> Users {
        let kept = |user: &User| Kept([0, 1].map(|h: usize| HASHES[h].keys(&user.password, random())));
        Users(users.iter().map(|u| (u.name.clone(), kept(u))).collect())
    }

    fn check(&self, name: &str, password: &str) -> bool {
        let kept = self.0.get(name).map(|kept| &kept.0[0]);
        kept.is_some_and(|kept| HASHES[0].keys(password, kept.salt).stored == kept.stored)
    }
}

/// How far a connection has come.
pub enum Login {
    /// Nothing was said.
    New,
    /// A mechanism was chosen, by its place in [`MECHANISMS`].
    Chosen(usize),
    /// The client must prove that it knows the password.
    Challenged(Box<Challenge>),
    /// It may do everything.
    Known,
}

/// A SCRAM exchange under way.
pub struct Challenge {
    hash: &'static Hash,
    keys: Keys,
    nonce: String,
    /// The client's header for channel binding, `n,,` mostly.
    header: String,
    /// What both sides sign, up to here.
    signed: String,
}

impl Login {
    /// Chooses a mechanism. False: it is not offered.
    pub fn choose(&mut self, mechanism: &str) -> bool {
        let place = MECHANISMS.iter().position(|m| *m == mechanism);
        *self = place.map_or(Login::New, Login::Chosen);
        place.is_some()
    }

    /// A step: what goes back to the client, or why it may not in. An error ends the exchange.
    pub fn step(&mut self, users: &Users, said: &[u8]) -> Result<Vec<u8>, &'static str> {
        const MALFORMED: &str = "the SASL message is malformed";
        const WRONG: &str = "Authentication failed: Invalid username or password";
        match std::mem::replace(self, Login::New) {
            Login::Chosen(0) => {
                let text = std::str::from_utf8(said).map_err(|_| MALFORMED)?;
                let parts: Vec<&str> = text.split('\0').collect();
                let [authorize, name, password] = parts[..] else { return Err(MALFORMED) };
                if !(authorize.is_empty() || authorize == name) || !users.check(name, password) {
                    return Err(WRONG);
                }
                *self = Login::Known;
                Ok(vec![])
            }
            Login::Chosen(mechanism) => {
                let hash = mechanism - 1;
                let first = std::str::from_utf8(said).map_err(|_| MALFORMED)?;
                let first = First::parse(first).ok_or(MALFORMED)?;
                let kept = users.0.get(&first.name).ok_or(WRONG)?;
                let keys = kept.0[hash].clone();
                let nonce = format!("{}{}", first.nonce, BASE64.encode(random::<18>()));
                let answer = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(keys.salt));
                let (header, signed) = (first.header, format!("{},{answer}", first.bare));
                *self = Login::Challenged(Box::new(Challenge {
                    hash: &HASHES[hash],
                    keys,
                    nonce,
                    header,
                    signed,
                }));
                Ok(answer.into_bytes())
            }
            Login::Challenged(challenge) => {
                let said = std::str::from_utf8(said).map_err(|_| MALFORMED)?;
                let answer = challenge.verify(said).ok_or(WRONG)?;
                *self = Login::Known;
                Ok(answer.into_bytes())
            }
            Login::New | Login::Known => Err("there was no SaslHandshake"),
        }
    }
}

/// A client's first message, taken apart.
struct First {
    header: String,
    bare: String,
    name: String,
    nonce: String,
}

impl First {
    /// `n,[a=…],n=name,r=nonce[,extensions]`
    fn parse(text: &str) -> Option<First> {
        let mut parts = text.splitn(3, ',');
        let (binding, authorize, bare) = (parts.next()?, parts.next()?, parts.next()?);
        // "y": the client could bind the channel, and sees that we cannot.
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let mut fields = bare.split(',');
        let name = fields.next()?.strip_prefix("n=")?.replace("=2C", ",").replace("=3D", "=");
        let nonce = fields.next()?.strip_prefix("r=").filter(|n| !n.is_empty())?.to_string();
        let authorize = authorize.strip_prefix("a=").unwrap_or(authorize);
        if !authorize.is_empty() && authorize.replace("=2C", ",").replace("=3D", "=") != name {
            return None;
        }
        let header = text[..text.len() - bare.len()].to_string();
        Some(First { header, bare: bare.to_string(), name, nonce })
    }
}

impl Challenge {
    /// `c=header,r=nonce[,extensions],p=proof`; the answer proves that we know the user too.
    fn verify(&self, said: &str) -> Option<String> {
        let (without_proof, proof) = said.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = BASE64.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        if binding != self.header.as_bytes() || fields.next()?.strip_prefix("r=")? != self.nonce {
            return None;
        }
        let signed = format!("{},{without_proof}", self.signed);
        let signature = self.hash.mac(&self.keys.stored, signed.as_bytes());
        let proof = BASE64.decode(proof).ok().filter(|p| p.len() == signature.len())?;
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if digest::digest(self.hash.digest, &client_key).as_ref() != self.keys.stored {
            return None;
        }
        let server = self.hash.mac(&self.keys.server, signed.as_bytes());
        Some(format!("v={}", BASE64.encode(server)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn scram_is_that_of_the_standard() {
        let salt: [u8; 16] =
            BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64").try_into().expect("16");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let challenge = Challenge {
            hash: &HASHES[0],
            keys: HASHES[0].keys("pencil", salt),
            nonce: nonce.into(),
            header: "n,,".into(),
            signed: format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
        };
        let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let answer = challenge.verify(&last);
        assert_eq!(answer.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for wrong in [last.replace("p=d", "p=e"), last.replace("biws", "eSws"), last.replace("k0", "k1")] {
            assert_eq!(challenge.verify(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn plain_lets_only_those_in_who_know_the_password() {
        let users = Users::new(&["alice:se:cret".parse().expect("a user")]);
        for (said, fine) in [
            ("\0alice\0se:cret", true),
            ("alice\0alice\0se:cret", true),
            ("bob\0alice\0se:cret", false),
            ("\0alice\0se", false),
            ("\0bob\0se:cret", false),
            ("alice", false),
        ] {
            let mut login = Login::New;
            assert!(login.choose("PLAIN"));
            assert_eq!(login.step(&users, said.as_bytes()).is_ok(), fine, "{said:?}");
            assert_eq!(matches!(login, Login::Known), fine);
        }
        assert!(!Login::New.choose("GSSAPI"));
        assert!(Login::New.step(&users, b"\0alice\0se:cret").is_err());
    }

    #[test]
    fn first_messages_are_taken_apart_and_malformed_ones_refused() {
        let first = First::parse("n,a=b=2Cc,n=b=2Cc,r=x,ext").expect("sound");
        assert_eq!((first.name.as_str(), first.nonce.as_str()), ("b,c", "x"));
        assert_eq!((first.header.as_str(), first.bare.as_str()), ("n,a=b=2Cc,", "n=b=2Cc,r=x,ext"));
        for wrong in ["", "n", "n,,", "n,,n=a", "n,,n=a,r=", "p=tls-unique,,n=a,r=x", "n,a=b,n=a,r=x"] {
            assert!(First::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
