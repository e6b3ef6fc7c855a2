//! Sources that are pushed to: what a request must fulfil, what records it makes, and which requests were refused.
//!
//! A request is checked against the catalog of its moment, its records go to the source's reader (`source::push`), and
//! from there the way of all records. It is accepted once they are durable.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use plan::ScalarExpr;
use plan::scalar::Context;
use repr::{Arena, Datum, EvalError, GlobalId, ScalarType, Timestamp};
use source::segment::{Body, Call};
use source::{Durable, PushSender, Pushed, PushedRecord};
use sql::ObjectName;
use sql::plan::{BodyFormat, Check, CheckInput, SegmentFaults, SegmentPlan, SourceFrom, WebhookPlan};
use tokio::sync::oneshot;

use crate::catalog::CatalogState;
use crate::command::Command;
use crate::coordinator::Handle;

/// What sessions, the loop and HTTP share of pushing.
#[derive(Default)]
pub struct Push {
    /// The ways to running sources.
    senders: Mutex<HashMap<GlobalId, PushSender>>,
    /// The last refused requests, the newest last.
    refused: Mutex<VecDeque<Refused>>,
    /// Those that are not stored yet.
    fresh: Mutex<crate::refused::Fresh>,
    /// Where requests come in.
    address: OnceLock<SocketAddr>,
    /// Calls to the Tracking API so far: which of them are to fail.
    calls: AtomicU64,
    /// Nothing can be stored: the disk is full.
    disk_full: AtomicBool,
}

/// How many refused requests are remembered.
const REFUSED: usize = 1_000;
/// How much of a refused request's body is remembered.
const REFUSED_BODY: usize = 4 << 10;

/// A request that was not taken.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// The source it was meant for.
    pub source: GlobalId,
    /// The status it was answered with.
    pub status: u16,
    /// Why.
    pub reason: String,
    /// Its headers, credentials left out.
    pub headers: Headers,
    /// The start of its body.
    pub body: Vec<u8>,
}

/// The headers of a request, names in lower case.
pub type Headers = BTreeMap<String, Vec<u8>>;

/// Why a request is not taken: the status of its answer, what the sender is told and what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP's.
    pub status: u16,
    /// For the sender.
    pub message: String,
    /// For the owner of the source, who may know more.
    pub reason: String,
}

impl Refusal {
    /// The same to both.
    pub fn new(status: u16, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { status, reason: message.clone(), message }
    }

    fn disk_full() -> Refusal {
        Refusal::new(507, "no space is left on the server's disk; try again later")
    }

    fn shutting_down() -> Refusal {
        Refusal::new(503, "the source is not running, or stops at this moment; try again")
    }
}

impl Push {
    /// Says whether anything can be stored.
    pub(crate) fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Relaxed);
    }

    /// The way to a source that starts: what its reader reads.
    pub(crate) fn open(&self, id: GlobalId) -> source::PushSource {
        let (sender, source) = source::push_channel();
        lock(&self.senders).insert(id, sender);
        source
    }

    /// The source is gone.
    pub(crate) fn close(&self, id: GlobalId) {
        lock(&self.senders).remove(&id);
        lock(&self.refused).retain(|r| r.source != id);
    }

    /// All are.
    pub(crate) fn close_all(&self) {
        lock(&self.senders).clear();
    }

    /// The refused requests that are to be stored.
    pub(crate) fn take_fresh(&self, now: Instant) -> BTreeMap<GlobalId, (VecDeque<Refused>, u64)> {
        lock(&self.fresh).take(now)
    }

    /// The last refused requests.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        lock(&self.refused).iter().cloned().collect()
    }

    /// The URL that a webhook's requests go to; without its host where HTTP is not served.
    pub(crate) fn url(&self, name: &ObjectName) -> String {
        let parts = [&name.database, &name.schema, &name.item].map(|p| escaped(p));
        format!("{}/api/webhook/{}", self.host(), parts.join("/"))
    }

    /// Where HTTP is served; empty where it is not.
    pub(crate) fn host(&self) -> String {
        self.address.get().map_or_else(String::new, |a| format!("http://{a}"))
    }
}

