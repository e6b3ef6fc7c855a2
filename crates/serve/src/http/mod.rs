//! HTTP: health, metrics, SQL over JSON.
//!
//! | path | does |
//! |---|---|
//! | `GET /api/livez` | 200 while the process lives |
//! | `GET /api/readyz` | 200 once statements are answered |
//! | `GET /metrics` | figures in Prometheus' text form |
//! | `POST /api/sql` | `{"query": "…"}` or `{"queries": [{"query": "…", "params": […]}]}` → `{"results": […]}` |
//! | `POST /api/webhook/<database>/<schema>/<source>` | stores what is posted; 200 once it is durable |
//! | `POST /v1/track`, `identify`, … `batch`; `t`, `i`, … `b` | Segment's Tracking API, for sources `FROM SEGMENT` |
//! | `GET /v1/projects/<write key>/settings` | what the browser's library asks for first |
//! | `POST`, `GET /webhook?topic=T` | writes the body into a topic of a Kafka connection; 200 once all replicas have it |
//!
//! What is posted to sources may come from anywhere, that is what they are for; a source's CHECK says what it takes. No
//! web page can reach `/api/sql`: it takes only `application/json` (which a page may not send across origins without
//! being allowed to), only a loopback `Host`, and no foreign `Origin`.

mod body;
mod segment;
mod sql_api;
mod topic;
mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coord::Handle;
use tokio::net::TcpListener;

/// A listener that serves HTTP.
pub struct HttpServer {
    listener: TcpListener,
    handle: Handle,
}

impl HttpServer {
    /// Binds the address. Only loopback addresses are taken: there is no authentication yet.
    pub async fn bind(address: SocketAddr, handle: Handle) -> std::io::Result<HttpServer> {
        loopback_only(address)?;
        let listener = TcpListener::bind(address).await?;
        handle.serves_http_at(listener.local_addr()?);
        Ok(HttpServer { listener, handle })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    pub async fn run(self) {
        let intake = Arc::new(body::Intake::default());
        let router = Router::new()
            .route("/api/livez", get(|| async { "ok" }))
            .route("/api/readyz", get(|| async { "ready" }))
            .route("/metrics", get(metrics))
            .route("/api/sql", post(sql_api::sql))
            .merge(webhook::routes(intake.clone()))
            .merge(segment::routes(intake.clone()))
            .merge(topic::routes(intake))
            .with_state(self.handle);
        if let Err(e) = axum::serve(self.listener, router).await {
            tracing::error!(error = %e, "the HTTP server ended");
        }
    }
}

/// Refuses addresses that other machines can reach.
pub(crate) fn loopback_only(address: SocketAddr) -> std::io::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::PermissionDenied,
        format!(
            "{address} is not a loopback address, and there is no authentication yet: bind 127.0.0.1 or [::1]"
        ),
    ))
}

async fn metrics(State(handle): State<Handle>) -> String {
    let mut text = String::new();
    for (name, value) in handle.metrics().await {
        text.push_str(&format!("{name} {value}\n"));
    }
    if let Some(bytes) = resident() {
        text.push_str(&format!("process_resident_memory_bytes {bytes}\n"));
    }
    text
}

/// The memory that this process has, where the system says so (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

/// User and password of Basic authentication.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
    Some((user.to_string(), password.to_string()))
}

/// Whether the request may come from a program on this machine, and not from a web page.
pub(crate) fn local_request(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return Err((StatusCode::FORBIDDEN, "the Host header must name this machine"));
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.split_once("://").is_none_or(|(_, rest)| rest != host)
    {
        return Err((StatusCode::FORBIDDEN, "requests of web pages from elsewhere are refused"));
    }
    let json = text(header::CONTENT_TYPE)
        .is_some_and(|t| t.split(';').next().unwrap_or_default().trim() == "application/json");
    if !json {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json"));
    }
    Ok(())
}
