//! A small Kafka-compatible broker for people who have no Kafka: one node, durable; other machines may reach it if their
//! users say who they are.
//!
//! ```text
//!   client ─► listener, tls, sasl ─► conn (frames) ─► schema (shape) ─► api (a function a request) ─┬─► state   what is durable
//!                                                                                                   ├─► writer  number, log, sync
//!                                                                                                   └─► group   consumer groups
//! ```
//!
//! Batches are stored and served as they were produced; only their place is written into them. A record is acknowledged
//! when it is synced, and nobody can read it before. All topics share one log ([`storage::segment`]), so that one
//! `fdatasync` serves all producers that wait.
//!
//! Not offered, and refused: replication, groups of the newer
//! protocol, record formats before 2.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`schema`] | which requests and versions are spoken, the check of their lengths |
//! | [`listener`] | what is spoken where |
//! | [`tls`] | certificates |
//! | [`sasl`] | who a client is |
//! | `conn` | frames, the order of answers, limits of memory |
//! | `api` | requests to answers |
//! | [`group`] | the classic consumer group protocol |
//! | [`batch`] | headers and records of batches |
//! | [`codec`] | their compression |
//! | [`settings`] | what can be set of a topic |
//! | [`clean`] | compaction |
//! | [`entry`] | the bytes of the log |
//! | [`transaction`] | who has a transactional id, and what is under way |
//! | [`state`] | topics and where their records are |
//! | [`report`] | what it says of itself |
//! | [`writer`] | offsets, group commit, recovery |

mod api;
mod batch;
mod clean;
mod codec;
mod codes;
mod conn;
mod entry;
mod group;
mod listener;
mod report;
mod sasl;
mod schema;
mod settings;
mod state;
mod tls;
mod transaction;
mod writer;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storage::segment::{SegmentLog, SegmentOptions};
use storage::{Fs, RealFs, StorageError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

pub use crate::listener::{Listener, Protocol};
pub use crate::report::{GroupReport, PartitionReport, Report, Reporter, TopicReport};
pub use crate::sasl::User;
use crate::sasl::Users;
use crate::state::State;
pub use crate::tls::CertificateFiles;
use crate::tls::Identity;
use crate::writer::{Job, Recovered, Writer};

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where to listen, and what is spoken there. What is reached from other machines must ask who comes.
    pub listen: Vec<Listener>,
    /// The host that clients are told to connect to; none: the address that they came to.
    pub advertise: Option<String>,
    /// Who may log in where somebody asks.
    pub users: Vec<User>,
    /// What encrypted listeners show; none: a certificate of an authority of our own.
    pub certificate: Option<CertificateFiles>,
    /// Where topics are kept; none: in memory.
    pub dir: Option<PathBuf>,
    /// Whether producing to or asking for a topic that is not there makes it.
    pub auto_create: bool,
    /// The partitions of a topic that is made without a number.
    pub default_partitions: i32,
    /// Without a directory: the bytes of batches that are held at most. Further ones are refused.
    pub memory_limit: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
            advertise: None,
            users: vec![],
            certificate: None,
            dir: None,
            auto_create: true,
            default_partitions: 1,
            memory_limit: 2 << 30,
        }
    }
}

/// Why a broker did not start.
#[derive(Debug)]
pub enum BrokerError {
    /// It would speak to other machines without asking who comes.
    NotLoopback(Listener),
    /// It asks who comes, and knows nobody.
    NoUsers(Listener),
    /// The certificate cannot be read or made.
    Certificate(io::Error),
    /// The address is taken or not ours.
    Bind(SocketAddr, io::Error),
    /// The directory is locked, damaged or cannot be read.
    Storage(StorageError),
    /// The system has no thread for it.
    Thread(io::Error),
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback(l) => {
                write!(f, "the Kafka listener {l} has no authentication and may listen on loopback only; ")?;
                write!(f, "use SASL_SSL://{}", l.address)
            }
            Self::NoUsers(l) => write!(f, "the Kafka listener {l} asks for a user, and there is none"),
            Self::Certificate(e) => write!(f, "the certificate of the Kafka listener: {e}"),
            Self::Bind(a, e) => write!(f, "cannot listen on {a}: {e}"),
            Self::Storage(e) => write!(f, "the broker's topics cannot be opened: {e}"),
            Self::Thread(e) => write!(f, "the broker cannot start a thread: {e}"),
        }
    }
}

impl std::error::Error for BrokerError {}

