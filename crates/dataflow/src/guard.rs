//! A panic of a worker ends the process, unless it is that of an expression, which becomes an error of its row.

use std::sync::Once;

/// Sees to it that a panic on a worker outside [`plan::scalar::guarded`] ends the process: the worker's siblings would
/// wait forever for progress, and a frozen server is the worst outcome. A restart replays the log.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if plan::scalar::is_guarded() {
                return;
            }
            default(info);
            // The name that timely gives its worker threads.
            if std::thread::current().name().is_some_and(|n| n.starts_with("timely:work")) {
                eprintln!("internal error on a dataflow worker: the process ends; a restart replays the log");
                std::process::abort();
            }
        }));
    });
}
