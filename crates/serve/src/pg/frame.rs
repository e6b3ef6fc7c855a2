//! Cuts a byte stream into messages and checks them before they are decoded.
//!
//! pgwire's decoders trust the counts and lengths inside a message, and replace invalid UTF-8. So each message is walked
//! here first: every string ends within it and is UTF-8, every count fits, nothing is left over. Postgres' answers to
//! what is wrong are kept: 08P01 or 22021 where the session can go on, the end of the connection where it cannot.

use bytes::{Buf, BytesMut};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage};
use repr::SqlError;
use repr::error::code;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest message that is taken.
const MAX_MESSAGE: usize = 64 << 20;
/// The longest start-up packet, as in Postgres.
const MAX_STARTUP: usize = 10_000;

/// What is wrong with what came.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The client has gone, or sends what is no Postgres protocol: close without a word.
    Closed,
    /// Say so, then close.
    Fatal(SqlError),
    /// The message is bad, the stream is not: the session goes on.
    Bad(SqlError),
}

/// The first packet of a connection.
#[derive(Debug)]
pub(super) enum Startup {
    /// SSLRequest or GSSENCRequest: answered with `N`, then the next one comes.
    Encryption,
    /// A request to cancel another connection.
    Cancel { pid: i32, secret: i32 },
    /// Parameters, and whether a newer minor version was asked for.
    Start { parameters: Vec<(String, String)>, newer: bool },
}

/// The incoming half of a connection.
pub(super) struct FrameReader<R> {
    socket: R,
    buffer: BytesMut,
    context: DecodeContext,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(socket: R) -> FrameReader<R> {
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        FrameReader { socket, buffer: BytesMut::with_capacity(8 << 10), context }
    }