/// A running broker. Dropping it closes its port and connections; what was acknowledged is durable at any moment.
#[derive(Debug)]
pub struct Broker {
    listeners: Vec<Listener>,
    accept: tokio::task::JoinHandle<()>,
    writer: Option<std::thread::JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Broker {
    /// Recovers the topics of the directory and listens. Must be called within a tokio runtime.
    pub async fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
        Self::start_on(Arc::new(RealFs), config).await
    }

    /// As [`Broker::start`], with its topics on another file system: one that a test can fill up or cut off.
    pub async fn start_on(fs: Arc<dyn Fs>, config: BrokerConfig) -> Result<Broker, BrokerError> {
        for listener in &config.listen {
            if !listener.protocol.sasl() && !listener.address.ip().is_loopback() {
                return Err(BrokerError::NotLoopback(*listener));
            }
            if listener.protocol.sasl() && config.users.is_empty() {
                return Err(BrokerError::NoUsers(*listener));
            }
        }
        let dir = config.dir.clone();
        let opened = tokio::task::spawn_blocking(move || open(fs, dir)).await;
        let opened = opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let (log, lock, mut recovered) = opened.map_err(BrokerError::Storage)?;
        let identity = if config.listen.iter().any(|l| l.protocol.tls()) {
            let host = config.advertise.as_deref();
            let opened = Identity::open(config.certificate.as_ref(), config.dir.as_deref(), host);
            Some(opened.map_err(BrokerError::Certificate)?)
        } else {
            None
        };
        let (mut sockets, mut listeners) = (vec![], vec![]);
        for Listener { protocol, address } in config.listen {
            let failed = |e| BrokerError::Bind(address, e);
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            listeners.push(Listener { protocol, address: socket.local_addr().map_err(failed)? });
            sockets.push((socket, protocol));
        }
        let (jobs, queue) = mpsc::channel(256);
        let shared = Arc::new(Shared {
            advertise: config.advertise,
            users: Users::new(&config.users),
            identity,
            auto_create: config.auto_create,
            default_partitions: config.default_partitions.clamp(1, writer::MAX_PARTITIONS),
            memory_limit: config.memory_limit,
            dir: config.dir.as_ref().map_or_else(|| "memory".into(), |d| d.display().to_string()),
            state: Mutex::new(recovered.take_state()),
            log,
            jobs: Mutex::new(Some(jobs)),
            appended: Notify::new(),
            failed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            groups: group::Groups::default(),
            next_producer: AtomicI64::new(first_producer()),
            cleaning: Mutex::new(()),
            incoming: Arc::new(Semaphore::new(conn::BUDGET_KIB)),
            outgoing: Arc::new(Semaphore::new(conn::BUDGET_KIB)),
        });
        let writer = Writer::new(Arc::clone(&shared), recovered);
        let body = move || {
            writer.run(queue);
            // The directory is free for another process only when nothing more is written.
            drop(lock);
        };
        let writer =
            std::thread::Builder::new().name("broker-log".into()).spawn(body).map_err(BrokerError::Thread)?;
        let accept = tokio::spawn(accept(sockets, Arc::clone(&shared)));
        for listener in &listeners {
            tracing::info!(%listener, "Kafka listener is ready");
        }
        Ok(Broker { listeners, accept, writer: Some(writer), shared })
    }

    /// Where it listens, in the order of the configuration, with the ports that it got.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The certificate (PEM) that clients must trust, if the broker's authority is its own.
    pub fn authority(&self) -> Option<&str> {
        self.shared.identity.as_ref()?.authority()
    }

    /// Whether its log could not be written: it serves reads, and accepts nothing until a restart.
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Closes port and connections and waits until the log is closed.
    pub async fn shutdown(mut self) {
        self.close();
        let writer = self.writer.take();
        let joined = tokio::task::spawn_blocking(move || writer.map(std::thread::JoinHandle::join)).await;
        if !matches!(joined, Ok(Some(Ok(())))) {
            tracing::error!("the broker's writer ended by a fault of this program");
        }
    }

    fn close(&self) {
        self.accept.abort();
        // The writer ends when the last sender is gone; connections hold clones only while they send.
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.close();
    }
}

