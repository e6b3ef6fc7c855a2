//! Ctrl-C and SIGTERM.

use std::sync::mpsc;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM: a wish to end in order.
    Terminate,
}

/// Starts listening; the receiver gets every signal from now on.
pub(super) fn listen() -> std::io::Result<mpsc::Receiver<Signal>> {
    let (send, receive) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                let got = tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                };
                if send.send(got).is_err() {
                    return;
                }
            }
        })
    })?;
    Ok(receive)
}
