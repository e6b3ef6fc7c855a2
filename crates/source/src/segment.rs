//! What Segment's servers make of a call to the Tracking API: events as its destinations get them.
//!
//! ```text
//!   POST /v1/batch  {"batch": [{"type": "track", …}, …], "sentAt": …, "context": {…}, "writeKey": …}
//!   POST /v1/track  {"event": …, "sentAt": …}
//!        │
//!        └──► one event each: type, messageId, context and integrations merged, writeKey taken out,
//!             receivedAt = now, originalTimestamp = timestamp,
//!             timestamp = receivedAt − (sentAt − originalTimestamp)
//! ```
//!
//! What an event holds otherwise stays as it was written, letter by letter: numbers lose no digit.

use std::borrow::Cow;

use repr::time::{to_char_tz, try_parse_timestamptz};
use uuid::Uuid;

/// A single event may have so many bytes.
pub const EVENT_BYTES: usize = 32 << 10;
/// A body may have so many bytes.
pub const BODY_BYTES: usize = 500 << 10;
/// A batch may hold so many events.
pub const BATCH_EVENTS: usize = 2_500;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// One event of this type.
    One(&'static str),
    /// A batch of any types.
    Batch,
    /// Figures of the browser's library about itself, which nobody wants.
    Metrics,
}

impl Call {
    /// By the last part of the path: `track`, or `t` as the browser's library says.
    pub fn of(name: &str) -> Option<Call> {
        Some(match name {
            "track" | "t" => Call::One("track"),
            "identify" | "i" => Call::One("identify"),
            "page" | "p" => Call::One("page"),
            "screen" | "s" => Call::One("screen"),
            "group" | "g" => Call::One("group"),
            "alias" | "a" => Call::One("alias"),
            "batch" | "b" | "import" => Call::Batch,
            "m" => Call::Metrics,
            _ => return None,
        })
    }
}

/// A body that was read: one call.
#[derive(Debug)]
pub struct Body<'a> {
    call: Call,
    members: Members<'a>,
    bytes: usize,
}

/// An event, ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its JSON.
    pub json: String,
    /// The limits of the live API that it, or the body it came in, breaks.
    pub over_limits: Option<String>,
}

/// An object: keys without escapes, values as they were written.
type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

fn get<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    members.iter().rev().find(|(k, _)| k == key).map(|(_, v)| *v).filter(|v| *v != "null")
}