/// Nothing panics under these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of a URL's path.
fn escaped(part: &str) -> String {
    let mut out = String::new();
    for b in part.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// A webhook, as it stands now.
pub struct Webhook {
    handle: Handle,
    catalog: Arc<CatalogState>,
    id: GlobalId,
    plan: Arc<WebhookPlan>,
}

impl Handle {
    /// Says where HTTP is served.
    pub fn serves_http_at(&self, address: SocketAddr) {
        let _ = self.shared.push.address.set(address);
    }

    /// The webhook of this name.
    pub fn webhook(&self, database: &str, schema: &str, item: &str) -> Option<Webhook> {
        let catalog = self.catalog();
        let name = ObjectName { database: database.into(), schema: schema.into(), item: item.into() };
        let id = *catalog.names.get(&name)?;
        let SourceFrom::Webhook(plan) = &catalog.sources.get(&id)?.from else { return None };
        let plan = plan.clone();
        Some(Webhook { handle: self.clone(), catalog, id, plan })
    }

    /// Now, as records have it.
    fn received(&self) -> i64 {
        i64::try_from(self.shared.clock.now()).unwrap_or(i64::MAX)
    }

    /// Hands records to a source and waits until they are durable.
    pub(crate) async fn push(
        &self,
        id: GlobalId,
        received: i64,
        records: Vec<PushedRecord>,
    ) -> Result<(), Refusal> {
        if records.is_empty() {
            return Ok(());
        }
        if self.shared.push.disk_full.load(Ordering::Relaxed) {
            return Err(Refusal::disk_full());
        }
        let (done, stored) = oneshot::channel();
        let durable = Durable::new(move || done.send(()).unwrap_or_default());
        let sender = lock(&self.shared.push.senders).get(&id).cloned().ok_or_else(Refusal::shutting_down)?;
        sender.send(Pushed { records, received, durable }).map_err(|_| Refusal::shutting_down())?;
        drop(sender);
        stored.await.map_err(|_| Refusal::shutting_down())
    }

    /// Remembers a request that was not taken.
    pub(crate) fn refused(&self, id: GlobalId, refusal: &Refusal, headers: &Headers, body: &[u8]) {
        let secret = |name: &str| ["authorization", "cookie", "proxy-authorization"].contains(&name);
        let shown = |(k, v): (&String, &Vec<u8>)| {
            (k.clone(), if secret(k) { b"(not shown)".to_vec() } else { v.clone() })
        };
        let refused = Refused {
            at: self.shared.clock.now(),
            source: id,
            status: refusal.status,
            reason: refusal.reason.clone(),
            headers: headers.iter().map(shown).collect(),
            body: body[..body.len().min(REFUSED_BODY)].to_vec(),
        };
        {
            let mut all = lock(&self.shared.push.refused);
            if all.len() == REFUSED {
                all.pop_front();
            }
            all.push_back(refused.clone());
        }
        let wait = lock(&self.shared.push.fresh).add(refused, self.shared.clock.instant());
        let Some(wait) = wait else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !wait.is_zero() => {
                let handle = self.clone();
                runtime.spawn(async move {
                    tokio::time::sleep(wait).await;
                    let _ = handle.send(Command::Refused);
                });
            }
            _ => drop(self.send(Command::Refused)),
        }
    }
}

impl Webhook {
    /// Takes a request: its body as it was sent, but inflated.
    pub async fn accept(&self, headers: &Headers, body: Vec<u8>) -> Result<(), Refusal> {
        let records = self.check(headers, &body).and_then(|()| self.records(headers, &body));
        let result = match records {
            Ok(records) => self.handle.push(self.id, self.handle.received(), records).await,
            Err(refusal) => Err(refusal),
        };
        result.inspect_err(|refusal| self.refused(refusal, headers, &body))
    }

    /// Remembers a request that was refused before it came here.
    pub fn refused(&self, refusal: &Refusal, headers: &Headers, body: &[u8]) {
        self.handle.refused(self.id, refusal, headers, body);
    }

