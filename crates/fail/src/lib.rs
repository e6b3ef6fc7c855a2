//! Failpoints: places where tests make the program fail.
//!
//! A process that is started with `DELTAMILL_FAILPOINTS=site=action;site=action` (or with an empty one, to be filled by `SET
//! failpoints`) fails there. Without the variable a failpoint is one relaxed load of a flag that never changes, at places that
//! run once a batch, a statement or a tick, never once a row.
//!
//! | action | what happens |
//! |---|---|
//! | `panic` | the thread or task panics |
//! | `abort` | the process ends as if it was killed |
//! | `sleep(ms)` | the thread stands still |
//! | `off` | nothing |
//!
//! `panic@3` fails at the third time only, counted from when it was set.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The variable of the environment that switches failpoints on.
pub const VARIABLE: &str = "DELTAMILL_FAILPOINTS";

/// Every site there is, and what a panic there does: `true` if only the statement, connection or object fails, `false` if the
/// process ends.
pub const SITES: [(&str, bool); 12] = [
    ("planner", true),
    ("pg-statement", true),
    ("http-request", true),
    ("source-batch", true),
    ("worker-command", false),
    ("tick", false),
    ("tick-durable", false),
    ("catalog-change", false),
    ("storage-write", false),
    ("storage-sync", false),
    ("storage-acknowledge", false),
    ("storage-rewrite", false),
];

static ON: AtomicBool = AtomicBool::new(false);
static ARMED: Mutex<BTreeMap<String, Armed>> = Mutex::new(BTreeMap::new());

#[derive(Clone, Debug)]
struct Armed {
    action: Action,
    /// At this hit only; none: at each.
    at: Option<u64>,
    hits: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Panic,
    Abort,
    Sleep(Duration),
}

/// Reads the environment. Call it first in `main`.
pub fn init() -> Result<(), String> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    ON.store(true, Ordering::Relaxed);
    set(&text.to_string_lossy())
}

/// Whether this process has failpoints.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Arms these sites and no others. An error says what is not understood.
pub fn set(text: &str) -> Result<(), String> {
    if !is_on() {
        return Err(format!(
            "failpoints are off: the environment had no {VARIABLE} when this process started"
        ));
    }
    let mut armed = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (site, action) = part.split_once('=').ok_or_else(|| format!("\"{part}\" is not site=action"))?;
        if !SITES.iter().any(|(s, _)| *s == site) {
            return Err(format!("there is no site \"{site}\""));
        }
        let (action, at) = match action.split_once('@') {
            Some((action, at)) => {
                (action, Some(at.parse().map_err(|_| format!("\"{at}\" is not a number"))?))
            }
            None => (action, None),
        };
        let sleep =
            action.strip_prefix("sleep(").and_then(|a| a.strip_suffix(')')).and_then(|ms| ms.parse().ok());
        let action = match (action, sleep) {
            ("off", _) => continue,
            ("panic", _) => Action::Panic,
            ("abort", _) => Action::Abort,
            (_, Some(ms)) => Action::Sleep(Duration::from_millis(ms)),
            _ => return Err(format!("\"{action}\" is not panic, abort, sleep(ms) or off")),
        };
        armed.insert(site.to_string(), Armed { action, at, hits: 0 });
    }
    *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    Ok(())
}

/// A place that may fail.
#[inline]
pub fn point(site: &'static str) {
    if ON.load(Ordering::Relaxed) {
        hit(site);
    }
}

#[cold]
fn hit(site: &'static str) {
    debug_assert!(SITES.iter().any(|(s, _)| *s == site), "{site} is not among the sites");
    let action = {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(armed) = armed.get_mut(site) else { return };
        armed.hits += 1;
        if armed.at.is_some_and(|at| at != armed.hits) {
            return;
        }
        armed.action.clone()
    };
    match action {
        Action::Panic => panic!("failpoint {site}"),
        Action::Abort => {
            eprintln!("deltamill: failpoint {site}");
            std::process::abort();
        }
        Action::Sleep(time) => std::thread::sleep(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_armed_fails_when_its_time_has_come() {
        assert!(set("tick=panic").is_err(), "off until it is switched on");
        point("tick");
        ON.store(true, Ordering::Relaxed);
        for wrong in ["tick", "nowhere=panic", "tick=explode", "tick=panic@x"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        set("tick=panic@2; planner=sleep(1); source-batch=off").expect("it is understood");
        point("tick");
        point("planner");
        let panic = std::panic::catch_unwind(|| point("tick")).expect_err("the second time");
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("failpoint tick"));
        point("tick");
        set("").expect("none");
    }
}
