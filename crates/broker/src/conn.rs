//! A connection: frames in, answers out in the order of the requests.
//!
//! ```text
//!   frame = length i32 │ key i16 │ version i16 │ correlation i32 │ client │ body
//!   read one ─► check, decode ─► begin it ─► queue of answers under way ─► write them, in order
//! ```
//!
//! A produce request is handed to the writer as soon as it is read, so that several of one client share a sync; any other
//! request begins when those before it are answered, as in Kafka. What is no request closes the connection. Where the
//! listener asks who comes, nothing else is answered before that is known.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::api;
use crate::group::text;
use crate::listener::{Advertised, Protocol};
use crate::sasl::Login;

/// The longest request.
const MAX_FRAME: usize = 100 << 20;
/// The longest request of a client that has not said who it is; Kafka's number.
const MAX_STRANGER_FRAME: usize = 512 << 10;
/// Requests up to this are taken without asking how much memory there is.
const SMALL_FRAME: usize = 64 << 10;
/// Memory that all requests may take together, and all answers: two of the longest, so that one can always come.
pub const BUDGET_KIB: usize = 208 << 10;
/// Answers of one connection under way. Careful clients send five requests at most; each may hold a batch of a megabyte.
const UNDER_WAY: usize = 5;
/// How long a client may take to send the rest of a frame, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// And how much longer for each MiB of it.
const SLOWEST: Duration = Duration::from_secs(8);

/// Why a connection ends before its client ends it.
#[derive(Debug)]
pub enum Closed {
    /// The network.
    Io(io::Error),
    /// Not a request that is understood.
    Garbage(String),
    /// The client neither sends nor takes.
    Slow,
    /// The broker stops.
    Stopping,
    /// The client could not say who it is.
    Stranger,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Io(e) => write!(f, "{e}"),
            Closed::Garbage(what) => f.write_str(what),
            Closed::Slow => f.write_str("the client stopped in the middle of a frame"),
            Closed::Stopping => f.write_str("the broker stops"),
            Closed::Stranger => f.write_str("the client is not known"),
        }
    }
}

impl From<io::Error> for Closed {
    fn from(e: io::Error) -> Closed {
        Closed::Io(e)
    }
}

/// An answer under way. None: the request wants none.
pub type Answer = Pin<Box<dyn Future<Output = Result<Option<Reply>, Closed>> + Send>>;

/// An answer as it goes out, and the memory that was reserved for it.
pub struct Reply {
    pub bytes: BytesMut,
    /// Nothing comes after it.
    pub last: bool,
    /// Given back when the answer is written.
    pub _permit: Option<OwnedSemaphorePermit>,
}

/// What is known of the client at the other end.
pub struct Client {
    /// Where it is told to connect to.
    pub advertised: Advertised,
    /// Where it is.
    pub host: StrBytes,
    /// How far it has said who it is.
    pub login: Login,
}

/// Serves a client until it leaves.
pub async fn serve(shared: Arc<Shared>, socket: TcpStream, protocol: Protocol) -> Result<(), Closed> {
    socket.set_nodelay(true)?;
    let local = socket.local_addr()?;
    let host = shared.advertise.clone().unwrap_or_else(|| local.ip().to_canonical().to_string());
    let client = Client {
        advertised: Advertised { host: text(&host), port: i32::from(local.port()) },
        host: text(&format!("/{}", socket.peer_addr()?.ip().to_canonical())),
        login: if protocol.sasl() { Login::New } else { Login::Known },
    };
    match shared.identity.as_ref().filter(|_| protocol.tls()) {
        None => {
            let (read, write) = socket.into_split();
            talk(shared, client, read, write).await
        }
        Some(identity) => {
            let acceptor = TlsAcceptor::from(identity.at(local.ip().to_canonical())?);
            let stream = tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await;
            let (read, write) = tokio::io::split(stream.map_err(|_| Closed::Slow)??);
            talk(shared, client, read, write).await
        }
    }
}

async fn talk(
    shared: Arc<Shared>,
    client: Client,
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
) -> Result<(), Closed> {
    let (answers, queue) = mpsc::channel(UNDER_WAY);
    tokio::select! {
        r = requests(shared, client, read, answers) => match r {
            // The client has said all; what it asked is still answered, by the other arm.
            Ok(never) => match never {},
            Err(e) => Err(e),
        },
        r = respond(queue, write) => r,
    }
}

enum Never {}

async fn requests(
    shared: Arc<Shared>,
    mut client: Client,
    mut socket: impl AsyncRead + Unpin,
    answers: mpsc::Sender<(Answer, Option<OwnedSemaphorePermit>)>,
) -> Result<Never, Closed> {
    loop {
        let known = matches!(client.login, Login::Known);
        let length = match known {
            true => socket.read_i32().await,
            false => tokio::time::timeout(PATIENCE, socket.read_i32()).await.map_err(|_| Closed::Slow)?,
        };
        let Ok(length) = length else { break };
        let longest = if known { MAX_FRAME } else { MAX_STRANGER_FRAME };
        let length = usize::try_from(length).ok().filter(|n| (8..=longest).contains(n));
        // This is also how a browser or a TLS client looks here.
        let length = length.ok_or_else(|| Closed::Garbage("a frame has an impossible length".into()))?;
        // Small requests always find room, whatever big ones wait for.
        let permit = if length > SMALL_FRAME { reserve(&shared.incoming, length).await } else { None };
        let until = tokio::time::Instant::now() + PATIENCE + SLOWEST * (length >> 20) as u32;
        let mut frame = BytesMut::with_capacity(length.min(1 << 20));
        while frame.len() < length {
            let mut rest = (&mut socket).take((length - frame.len()) as u64);
            let read = tokio::time::timeout_at(until, rest.read_buf(&mut frame)).await;
            if read.map_err(|_| Closed::Slow)?? == 0 {
                return Err(Closed::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let answer = api::begin(&shared, &mut client, frame.freeze()).await?;
        if answers.send((answer, permit)).await.is_err() {
            break;
        }
    }
    // Only the answers end the connection now.
    drop(answers);
    std::future::pending().await
}

async fn respond(
    mut answers: mpsc::Receiver<(Answer, Option<OwnedSemaphorePermit>)>,
    mut socket: impl AsyncWrite + Unpin,
) -> Result<(), Closed> {
    while let Some((answer, _permit)) = answers.recv().await {
        if let Some(reply) = answer.await? {
            let written = tokio::time::timeout(PATIENCE, async {
                socket.write_all(&reply.bytes).await?;
                socket.flush().await
            });
            written.await.map_err(|_| Closed::Slow)??;
            if reply.last {
                return Err(Closed::Stranger);
            }
        }
    }
    Ok(())
}

/// Waits for memory. A frame never needs more than there is.
pub async fn reserve(budget: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(budget).acquire_many_owned(kib(bytes)).await.ok()
}

/// As [`reserve`]; none: there is not so much now.
pub fn reserve_now(budget: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(budget).try_acquire_many_owned(kib(bytes)).ok()
}

fn kib(bytes: usize) -> u32 {
    (bytes >> 10).clamp(1, BUDGET_KIB) as u32
}

/// The first fields of a frame: key, version, correlation. The frame has at least eight bytes.
pub fn head(frame: &Bytes) -> (i16, i16, i32) {
    let mut head = &frame[..8];
    (head.get_i16(), head.get_i16(), head.get_i32())
}
