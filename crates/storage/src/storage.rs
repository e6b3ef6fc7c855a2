//! The handle that the rest of the engine holds, and the threads behind it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use repr::Timestamp;

use crate::StorageError;
use crate::compact::{self, Written};
use crate::frame::{self, Header, Kind};
use crate::fs::Fs;
use crate::group::{FrameGroup, ShardId};
use crate::log::{Compaction, Contents, Encoded, Log, lock};
use crate::recovery;
use crate::scan::{Block, Place, Scan};
use crate::state::ShardState;

/// Is told when a group is durable, or why it is not.
pub(crate) type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// How long the log thread must have had nothing to do before it brings the index up to date.
const INDEX_DELAY: Duration = Duration::from_millis(100);

/// Groups that may be encoded and wait for the log thread.
const ENCODED_AHEAD: usize = 16;

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory that is ours.
    Directory(PathBuf),
    /// Memory: the same behaviour, gone with the process.
    Memory,
}

/// How storage behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A log file that would grow beyond this many bytes is sealed and the next one begun; sooner where little is stored.
    pub segment_bytes: u64,
    /// Blocks of more bytes are cut: what a scan holds at once.
    pub block_bytes: usize,
    /// Groups of up to this many bytes together share a sync.
    pub batch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 256 << 20, block_bytes: 4 << 20, batch_bytes: 64 << 20 }
    }
}

impl Options {
    /// So many bytes of no use are left where they are, whatever is stored.
    pub(crate) fn slack(&self) -> u64 {
        self.segment_bytes.min(8 << 20)
    }
}

/// What storage held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Catalog entries.
    pub catalog: BTreeMap<String, Vec<u8>>,
    /// The next offset to read, by source and partition.
    pub progress: BTreeMap<u64, BTreeMap<i32, i64>>,
    /// Shards.
    pub shards: BTreeMap<ShardId, ShardState>,
    /// No timestamp at or above was ever given out.
    pub oracle_mark: Timestamp,
    /// The newest time of a group.
    pub last_time: Timestamp,
    /// What had to be repaired, for the log.
    pub notes: Vec<String>,
}

/// The open storage. Clones are the same storage; it closes when the last one goes, or by [`Storage::close`].
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    contents: Arc<Mutex<Contents>>,
    /// To the first thread; none once closed.
    queue: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Asks the log thread for an answer when background work has nothing to do.
    settle: Option<Sender<mpsc::Sender<()>>>,
    /// Counts the times that appending was resumed after a full disk.
    epoch: AtomicU64,
}

struct Job {
    group: FrameGroup,
    done: Done,
    epoch: u64,
}

impl Storage {
    /// Opens what is there, or begins anew. Takes the directory's lock, and repairs what a crash left unfinished.
    ///
    /// Errors: [`StorageError::Locked`], [`StorageError::Damaged`], [`StorageError::Version`], and those of the disk.
    pub fn open(
        location: Location,
        fs: Arc<dyn Fs>,
        options: Options,
    ) -> Result<(Storage, Recovered), StorageError> {
        let (contents, recovered, queue, threads, settle) = match location {
            Location::Memory => {
                let contents = Arc::new(Mutex::new(Contents::default()));
                let (queue, jobs) = unbounded();
                let shared = contents.clone();
                let threads = vec![spawn("storage-memory", move || keep_in_memory(&jobs, &shared))?];
                (contents, Recovered::default(), queue, threads, None)
            }
            Location::Directory(dir) => {
                let (log, lock, recovered) = recovery::open(fs, &dir, options)?;
                let contents = log.contents.clone();
                let (queue, jobs) = unbounded();
                let (encoded, groups) = bounded(ENCODED_AHEAD);
                let (settle, settling) = unbounded();
                let (work, working) = Background::new(&log);
                let threads = vec![
                    spawn("storage-encode", move || encode(&jobs, &encoded, options.block_bytes))?,
                    spawn("storage-compact", working)?,
                    spawn("storage-log", move || {
                        write(&groups, &settling, work, log);
                        // Nobody else may open the directory before the last write ended.
                        drop(lock);
                    })?,
                ];
                (contents, recovered, queue, threads, Some(settle))
            }
        };
        let inner = Inner {
            contents,
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(threads),
            epoch: AtomicU64::new(0),
            settle,
        };
        Ok((Storage(Arc::new(inner)), recovered))
    }