/// A JSON string's value; of a number its text.
fn text(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('"') {
        let string: String = serde_json::from_str(value).ok()?;
        return Some(Cow::Owned(string));
    }
    value.starts_with(|c: char| c.is_ascii_digit()).then_some(Cow::Borrowed(value))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> Body<'a> {
    /// Reads a body. Errors say what is wrong with it.
    pub fn read(call: Call, body: &'a str) -> Result<Body<'a>, String> {
        let documents = repr::json::documents(body).map_err(|e| {
            let detail = e.detail().map_or_else(String::new, |d| format!(" ({d})"));
            format!("the body is not valid JSON: {}{detail}", e.message())
        })?;
        let [document] = documents[..] else { return Err("the body must be one JSON object".into()) };
        let members = repr::json::members(document).ok_or("the body must be a JSON object")?;
        Ok(Body { call, members, bytes: body.len() })
    }

    /// The write key in the body, if it is there.
    pub fn write_key(&self) -> Option<String> {
        get(&self.members, "writeKey").and_then(text).map(Cow::into_owned)
    }

    /// The events, received at this time (ms).
    pub fn events(&self, received: i64) -> Result<Vec<Event>, String> {
        let mut events = match self.call {
            Call::Metrics => vec![],
            Call::One(kind) => vec![event(&self.members, Some(kind), &vec![], received)],
            Call::Batch => {
                let batch = get(&self.members, "batch").and_then(repr::json::elements);
                let batch = batch.ok_or("the body must have an array \"batch\"")?;
                let mut events = vec![];
                for (i, item) in batch.into_iter().enumerate() {
                    let members = repr::json::members(item).ok_or(format!("batch[{i}] is not an object"))?;
                    let mut made = event(&members, None, &self.members, received);
                    if item.len() > EVENT_BYTES {
                        made.over_limits = Some(format!("event of {} bytes", item.len()));
                    }
                    events.push(made);
                }
                events
            }
        };
        if let (Call::One(_), [event]) = (self.call, &mut events[..])
            && self.bytes > EVENT_BYTES
        {
            event.over_limits = Some(format!("event of {} bytes", self.bytes));
        }
        let mut whole = vec![];
        if self.bytes > BODY_BYTES {
            whole.push(format!("body of {} bytes", self.bytes));
        }
        if events.len() > BATCH_EVENTS {
            whole.push(format!("batch of {} events", events.len()));
        }
        if !whole.is_empty() {
            for event in &mut events {
                let own = event.over_limits.take().into_iter();
                event.over_limits = Some(own.chain(whole.iter().cloned()).collect::<Vec<_>>().join(", "));
            }
        }
        Ok(events)
    }
}

/// The event as destinations get it. `around`: the batch it came in.
fn event(members: &Members<'_>, kind: Option<&str>, around: &Members<'_>, received: i64) -> Event {
    let own = |key: &str| get(members, key);
    let or_around = |key: &str| own(key).or_else(|| get(around, key));
    let mut out = String::with_capacity(512);
    let mut put = |key: &str, value: &str| {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&quoted(key));
        out.push(':');
        out.push_str(value);
    };
    match (kind, own("type")) {
        (Some(kind), _) => put("type", &quoted(kind)),
        (None, Some(kind)) => put("type", kind),
        (None, None) => {}
    }
    let set = ["type", "messageId", "context", "integrations", "writeKey"];
    let times = ["timestamp", "originalTimestamp", "sentAt", "receivedAt"];
    for (i, (key, value)) in members.iter().enumerate() {
        // Of equal keys the last counts.
        let later = members[i + 1..].iter().any(|(k, _)| k == key);
        if !later && !set.contains(&key.as_ref()) && !times.contains(&key.as_ref()) {
            put(key, value);
        }
    }
    match own("messageId").filter(|id| *id != "\"\"") {
        Some(id) => put("messageId", id),
        None => put("messageId", &quoted(&Uuid::new_v4().to_string())),
    }
    for key in ["context", "integrations"] {
        match (own(key), get(around, key)) {
            (Some(own), Some(around)) => put(key, &merged(around, own)),
            (Some(value), None) | (None, Some(value)) => put(key, value),
            (None, None) => {}
        }
    }
    let millis = |value: &str| Some(try_parse_timestamptz(&text(value)?)?.div_euclid(1_000));
    let original = own("timestamp").or_else(|| own("originalTimestamp"));
    let sent = or_around("sentAt");
    let at = match (original.and_then(millis), sent.and_then(millis)) {
        (Some(original), Some(sent)) => received.saturating_sub(sent.saturating_sub(original)),
        (Some(original), None) => original,
        (None, _) => received,
    };
    put("receivedAt", &iso(received));
    if let Some(sent) = sent {
        put("sentAt", sent);
    }
    if let Some(original) = original {
        put("originalTimestamp", original);
    }
    put("timestamp", &iso(at));
    out.push('}');
    Event { json: out, over_limits: None }
}

/// Both objects' members; `over` wins. What is no object is replaced whole.
fn merged(under: &str, over: &str) -> String {
    let (Some(under), Some(last)) = (repr::json::members(under), repr::json::members(over)) else {
        return over.to_string();
    };
    let kept = under.iter().filter(|(k, _)| !last.iter().any(|(l, _)| l == k));
    let members: Vec<String> = kept.chain(&last).map(|(k, v)| format!("{}:{v}", quoted(k))).collect();
    format!("{{{}}}", members.join(","))
}

