//! Parses and plans on threads with very large stacks, so that no text can overflow the stack of a server thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::Sender;
use repr::SqlError;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run jobs in turn.
pub(crate) struct Planner {
    jobs: Sender<Job>,
}

/// Two: a long planning does not keep short ones waiting.
const THREADS: usize = 2;

impl Planner {
    pub fn start() -> Result<Planner, std::io::Error> {
        let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
        for i in 0..THREADS {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("planner-{i}")).stack_size(sql::STACK_BYTES).spawn(
                move || {
                    for job in queue {
                        job()
                    }
                },
            )?;
        }
        Ok(Planner { jobs })
    }

    /// Runs `f` on such a thread. A panic in it is an error of the statement, not of the server.
    pub async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move || {
            let planned = || {
                fail::point("planner");
                f()
            };
            let result = catch_unwind(AssertUnwindSafe(planned)).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                tracing::error!(%text, "planning a statement panicked");
                Err(SqlError::internal(format!("the statement could not be planned: {text}")))
            });
            let _ = reply.send(result);
        });
        self.jobs.send(job).map_err(|_| crate::coordinator::shutting_down())?;
        answer.await.map_err(|_| crate::coordinator::shutting_down())?
    }
}
