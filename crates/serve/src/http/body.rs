//! Bodies that strangers send: read within limits of size, time and number.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use coord::push::{Headers, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many requests may be on their way at a time.
const REQUESTS: usize = 500;
/// A body may have so many bytes, after it was inflated.
const BYTES: usize = 16 << 20;
/// A body must be there after this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The limits of all requests to sources together.
pub(super) struct Intake {
    requests: Arc<Semaphore>,
    /// Bodies in memory, in KiB.
    memory: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        let memory = Arc::new(Semaphore::new(256 << 10));
        Intake { requests: Arc::new(Semaphore::new(REQUESTS)), memory }
    }
}

/// A request's place among those that are on their way.
pub(super) struct Place {
    _request: OwnedSemaphorePermit,
    memory: Arc<Semaphore>,
    held: Vec<OwnedSemaphorePermit>,
}

impl Intake {
    /// A place, if there is one.
    pub fn enter(&self) -> Result<Place, Refusal> {
        let full = |_| Refusal::new(429, "too many requests at a time; try again");
        let request = self.requests.clone().try_acquire_owned().map_err(full)?;
        Ok(Place { _request: request, memory: self.memory.clone(), held: vec![] })
    }
}

impl Place {
    /// Takes memory for what has come, in steps of a KiB.
    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held: usize = self.held.iter().map(OwnedSemaphorePermit::num_permits).sum();
        let more = bytes.div_ceil(1 << 10).saturating_sub(held);
        if more > 0 {
            let more = u32::try_from(more.max(64)).unwrap_or(u32::MAX);
            let full = |_| Refusal::new(429, "too many bytes at a time; try again");
            self.held.push(self.memory.clone().try_acquire_many_owned(more).map_err(full)?);
        }
        Ok(())
    }

    /// The whole body, inflated.
    pub async fn read(&mut self, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
        let late = |_| Refusal::new(408, "the body did not come in time");
        let raw = tokio::time::timeout(PATIENCE, self.collect(body)).await.map_err(late)??;
        match headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes().to_ascii_lowercase()) {
            None => Ok(raw),
            Some(e) if e.is_empty() || e == b"identity" => Ok(raw),
            Some(e) if e == b"gzip" || e == b"x-gzip" => self.inflate(&raw),
            Some(_) => Err(Refusal::new(415, "the content encoding is not known; use gzip")),
        }
    }

    async fn collect(&mut self, body: Body) -> Result<Vec<u8>, Refusal> {
        use futures::StreamExt;
        let mut stream = body.into_data_stream();
        let mut all = vec![];
        while let Some(part) = stream.next().await {
            let part = part.map_err(|e| Refusal::new(400, format!("the body cannot be read: {e}")))?;
            if all.len() + part.len() > BYTES {
                return Err(too_large());
            }
            self.hold(all.len() + part.len())?;
            all.extend_from_slice(&part);
        }
        Ok(all)
    }

    /// In steps, so that a small body that becomes a large one is stopped on its way.
    fn inflate(&mut self, raw: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut reader = flate2::read::MultiGzDecoder::new(raw);
        let (mut all, mut step) = (vec![], vec![0; 64 << 10]);
        loop {
            let n = reader
                .read(&mut step)
                .map_err(|e| Refusal::new(400, format!("the body is not valid gzip: {e}")))?;
            if n == 0 {
                return Ok(all);
            }
            if all.len() + n > BYTES {
                return Err(too_large());
            }
            self.hold(raw.len() + all.len() + n)?;
            all.extend_from_slice(&step[..n]);
        }
    }
}

fn too_large() -> Refusal {
    Refusal::new(413, format!("the body is larger than {} MiB", BYTES >> 20))
}

/// The headers by name. One that comes twice is refused: which of them counts would be a guess.
pub(super) fn headers(map: &HeaderMap) -> (Headers, Result<(), Refusal>) {
    let mut all = Headers::new();
    let mut twice = Ok(());
    for (name, value) in map {
        if all.insert(name.as_str().to_string(), value.as_bytes().to_vec()).is_some() {
            twice = Err(Refusal::new(401, format!("the header {name} comes more than once")));
        }
    }
    (all, twice)
}