    /// Makes at least `n` bytes available.
    async fn fill(&mut self, n: usize) -> Result<(), FrameError> {
        while self.buffer.len() < n {
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(FrameError::Closed),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Waits until the client sends more, or goes or says that it goes: false. Keeps what comes.
    pub async fn wait_for_more(&mut self) -> bool {
        const TERMINATE: u8 = b'X';
        if self.buffer.len() >= MAX_MESSAGE {
            // It may send no more before it has read; only its leaving would matter, and that shows when we write.
            std::future::pending::<()>().await;
        }
        let more = matches!(self.socket.read_buf(&mut self.buffer).await, Ok(n) if n > 0);
        more && self.buffer.first() != Some(&TERMINATE)
    }

    /// Whether nothing has come that is not yet taken.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The first packet, or the one after SSLRequest.
    pub async fn startup(&mut self) -> Result<Startup, FrameError> {
        // A length that cannot be is answered at once: nothing needs to follow it.
        self.fill(4).await?;
        let length = u32::from_be_bytes(self.buffer[..4].try_into().expect("four bytes")) as usize;
        if !(8..=MAX_STARTUP).contains(&length) {
            return Err(FrameError::Closed);
        }
        self.fill(length).await?;
        let mut packet = self.buffer.split_to(length);
        packet.advance(4);
        let version = packet.get_u32();
        match version {
            80_877_103 | 80_877_104 => {
                // What was sent in the clear behind it must not pass for what comes encrypted.
                self.buffer.clear();
                Ok(Startup::Encryption)
            }
            80_877_102 if packet.len() >= 8 => {
                Ok(Startup::Cancel { pid: packet.get_i32(), secret: packet.get_i32() })
            }
            v if v >> 16 == 3 => {
                let mut walk = Walk(&packet);
                let mut parameters = vec![];
                loop {
                    let name = walk.text().map_err(FrameError::Fatal)?;
                    if name.is_empty() {
                        break;
                    }
                    let value = walk.text().map_err(FrameError::Fatal)?;
                    parameters.push((name.to_string(), value.to_string()));
                }
                Ok(Startup::Start { parameters, newer: v & 0xffff > 0 })
            }
            v => Err(FrameError::Fatal(SqlError::new(
                code::FEATURE_NOT_SUPPORTED,
                format!(
                    "unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
                    v >> 16,
                    v & 0xffff
                ),
            ))),
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Result<PgWireFrontendMessage, FrameError> {
        self.fill(5).await?;
        let kind = self.buffer[0];
        if !b"QPBEDCHSXdcfpF".contains(&kind) {
            return Err(FrameError::Fatal(violation(format!("invalid frontend message type {kind}"))));
        }
        let length = i32::from_be_bytes(self.buffer[1..5].try_into().expect("four bytes"));
        let Some(body) =
            usize::try_from(length).ok().and_then(|l| l.checked_sub(4)).filter(|l| *l <= MAX_MESSAGE)
        else {
            return Err(FrameError::Fatal(violation("invalid message length")));
        };
        self.fill(5 + body).await?;
        let mut message = self.buffer.split_to(5 + body);
        if kind == b'p' {
            return Err(FrameError::Fatal(violation("a password message came when none was asked for")));
        }
        if kind == b'F' {
            return Err(FrameError::Bad(SqlError::unsupported("the function call protocol", "Use SELECT.")));
        }
        check(kind, &message[5..]).map_err(FrameError::Bad)?;
        match PgWireFrontendMessage::decode(&mut message, &self.context) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(FrameError::Fatal(violation("incomplete message"))),
            Err(e) => Err(FrameError::Bad(violation(e.to_string()))),
        }
    }
}

fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(code::PROTOCOL_VIOLATION, message)
}

/// Walks the body of a message.
fn check(kind: u8, body: &[u8]) -> Result<(), SqlError> {
    let mut walk = Walk(body);
    match kind {
        b'Q' => drop(walk.text()?),
        b'P' => {
            walk.text()?;
            walk.text()?;
            let types = walk.u16()?;
            walk.skip(4 * usize::from(types))?;
        }
        b'B' => {
            walk.text()?;
            walk.text()?;
            let formats = walk.u16()?;
            walk.skip(2 * usize::from(formats))?;
            for _ in 0..walk.u16()? {
                let length = walk.i32()?;
                match length {
                    -1 => {}
                    n if n < -1 => return Err(violation("invalid parameter length in Bind message")),
                    n => drop(walk.skip(n as usize)?),
                }
            }
            let formats = walk.u16()?;
            walk.skip(2 * usize::from(formats))?;
        }
        b'D' | b'C' => {
            let target = walk.u8()?;
            if !matches!(target, b'S' | b'P') {
                let what = if kind == b'D' { "DESCRIBE" } else { "CLOSE" };
                return Err(violation(format!("invalid {what} message subtype {target}")));
            }
            walk.text()?;
        }
        b'E' => {
            walk.text()?;
            walk.skip(4)?;
        }
        b'f' => drop(walk.text()?),
        b'd' => return Ok(()),
        _ => {}
    }
    if walk.0.is_empty() { Ok(()) } else { Err(violation("invalid message format")) }
}

/// The rest of a body.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn skip(&mut self, n: usize) -> Result<&'a [u8], SqlError> {
        let Some((head, tail)) = self.0.split_at_checked(n) else {
            return Err(violation("insufficient data left in message"));
        };
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, SqlError> {
        Ok(self.skip(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        Ok(u16::from_be_bytes(self.skip(2)?.try_into().expect("two bytes")))
    }

    fn i32(&mut self) -> Result<i32, SqlError> {
        Ok(i32::from_be_bytes(self.skip(4)?.try_into().expect("four bytes")))
    }

    /// A string up to its NUL.
    fn text(&mut self) -> Result<&'a str, SqlError> {
        let Some(end) = self.0.iter().position(|b| *b == 0) else {
            return Err(violation("invalid string in message"));
        };
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(text).map_err(|e| invalid_utf8(text, e))
    }
}

/// Postgres' error for bytes that are no UTF-8.
pub(super) fn invalid_utf8(bytes: &[u8], e: std::str::Utf8Error) -> SqlError {
    let at = e.valid_up_to();
    let length = e.error_len().unwrap_or(bytes.len() - at).clamp(1, 4);
    let shown: Vec<String> =
        bytes[at..(at + length).min(bytes.len())].iter().map(|b| format!("0x{b:02x}")).collect();
    SqlError::new(
        code::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(kind: u8, body: &[u8]) -> Option<String> {
        check(kind, body).err().map(|e| e.code.as_str().to_string())
    }

    #[test]
    fn bodies_are_walked_to_their_end() {
        assert_eq!(code_of(b'Q', b"SELECT 1\0"), None);
        assert_eq!(code_of(b'Q', b"SELECT 1"), Some("08P01".into()));
        assert_eq!(code_of(b'Q', b"SELECT\0 1\0"), Some("08P01".into()));
        assert_eq!(code_of(b'Q', b"SELECT '\xff'\0"), Some("22021".into()));
        assert_eq!(code_of(b'B', b"\0\0"), Some("08P01".into()));
        assert_eq!(code_of(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"), Some("08P01".into()));
        assert_eq!(code_of(b'P', b"\0SELECT 1\0\xff\xff"), Some("08P01".into()));
        assert_eq!(code_of(b'D', b"X\0"), Some("08P01".into()));
        assert_eq!(code_of(b'D', b""), Some("08P01".into()));
    }

    #[tokio::test]
    async fn lengths_that_cannot_be_end_the_connection() {
        for bytes in [&b"Q\0\0\0\0"[..], b"Q\xff\xff\xff\xff", b"Q\x7f\xff\xff\xff", b"\x01\0\0\0\x04"] {
            let mut reader = FrameReader::new(bytes);
            assert!(matches!(reader.message().await, Err(FrameError::Fatal(_))), "{bytes:?}");
        }
        for bytes in [&b"\0\0\0\x03\0\0\0\0"[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let mut reader = FrameReader::new(bytes);
            assert!(matches!(reader.startup().await, Err(FrameError::Closed)), "{bytes:?}");
        }
    }
}