    /// Queues a group. `done` is called on a thread of storage once all of it is durable and visible to scans, or
    /// with the reason why it is not; it must not block. Groups take effect in the order of the calls.
    ///
    /// After [`StorageError::DiskFull`] all groups are refused until [`Storage::resume`], because those that were queued
    /// behind the refused one count on it. After any other error all are refused for good.
    pub fn append(&self, group: FrameGroup, done: Done) {
        let job = Job { group, done, epoch: self.0.epoch.load(Ordering::SeqCst) };
        let queue = self.0.queue.lock().expect("nothing panics under this lock");
        let refused = match &*queue {
            Some(queue) => queue.send(job).err().map(|e| e.0),
            None => Some(job),
        };
        drop(queue);
        if let Some(job) = refused {
            (job.done)(Err(StorageError::Closed));
        }
    }

    /// Appends a group and waits until it is durable.
    pub fn append_wait(&self, group: FrameGroup) -> Result<(), StorageError> {
        let (sender, receiver) = mpsc::channel();
        self.append(
            group,
            Box::new(move |result| {
                // The receiver waits below.
                let _ = sender.send(result);
            }),
        );
        receiver.recv().unwrap_or(Err(StorageError::Closed))
    }

    /// Accepts groups again after [`StorageError::DiskFull`]. The caller has seen all its groups answered, and starts
    /// again behind the last one that was accepted: what follows must not count on what was refused.
    pub fn resume(&self) {
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The blocks of a shard whose times lie from `from` to `as_of`, both included; none of an unknown one. They are read
    /// as the iterator goes, and stay the same whatever is appended or dropped meanwhile.
    ///
    /// Errors come from the iterator.
    pub fn scan(&self, shard: ShardId, from: Timestamp, as_of: Timestamp) -> Result<Scan, StorageError> {
        Ok(Scan::new(&lock(&self.0.contents), shard, from, as_of))
    }

    /// What is known of a shard without reading it; none of an unknown one.
    pub fn shard_stats(&self, shard: ShardId) -> Option<ShardState> {
        lock(&self.0.contents).state.shards.get(&shard).cloned()
    }

    /// The shards that exist.
    pub fn shards(&self) -> BTreeMap<ShardId, ShardState> {
        lock(&self.0.contents).state.shards.clone()
    }

    /// How far a source's rows are durable: the next offset, by partition.
    pub fn progress(&self, source: u64) -> BTreeMap<i32, i64> {
        lock(&self.0.contents).state.progress.get(&source).cloned().unwrap_or_default()
    }

    /// What background work has done since the start.
    pub fn compaction(&self) -> Compaction {
        lock(&self.0.contents).compaction
    }

    /// Waits until background work has nothing to do: for tests and measurements.
    pub fn settle(&self) {
        if let Some(settle) = &self.0.settle {
            let (sender, receiver) = mpsc::channel();
            // Closed: nothing works any more.
            let _ = settle.send(sender);
            let _ = receiver.recv();
        }
    }

    /// Answers all groups that are queued, brings the index up to date, ends the threads and gives the lock back. Other
    /// handles can still scan; what they append is refused.
    pub fn close(self) {
        self.0.close()
    }
}

impl Inner {
    fn close(&self) {
        drop(self.queue.lock().expect("nothing panics under this lock").take());
        let threads = std::mem::take(&mut *self.threads.lock().expect("nothing panics under this lock"));
        // The last handle may go in a callback, on a thread of ours: the threads end by themselves then.
        if threads.iter().any(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        for thread in threads {
            thread.join().expect("storage threads report errors and do not panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.close()
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StorageError> {
    thread::Builder::new().name(name.into()).spawn(run).map_err(|e| StorageError::Io {
        attempt: "start a thread for",
        path: name.into(),
        reason: e.to_string(),
    })
}

/// The first thread: rows into bytes.
fn encode(jobs: &Receiver<Job>, encoded: &Sender<Encoded>, block_bytes: usize) {
    for Job { group, done, epoch } in jobs {
        let sent = encoded.send(Encoded::new(group, block_bytes, done, epoch));
        if let Err(mut refused) = sent {
            refused.0.answer(Err(StorageError::Closed));
        }
    }
}

/// The log thread's end of background work.
struct Background {
    jobs: Option<Sender<compact::Job>>,
    results: Receiver<Result<Written, StorageError>>,
    busy: bool,
    stop: Arc<AtomicBool>,
}

impl Background {
    /// And what its thread runs.
    fn new(log: &Log) -> (Background, impl FnOnce() + Send + 'static) {
        let (jobs, queue) = bounded::<compact::Job>(1);
        let (done, results) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (fs, dir, options) = (log.fs.clone(), log.dir.clone(), log.options);
        let (next_number, contents, stopped) = (log.next_number.clone(), log.contents.clone(), stop.clone());
        let run = move || {
            for job in queue {
                let result = compact::run(&job, &fs, &dir, &options, &next_number, &stopped);
                let mut contents = lock(&contents);
                let sums = &mut contents.compaction;
                sums.jobs += 1;
                if let Ok(written) = &result {
                    sums.bytes_read += written.bytes_read;
                    sums.bytes_written += written.bytes_written;
                }
                let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                sums.cpu = cpu.try_into().unwrap_or_default();
                drop(contents);
                if done.send(result).is_err() {
                    return;
                }
            }
        };
        (Background { jobs: Some(jobs), results, busy: false, stop }, run)
    }

    /// Starts a job if one is worth it.
    fn start(&mut self, log: &mut Log) {
        if self.busy || !std::mem::take(&mut log.look_for_space) {
            return;
        }
        let job = compact::pick(&lock(&log.contents), &log.options);
        if let (Some(job), Some(jobs)) = (job, &self.jobs) {
            self.busy = jobs.send(job).is_ok();
        }
    }

    /// Its thread has ended before its time: space is no longer given back, all else goes on.
    fn gone(&mut self) {
        tracing::error!("the thread that gives space back is gone; the next start brings it back");
        (self.jobs, self.results, self.busy) = (None, never(), false);
    }

    /// A job has ended. An error means that the log cannot go on.
    fn ended(&mut self, result: Result<Written, StorageError>, log: &mut Log) -> Result<(), StorageError> {
        self.busy = false;
        match result.and_then(|written| log.publish(written)) {
            Err(StorageError::Damaged { file, offset, what }) => {
                let file_name = file.display();
                tracing::error!(file = %file_name, offset, what, "damaged rows cannot be moved to a new file");
                let mut contents = lock(&log.contents);
                let Contents { files, unmovable, .. } = &mut *contents;
                unmovable.extend(files.iter().filter(|(_, f)| *f.path == *file).map(|(number, _)| *number));
                drop(contents);
                log.look_for_space = true;
                Ok(())
            }
            // Nothing was promised of the new files. If the disk has failed, the log will meet it too.
            Err(error @ (StorageError::DiskFull { .. } | StorageError::Io { .. } | StorageError::Closed)) => {
                tracing::warn!(%error, "space could not be given back");
                Ok(())
            }
            other => other.inspect_err(|error| tracing::error!(%error, "space could not be given back")),
        }
    }
}

/// The second thread: bytes onto the disk.
fn write(
    groups: &Receiver<Encoded>,
    settling: &Receiver<mpsc::Sender<()>>,
    mut background: Background,
    mut log: Log,
) {
    let mut failed: Option<StorageError> = None;
    // Groups of this epoch and before are refused: the disk was full.
    let mut full: Option<(u64, StorageError)> = None;
    let mut settlers = Vec::new();
    loop {
        if failed.is_none() {
            background.start(&mut log);
        }
        if !background.busy {
            for settler in settlers.drain(..) {
                // Who asked may have gone.
                let _: Result<(), _> = mpsc::Sender::send(&settler, ());
            }
        }
        let idle = if log.index_behind && failed.is_none() {
            crossbeam_channel::after(INDEX_DELAY)
        } else {
            never()
        };
        let first = select! {
            recv(groups) -> group => match group {
                Ok(group) => group,
                Err(_) => break,
            },
            recv(background.results) -> result => {
                match result {
                    // After a failure nothing more is written; the next start removes what was not published.
                    Ok(_) if failed.is_some() => background.busy = false,
                    Ok(result) => failed = background.ended(result, &mut log).err(),
                    Err(_) => background.gone(),
                }
                continue;
            },
            recv(settling) -> settler => {
                settlers.extend(settler);
                log.look_for_space = true;
                continue;
            },
            recv(idle) -> _ => {
                log.write_index();
                continue;
            },
        };
        let mut bytes = first.len();
        let mut batch = vec![first];
        while bytes < log.options.batch_bytes
            && let Ok(next) = groups.try_recv()
        {
            bytes += next.len();
            batch.push(next);
        }
        let refuse = |batch: &mut Vec<Encoded>, failed: &Option<StorageError>, full: &Option<_>| {
            batch.retain_mut(|group| {
                let error = failed.as_ref().or(match full {
                    Some((epoch, error)) if group.epoch <= *epoch => Some(error),
                    _ => None,
                });
                if let Some(error) = error {
                    group.answer(Err(error.clone()));
                }
                error.is_none()
            })
        };
        refuse(&mut batch, &failed, &full);
        if batch.is_empty() {
            continue;
        }
        match log.commit(&mut batch) {
            Ok(()) => batch.iter_mut().for_each(|group| group.answer(Ok(()))),
            Err(error) => {
                if error.is_fatal() {
                    tracing::error!(%error, "a write to the log was refused");
                    failed = Some(error);
                } else {
                    let epoch = batch.iter().map(|group| group.epoch).max().unwrap_or(0);
                    full = Some((epoch, error));
                }
                refuse(&mut batch, &failed, &full);
            }
        }
    }
    background.stop.store(true, Ordering::Relaxed);
    background.jobs = None;
    if background.busy
        && failed.is_none()
        && let Ok(result) = background.results.recv()
    {
        failed = background.ended(result, &mut log).err();
    }
    if failed.is_none() {
        log.write_index();
    }
}

impl Encoded {
    fn answer(&mut self, result: Result<(), StorageError>) {
        if let Some(done) = self.done.take() {
            done(result)
        }
    }
}

/// The only thread of storage in memory.
fn keep_in_memory(jobs: &Receiver<Job>, contents: &Mutex<Contents>) {
    for (sequence, Job { group, done, .. }) in (1..).zip(jobs) {
        let mut contents = lock(contents);
        for update in group.updates.iter().filter(|u| !u.block.is_empty()) {
            let mut header = Header::new(Kind::Data);
            header.shard = update.shard;
            header.block = update.kind;
            header.sequence = sequence;
            (header.lower, header.upper) = (group.time, group.time);
            header.flags = if update.block.is_append_only() { frame::APPEND_ONLY } else { 0 };
            header.rows = u32::try_from(update.block.len()).unwrap_or(u32::MAX);
            header.raw = u32::try_from(update.block.byte_len()).unwrap_or(u32::MAX);
            header.length = header.raw;
            header.net = update.block.iter().map(|(_, diff)| diff).fold(0, i64::saturating_add);
            contents.state.add_block(&header);
            let place = Place::Memory(update.block.clone());
            contents
                .add(update.shard, Block { time: group.time, kind: update.kind, rows: header.rows, place });
        }
        contents.apply(&group, sequence);
        drop(contents);
        done(Ok(()));
    }
}
