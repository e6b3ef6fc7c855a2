//! A panic of a thread that others cannot do without ends the process; that of an expression becomes an error of its row.

use std::sync::Once;

/// How the names of such threads begin: those that timely gives its workers, and those that write the log.
const VITAL: [&str; 4] = ["timely:work", "storage-encode", "storage-log", "storage-compact"];

/// Sees to it that a panic on a worker outside [`plan::scalar::guarded`], or on a thread that writes the log, ends the
/// process: a worker's siblings would wait forever for progress, and all others for what is never durable. A frozen server is
/// the worst outcome. A restart replays the log.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if plan::scalar::is_guarded() {
                return;
            }
            default(info);
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if VITAL.iter().any(|vital| name.starts_with(vital)) {
                eprintln!(
                    "deltamill: a fault on the thread {name}; the process ends, a restart replays the log"
                );
                std::process::abort();
            }
        }));
    });
}