    /// Whether the request fulfils the source's CHECK.
    fn check(&self, headers: &Headers, body: &[u8]) -> Result<(), Refusal> {
        let Some(check) = &self.plan.check else { return Ok(()) };
        let failed = |reason: String| Refusal {
            status: 400,
            message: "failed to validate the request".into(),
            reason: format!("failed to validate the request: {reason}"),
        };
        let mut secrets = vec![];
        for input in &check.inputs {
            if let CheckInput::Secret { id, .. } = input {
                let secret = self.catalog.secret(*id).map_err(|e| Refusal {
                    status: 404,
                    message: "a secret of the source is missing".into(),
                    reason: format!("{}: {}", e.message, e.detail.unwrap_or_default()),
                })?;
                secrets.push(secret);
            }
        }
        let now = self.handle.shared.clock.now();
        match plan::scalar::guarded(|| holds(check, headers, body, &secrets, now)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed("the CHECK is not true".into())),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    /// What the request brings.
    fn records(&self, headers: &Headers, body: &[u8]) -> Result<Vec<PushedRecord>, Refusal> {
        let kept = |(name, _): &(&String, &Vec<u8>)| {
            self.plan.headers.admits(name) || self.plan.mapped.contains(*name)
        };
        let headers: Vec<(String, Vec<u8>)> =
            headers.iter().filter(kept).map(|(k, v)| (k.clone(), v.clone())).collect();
        let record = |value: &[u8]| PushedRecord { value: value.to_vec(), headers: headers.clone() };
        let bad = |e: EvalError| {
            let detail = e.detail().map_or_else(String::new, |d| format!(" ({d})"));
            Refusal::new(400, format!("{}{detail}", e.message()))
        };
        let text = || repr::json::decode_utf8(body).map_err(bad);
        Ok(match self.plan.format {
            BodyFormat::Bytes => vec![record(body)],
            BodyFormat::Text => vec![record(text()?.as_bytes())],
            BodyFormat::Json { array } => {
                let documents = repr::json::documents(text()?).map_err(bad)?;
                let mut records = vec![];
                for document in documents {
                    match repr::json::elements(document).filter(|_| array) {
                        Some(elements) => records.extend(elements.into_iter().map(|e| record(e.as_bytes()))),
                        None => records.push(record(document.as_bytes())),
                    }
                }
                records
            }
        })
    }
}

/// The condition over one request.
fn holds(
    check: &Check,
    headers: &Headers,
    body: &[u8],
    secrets: &[Vec<u8>],
    now: Timestamp,
) -> Result<bool, EvalError> {
    let arena = Arena::new();
    let value = |bytes: &'_ [u8], as_bytes: bool| -> Result<Datum<'_>, EvalError> {
        let bytes = arena.bytes(bytes);
        if as_bytes { Ok(Datum::Bytes(bytes)) } else { repr::json::decode_utf8(bytes).map(Datum::Text) }
    };
    let mut secrets = secrets.iter();
    let mut columns = vec![];
    for input in &check.inputs {
        columns.push(match input {
            CheckInput::Body { bytes } => value(body, *bytes)?,
            CheckInput::Secret { bytes, .. } => {
                let secret = secrets.next().map_or(&[][..], Vec::as_slice);
                let line_end = secret.iter().rev().take_while(|b| b"\r\n".contains(b)).count();
                value(&secret[..secret.len() - line_end], *bytes)?
            }
            CheckInput::Headers { bytes } => {
                let mut entries = vec![];
                for (name, v) in headers {
                    entries.push((arena.text(name), value(v, *bytes)?));
                }
                arena.map(entries)
            }
        });
    }
    let mut condition = check.condition.clone();
    condition.walk_mut(&mut |e| {
        if matches!(e, ScalarExpr::Context(Context::Now)) {
            let micros = i64::try_from(now).unwrap_or(i64::MAX).saturating_mul(1_000);
            *e = ScalarExpr::literal(Datum::TimestampTz(micros), ScalarType::TimestampTz { precision: None });
        }
    });
    Ok(condition.eval(&columns, &arena)? == Datum::Bool(true))
}

/// A call to Segment's Tracking API, and the sources that take it.
pub struct SegmentCall {
    handle: Handle,
    sources: Vec<(GlobalId, SegmentPlan)>,
}

/// How the answer to a call goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// It waits so long,
    pub delay: Duration,
    /// and is then answered with this status and `Retry-After`, without being taken.
    pub answer: Option<(u16, Option<u64>)>,
}

