//! The Postgres wire protocol, version 3.
//!
//! ```text
//!   socket ──► frame (lengths, NULs, UTF-8 checked) ──► pgwire decodes ──► connection ──► coord::Session
//!   socket ◄── encode (rows straight into the output buffer) ◄─────────────────┘
//! ```

mod cancel;
mod connection;
mod encode;
mod frame;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coord::Handle;
use tokio::net::TcpListener;

use cancel::Cancels;
pub(crate) use encode::size_and_modifier;

/// How many connections are served at once; more get 53300.
pub const MAX_CONNECTIONS: usize = 500;

/// One of the connections that are counted.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener that serves SQL.
pub struct PgServer {
    listener: TcpListener,
    handle: Handle,
}

impl PgServer {
    /// Binds the address. Only loopback addresses are taken: there is no authentication yet.
    pub async fn bind(address: SocketAddr, handle: Handle) -> std::io::Result<PgServer> {
        crate::http::loopback_only(address)?;
        Ok(PgServer { listener: TcpListener::bind(address).await?, handle })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    pub async fn run(self) {
        let cancels = Arc::new(Cancels::default());
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let socket = match self.listener.accept().await {
                Ok((socket, _)) => socket,
                Err(e) => {
                    // Out of file descriptors, mostly: others must end first.
                    tracing::warn!(error = %e, "a connection could not be taken");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = socket.set_nodelay(true);
            let (handle, cancels, connections) = (self.handle.clone(), cancels.clone(), connections.clone());
            tokio::spawn(async move {
                let full = connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS;
                // Given back by a connection that panics, too.
                let _one = One(connections);
                connection::serve(socket, handle, cancels, full).await;
            });
        }
    }
}