/// What connections, the writer and the accept loop share.
pub(crate) struct Shared {
    advertise: Option<String>,
    users: Users,
    identity: Option<Identity>,
    auto_create: bool,
    default_partitions: i32,
    memory_limit: usize,
    /// Where topics are, as it is shown.
    dir: String,
    state: Mutex<State>,
    log: Option<SegmentLog>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Woken whenever the visible state has changed.
    appended: Notify,
    failed: AtomicBool,
    connections: AtomicUsize,
    groups: group::Groups,
    next_producer: AtomicI64,
    /// Held by who compacts.
    cleaning: Mutex<()>,
    /// Memory for requests and for answers, in KiB.
    incoming: Arc<Semaphore>,
    outgoing: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job to the writer, waiting for room. False: the broker is shutting down.
    async fn job(&self, job: Job) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match jobs {
            Some(jobs) => jobs.send(job).await.is_ok(),
            None => false,
        }
    }
}

impl Shared {
    /// Hands a job to the writer unless it is busy.
    fn try_job(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = jobs.try_send(job);
        }
    }
}

type Opened = (Option<SegmentLog>, Option<Box<dyn Send + Sync>>, Recovered);

fn open(fs: Arc<dyn Fs>, dir: Option<PathBuf>) -> Result<Opened, StorageError> {
    let Some(dir) = dir else { return Ok((None, None, Recovered::empty())) };
    let io = |attempt, e: io::Error| StorageError::Io { attempt, path: dir.clone(), reason: e.to_string() };
    fs.create_dir(&dir).map_err(|e| io("create", e))?;
    let path = dir.join("LOCK");
    let lock = lock(&*fs, &path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => {
            let pid = std::fs::read_to_string(&path).ok().and_then(|s| s.trim().parse().ok());
            StorageError::Locked { path: path.clone(), pid }
        }
        _ => io("lock", e),
    })?;
    let (log, notes) = SegmentLog::open(fs, &dir, SegmentOptions::default())?;
    for note in notes {
        tracing::info!("broker: {note}");
    }
    let recovered = writer::recover(&log)?;
    Ok((Some(log), Some(lock), recovered))
}

/// Takes the directory's lock. A process that was killed a moment ago may still be giving it back.
fn lock(fs: &dyn Fs, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
    const PATIENCE: Duration = Duration::from_millis(500);
    let begun = Instant::now();
    loop {
        match fs.lock(path) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Numbers for idempotent producers begin at a random place: one that was given before a restart and has written nothing
/// yet must not be given again.
fn first_producer() -> i64 {
    ((uuid::Uuid::new_v4().as_u128() as u64 >> 1) & !0xf_ffff) as i64
}

/// Old records go, and compaction begins, once in so many ticks of 200 ms.
const TIDY_TICKS: u32 = 5;

/// How many clients may be connected at a time.
const MAX_CONNECTIONS: usize = 1_000;

/// Takes connections until it is dropped; so are they then, which is the whole stop.
async fn accept(sockets: Vec<(TcpListener, Protocol)>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut accepting = JoinSet::new();
    let (arrived, mut arrivals) = mpsc::channel(64);
    for (socket, protocol) in sockets {
        accepting.spawn(listen(socket, protocol, arrived.clone()));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let (mut ticks, mut cleaning) = (0u32, None::<tokio::task::JoinHandle<()>>);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        shared.connections.store(connections.len(), Ordering::Relaxed);
        tokio::select! {
            Some((socket, peer, protocol)) = arrivals.recv() => {
                if connections.len() >= MAX_CONNECTIONS {
                    tracing::warn!(%peer, "a Kafka connection was refused: there are {MAX_CONNECTIONS}");
                    continue;
                }
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    if let Err(e) = conn::serve(shared, socket, protocol).await {
                        tracing::debug!(%peer, reason = %e, "a Kafka connection was closed");
                    }
                });
            }
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(e) = ended && e.is_panic() {
                    tracing::error!("a Kafka connection ended by a fault of this program");
                }
            }
            _ = tick.tick() => {
                // Members that are silent lose their partitions to the others.
                shared.groups.tick();
                ticks += 1;
                if ticks.is_multiple_of(TIDY_TICKS) {
                    shared.try_job(Job::Tidy);
                    if cleaning.as_ref().is_none_or(|c| c.is_finished()) {
                        let (shared, runtime) = (Arc::clone(&shared), tokio::runtime::Handle::current());
                        cleaning = Some(tokio::task::spawn_blocking(move || clean::pass(&shared, &runtime)));
                    }
                }
            }
        }
    }
}

async fn listen(
    socket: TcpListener,
    protocol: Protocol,
    arrived: mpsc::Sender<(TcpStream, SocketAddr, Protocol)>,
) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                if arrived.send((stream, peer, protocol)).await.is_err() {
                    return;
                }
            }
            // Too many open files, most likely.
            Err(e) => {
                tracing::warn!(error = %e, "a Kafka connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