/// Milliseconds since the epoch as a JSON string.
fn iso(millis: i64) -> String {
    let micros = millis.saturating_mul(1_000);
    // Years of five digits cannot come from a clock; they may from a broken `sentAt`.
    let in_range = micros > -62_000_000_000_000_000 && micros < 253_000_000_000_000_000;
    quoted(&to_char_tz(if in_range { micros } else { 0 }, "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: i64 = 1_767_323_046_000;

    fn events(call: &str, body: &str) -> Vec<Event> {
        Body::read(Call::of(call).expect("a call"), body).unwrap().events(RECEIVED).unwrap()
    }

    #[test]
    fn clocks_of_clients_are_corrected() {
        let body = r#"{"event":"A","userId":7,"messageId":"m1","writeKey":"k",
            "timestamp":"2026-01-01T00:00:00.500+00:00","sentAt":"2026-01-01T00:00:01.250Z","n":12345678901234567890.50}"#;
        assert_eq!(
            events("track", body)[0].json,
            concat!(
                r#"{"type":"track","event":"A","userId":7,"n":12345678901234567890.50,"messageId":"m1","#,
                r#""receivedAt":"2026-01-02T03:04:06.000Z","sentAt":"2026-01-01T00:00:01.250Z","#,
                r#""originalTimestamp":"2026-01-01T00:00:00.500+00:00","timestamp":"2026-01-02T03:04:05.250Z"}"#
            )
        );
        let ends = |body: &str, end: &str| {
            let json = &events("t", body)[0].json;
            assert!(json.ends_with(&format!("\"timestamp\":\"{end}\"}}")), "{json}");
        };
        ends(r#"{"messageId":"m"}"#, "2026-01-02T03:04:06.000Z");
        ends(r#"{"timestamp":"invalid-time","sentAt":"2026-01-01"}"#, "2026-01-02T03:04:06.000Z");
        ends(r#"{"timestamp":"2020-01-01T00:00:00Z"}"#, "2020-01-01T00:00:00.000Z");
        ends(r#"{"timestamp":"2020-01-01T00:00:00Z","sentAt":null}"#, "2020-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_batch_gives_its_events_what_they_share() {
        let body = r#"{"batch":[
              {"type":"identify","userId":"u","messageId":"1","context":{"ip":"1.2.3.4"}},
              {"type":"page","anonymousId":"a","integrations":{"All":false},"a":1,"a":2}],
            "sentAt":"2026-01-02T03:04:05Z","context":{"ip":"0.0.0.0","locale":"de"},"writeKey":"k"}"#;
        let all = events("batch", body);
        let json: Vec<serde_json::Value> =
            all.iter().map(|e| serde_json::from_str(&e.json).expect("JSON")).collect();
        assert_eq!(json[0]["context"], serde_json::json!({"locale": "de", "ip": "1.2.3.4"}));
        assert_eq!(json[1]["context"], serde_json::json!({"ip": "0.0.0.0", "locale": "de"}));
        assert_eq!(json[1]["integrations"]["All"], false);
        assert_eq!(json[1]["a"], 2);
        assert_eq!(json[0]["sentAt"], "2026-01-02T03:04:05Z");
        assert!(json[0].get("writeKey").is_none());
        assert_eq!(json[1]["messageId"].as_str().expect("one is made").len(), 36);
        assert_eq!(Body::read(Call::Batch, body).unwrap().write_key().as_deref(), Some("k"));
    }

    #[test]
    fn limits_are_noted_and_bad_bodies_refused() {
        let long =
            format!(r#"{{"batch":[{{"type":"track","p":"{}"}},{{"type":"track"}}]}}"#, "x".repeat(40_000));
        let over: Vec<_> = events("b", &long).into_iter().map(|e| e.over_limits).collect();
        assert_eq!(over, [Some("event of 40023 bytes".into()), None]);
        let many = format!(r#"{{"batch":[{}]}}"#, vec![r#"{"type":"track"}"#; 2_501].join(","));
        assert_eq!(events("import", &many)[7].over_limits.as_deref(), Some("batch of 2501 events"));
        assert_eq!(events("m", "{\"series\":[]}"), []);
        for (body, why) in [
            ("{\"a\":NaN}", "the body is not valid JSON: invalid input syntax for type json"),
            ("[]", "the body must be a JSON object"),
            ("", "the body must be one JSON object"),
            ("{}{}", "the body must be one JSON object"),
        ] {
            let e = Body::read(Call::Batch, body).expect_err(body);
            assert!(e.starts_with(why), "{e}");
        }
        let failed = |body| Body::read(Call::Batch, body).unwrap().events(0).unwrap_err();
        assert_eq!(failed("{}"), "the body must have an array \"batch\"");
        assert_eq!(failed(r#"{"batch":[{},1]}"#), "batch[1] is not an object");
    }
}
