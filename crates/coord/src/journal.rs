//! What is on its way to storage, oldest first, and what happens when it is there.
//!
//! **A full disk.** Storage refuses a group and all that come after it. They stay here, in order: what dataflows have
//! computed from them holds, since they will be durable before anything newer is. No tick gives out new times meanwhile, so
//! intake stops at its limit; reads go on at what is durable. Once a second the oldest group is tried again, and when it
//! is accepted the others follow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use repr::error::code;
use repr::{GlobalId, SqlError, Timestamp};
use storage::{FrameGroup, Storage, StorageError};

use crate::command::Command;

/// What happens when a group is durable.
pub(crate) enum Then {
    /// A tick is.
    Tick(Timestamp),
    /// The stored rows of views are complete before these times; there is nothing more of the batch.
    Views(Vec<(GlobalId, Timestamp)>),
    /// A part of a batch.
    Nothing,
}

struct Entry {
    group: FrameGroup,
    then: Then,
}

struct Full {
    error: StorageError,
    retry_at: Instant,
    /// When the log last said so.
    told: Instant,
}

/// How often the log says that it is full.
const TELL: Duration = Duration::from_secs(60);
/// How long a full disk is left alone.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Journal {
    storage: Storage,
    commands: Sender<Command>,
    queue: VecDeque<Entry>,
    /// How many of the oldest storage has and has not answered.
    sent: usize,
    full: Option<Full>,
}

impl Journal {
    pub(crate) fn new(storage: Storage, commands: Sender<Command>) -> Journal {
        Journal { storage, commands, queue: VecDeque::new(), sent: 0, full: None }
    }

    /// Puts a group behind all others.
    pub(crate) fn append(&mut self, group: FrameGroup, then: Then) {
        self.queue.push_back(Entry { group, then });
        if self.full.is_none() {
            self.send();
        }
    }

    /// Hands the oldest that storage does not have to it.
    fn send(&mut self) {
        let Some(entry) = self.queue.get(self.sent) else { return };
        self.sent += 1;
        let commands = self.commands.clone();
        let answer = move |result| drop(commands.send(Command::Appended(result)));
        self.storage.append(entry.group.clone(), Box::new(answer));
    }

    /// Takes storage's answer about the oldest group that it has: what happens now if it is durable. Ends the process if the disk failed: what was said to be
    /// durable may not be, and a restart replays what is.
    pub(crate) fn answered(&mut self, result: Result<(), StorageError>, now: Instant) -> Option<Then> {
        self.sent -= 1;
        match result {
            Ok(()) => {
                let durable = self.queue.pop_front();
                if self.full.take().is_some() {
                    tracing::info!("there is space on the disk again; writing goes on");
                    (self.sent..self.queue.len()).for_each(|_| self.send());
                }
                durable.map(|entry| entry.then)
            }
            Err(e) if e.is_fatal() => {
                tracing::error!(error = %e, "the disk failed; the process ends, a restart goes on from what is durable");
                eprintln!("deltamill: the disk failed: {e}");
                std::process::exit(e.exit_code().into());
            }
            Err(error) => {
                let told = self.full.take().map(|full| full.told).filter(|told| now < *told + TELL);
                if told.is_none() {
                    tracing::warn!(%error, "intake stops until there is room; reads go on");
                }
                self.full = Some(Full { error, retry_at: now + RETRY, told: told.unwrap_or(now) });
                None
            }
        }
    }

    /// Why nothing can be written, if the disk is full.
    pub(crate) fn full(&self) -> Option<SqlError> {
        let full = self.full.as_ref()?;
        Some(
            SqlError::new(code::DISK_FULL, full.error.to_string())
                .with_hint("Make room on the disk: reads go on, and writing resumes by itself."),
        )
    }

    /// When to call [`Journal::retry`].
    pub(crate) fn patience(&self, now: Instant) -> Option<Duration> {
        self.full.as_ref().map(|full| full.retry_at.saturating_duration_since(now))
    }

    /// Tries the oldest group again if it is time.
    pub(crate) fn retry(&mut self, now: Instant) {
        if let Some(full) = &mut self.full
            && self.sent == 0
            && now >= full.retry_at
        {
            full.retry_at = now + RETRY;
            self.storage.resume();
            self.send();
        }
    }
}