impl Handle {
    /// The sources that calls with this write key go to: those that ask for it, and those that ask for none.
    pub fn segment(&self, key: Option<&str>) -> Result<SegmentCall, Refusal> {
        let catalog = self.catalog();
        let plan = |(id, s): (&GlobalId, &crate::catalog::SourceItem)| match &s.from {
            SourceFrom::Segment(plan) => Some((*id, plan.clone())),
            _ => None,
        };
        let mut sources: Vec<_> = catalog.sources.iter().filter_map(plan).collect();
        if sources.is_empty() {
            return Err(Refusal::new(404, "there is no source FROM SEGMENT"));
        }
        let is_key = |id: &GlobalId| {
            let secret = catalog.secret(*id).unwrap_or_default();
            let given = key.unwrap_or_default().as_bytes();
            let secret = secret.trim_ascii_end();
            let differing = secret.iter().zip(given).fold(0, |d, (a, b)| d | (a ^ b));
            !secret.is_empty() && secret.len() == given.len() && std::hint::black_box(differing) == 0
        };
        let takes = |plan: &SegmentPlan| plan.write_keys.is_empty() || plan.write_keys.iter().any(is_key);
        let all: Vec<GlobalId> = sources.iter().map(|(id, _)| *id).collect();
        sources.retain(|(_, plan)| takes(plan));
        if sources.is_empty() {
            let refusal = Refusal::new(401, "no source takes this write key");
            all.iter().for_each(|id| self.refused(*id, &refusal, &Headers::new(), &[]));
            return Err(refusal);
        }
        Ok(SegmentCall { handle: self.clone(), sources })
    }
}

impl SegmentCall {
    /// What is to go wrong with this call. Failures are spread evenly, so that a test knows how many there will be.
    pub fn fault(&self) -> Fault {
        let faulty = |f: &SegmentFaults| f.failing > 0 || f.delay > Duration::ZERO;
        let Some(faults) = self.sources.iter().map(|(_, p)| p.faults).find(faulty) else {
            return Fault::default();
        };
        let n = self.handle.shared.push.calls.fetch_add(1, Ordering::Relaxed) % 1_000_000;
        let failed = |n: u64| n * u64::from(faults.failing) / 1_000_000;
        let fails = failed(n + 1) > failed(n);
        Fault { delay: faults.delay, answer: fails.then_some((faults.status, faults.retry_after)) }
    }

    /// Takes the call's events.
    pub async fn accept(&self, call: Call, headers: &Headers, body: &str) -> Result<(), Refusal> {
        let received = self.handle.received();
        let read = Body::read(call, body).and_then(|b| b.events(received));
        let events = read.map_err(|e| self.refuse(Refusal::new(400, e), headers, body))?;
        for (id, plan) in &self.sources {
            if plan.strict
                && let Some(over) = events.iter().find_map(|e| e.over_limits.as_ref())
            {
                let refusal = Refusal::new(400, format!("over the limits of the Tracking API: {over}"));
                self.handle.refused(*id, &refusal, headers, body.as_bytes());
                return Err(refusal);
            }
        }
        let over = |text: &String| ("over-limits".to_string(), text.clone().into_bytes());
        let record = |event: &source::segment::Event| PushedRecord {
            value: event.json.clone().into_bytes(),
            headers: event.over_limits.iter().map(over).collect(),
        };
        for (id, _) in &self.sources {
            self.handle.push(*id, received, events.iter().map(record).collect()).await?;
        }
        Ok(())
    }

    /// Remembers that the call is refused.
    pub fn refuse(&self, refusal: Refusal, headers: &Headers, body: &str) -> Refusal {
        self.sources.iter().for_each(|(id, _)| self.handle.refused(*id, &refusal, headers, body.as_bytes()));
        refusal
    }
}
