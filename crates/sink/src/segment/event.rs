//! Changes of a view as calls: which row becomes which call, and what Segment would drop without a word.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use repr::time::{to_char_tz, try_parse_timestamptz};
use repr::{Datum, RelationDesc, Row, ScalarType};
use sha1::{Digest, Sha1};

use super::EVENT_BYTES;

/// Which call a row becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The same for all: `track`, `identify`, `group`, `page`, `screen`, `alias`.
    Always(&'static str),
    /// What the column at this position says.
    Column(usize),
    /// A row that comes enters the audience of this name, one that goes leaves it.
    Audience(String),
}

/// The types of calls.
pub const CALLS: [&str; 6] = ["track", "identify", "group", "page", "screen", "alias"];

/// Columns that belong to calls of one type or some.
const OF_ONE_TYPE: [&str; 7] =
    ["event", "group_id", "previous_id", "properties", "traits", "name", "category"];

/// How rows become calls.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// A number that no other sink has: part of the ids of messages.
    pub sink: u64,
    /// The view's columns.
    pub desc: RelationDesc,
    /// Which call.
    pub call: Call,
    /// The key's columns: of changes of one key at one time only the last row counts.
    pub key: Vec<usize>,
}

/// A call as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its message id.
    pub id: String,
    /// Its JSON.
    pub json: String,
    /// Whose it is: calls of one user are sent in order.
    pub user: String,
}

impl Event {
    /// A call that was made before.
    pub fn again(id: &str, json: &str) -> Event {
        let body: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let text = |name| body.get(name).and_then(|v| v.as_str()).map(str::to_string);
        let user = text("userId").or(text("anonymousId")).unwrap_or_default();
        Event { id: id.into(), json: json.into(), user }
    }
}

/// A call that cannot be sent, or was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its message id.
    pub message_id: String,
    /// Why.
    pub reason: String,
    /// What the API answered, if it did.
    pub status: Option<u16>,
    /// How often it was sent.
    pub attempts: u32,
    /// The call.
    pub body: String,
}

impl Mapping {
    /// The calls of one time's changes, in an order that depends on nothing else.
    pub fn events(
        &self,
        time: u64,
        rows: impl IntoIterator<Item = (Row, i64)>,
    ) -> Vec<Result<Event, DeadLetter>> {
        let mut net: BTreeMap<Row, i64> = BTreeMap::new();
        for (row, diff) in rows {
            *net.entry(row).or_default() += diff;
        }
        net.retain(|_, diff| *diff != 0);
        if let Call::Audience(audience) = &self.call {
            return self.audience(audience, time, &net);
        }
        // As they happened, where the view says when; else by their values.
        let at = self.desc.columns.iter().position(|c| c.name == "timestamp");
        let mut net: Vec<(Row, i64)> = net.into_iter().filter(|(_, diff)| *diff > 0).collect();
        net.sort_by(|(a, _), (b, _)| {
            let (a, b) = (a.unpack(), b.unpack());
            at.map_or(Ordering::Equal, |at| a[at].cmp(&b[at])).then_with(|| a.cmp(&b))
        });
        if !self.key.is_empty() {
            // The last row of each key stays where it is.
            let mut seen = BTreeSet::new();
            net.reverse();
            net.retain(|(row, _)| seen.insert(self.key_of(row, &self.key)));
            net.reverse();
            net.iter_mut().for_each(|(_, diff)| *diff = 1);
        }
        let mut events = vec![];
        for (row, diff) in &net {
            for ordinal in 0..*diff {
                let kind = match &self.call {
                    Call::Always(kind) => kind.to_string(),
                    Call::Column(c) => self.texts(row)[*c].clone().unwrap_or_default(),
                    Call::Audience(_) => unreachable!("handled above"),
                };
                events.push(self.event(&kind, time, row, ordinal));
            }
        }
        events
    }

    fn key_of(&self, row: &Row, key: &[usize]) -> Row {
        let datums = row.unpack();
        Row::pack(key.iter().map(|c| datums[*c]))
    }

    /// The columns as text.
    fn texts(&self, row: &Row) -> Vec<Option<String>> {
        let text = |(datum, ty): (Datum<'_>, &ScalarType)| match datum {
            Datum::Null => None,
            datum => {
                let mut out = String::new();
                repr::text::print(datum, ty, &mut out);
                Some(out)
            }
        };
        row.iter().zip(self.desc.columns.iter().map(|c| &c.ty.scalar)).map(text).collect()
    }

    /// An id that is the same whenever the same change is sent, and no other's.
    fn message_id(&self, time: u64, row: &Row, ordinal: i64) -> String {
        let hash = Sha1::new()
            .chain_update(self.sink.to_be_bytes())
            .chain_update(time.to_be_bytes())
            .chain_update(ordinal.to_be_bytes())
            .chain_update(row.bytes());
        format!("deltamill-{}", hex::encode(hash.finalize()))
    }

    fn event(&self, kind: &str, time: u64, row: &Row, ordinal: i64) -> Result<Event, DeadLetter> {
        let texts = self.texts(row);
        let datums = row.unpack();
        let mut call = Fields::default();
        let mut inside = Fields::default();
        let container = match kind {
            "identify" | "group" => "traits",
            "alias" => "",
            _ => "properties",
        };
        let mut problem = (!CALLS.contains(&kind)).then(|| format!("\"{kind}\" is not a type of calls"));
        let mut id = None;
        let mut at = None;
        for (i, column) in self.desc.columns.iter().enumerate() {
            let (text, ty) = (texts[i].as_deref(), &column.ty.scalar);
            let json = || json(datums[i], ty, text);
            let place = match column.name.as_str() {
                _ if matches!(&self.call, Call::Column(c) if *c == i) => continue,
                "user_id" => "userId",
                "anonymous_id" => "anonymousId",
                "group_id" if ["group", "track", "page", "screen"].contains(&kind) => "groupId",
                "previous_id" if kind == "alias" => "previousId",
                "event" if kind == "track" => "event",
                "name" | "category" if kind == "page" || kind == "screen" => column.name.as_str(),
                "context" | "integrations" => {
                    if let Some(value) = text {
                        if value.starts_with('{') {
                            call.put(&column.name, value);
                        } else {
                            problem.get_or_insert(format!("{} must be an object", column.name));
                        }
                    }
                    continue;
                }
                "message_id" => {
                    id = text.map(str::to_string);
                    continue;
                }
                "timestamp" => {
                    at = text.map(|text| match datums[i] {
                        Datum::TimestampTz(micros) | Datum::Timestamp(micros) => Ok(micros),
                        _ => try_parse_timestamptz(text).ok_or(format!("\"{text}\" is not a timestamp")),
                    });
                    continue;
                }
                "properties" | "traits" if column.name == container => {
                    match text {
                        None => {}
                        Some(value) => {
                            match repr::json::members(value).filter(|_| *ty == ScalarType::Jsonb) {
                                Some(members) => members.iter().for_each(|(k, v)| inside.put(k, v)),
                                None => drop(problem.get_or_insert(format!("{container} must be an object"))),
                            }
                        }
                    }
                    continue;
                }
                // A column for calls of another type.
                name if matches!(self.call, Call::Column(_))
                    && text.is_none()
                    && OF_ONE_TYPE.contains(&name) =>
                {
                    continue;
                }
                name => {
                    inside.put(name, &json());
                    continue;
                }
            };
            // Ids and names are text, and left out where there are none.
            if let Some(text) = text.filter(|t| !t.is_empty()) {
                call.put(place, &quoted(text));
            }
        }
        let at = at.unwrap_or(Ok(i64::try_from(time).unwrap_or(i64::MAX).saturating_mul(1_000)));
        let at = at.unwrap_or_else(|e| {
            problem.get_or_insert(e);
            0
        });
        let needs = |field: &str| !call.0.contains_key(field);
        let missing = match kind {
            _ if problem.is_some() => None,
            "alias" if needs("userId") => Some("user_id"),
            "alias" if needs("previousId") => Some("previous_id"),
            "track" if needs("event") => Some("event"),
            "group" if needs("groupId") => Some("group_id"),
            _ if needs("userId") && needs("anonymousId") => Some("user_id and anonymous_id"),
            _ => None,
        };
        if let Some(missing) = missing {
            problem = Some(format!("{missing} missing"));
        }
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.message_id(time, row, ordinal));
        if id.chars().count() > 100 {
            problem.get_or_insert("the message id has more than 100 characters".into());
        }
        call.put("type", &quoted(kind));
        call.put("messageId", &quoted(&id));
        call.put("timestamp", &iso(at));
        if !container.is_empty() {
            call.put(container, &inside.json());
        }
        let json = call.json();
        if json.len() > EVENT_BYTES {
            problem.get_or_insert(format!("the call has {} bytes, {EVENT_BYTES} are allowed", json.len()));
        }
        match problem {
            None => Ok(Event { id, json, user: call.user() }),
            Some(reason) => Err(DeadLetter { message_id: id, reason, status: None, attempts: 0, body: json }),
        }
    }

    /// Of each member that came or went: its trait, and an event.
    fn audience(
        &self,
        audience: &str,
        time: u64,
        net: &BTreeMap<Row, i64>,
    ) -> Vec<Result<Event, DeadLetter>> {
        let id_columns =
            |c: &(usize, &repr::Column)| ["user_id", "anonymous_id"].contains(&c.1.name.as_str());
        let ids: Vec<usize> =
            self.desc.columns.iter().enumerate().filter(id_columns).map(|(i, _)| i).collect();
        let key = if self.key.is_empty() { &ids } else { &self.key };
        let mut members: BTreeMap<Row, (i64, &Row)> = BTreeMap::new();
        for (row, diff) in net {
            members.entry(self.key_of(row, key)).or_insert((0, row)).0 += diff;
        }
        let mut events = vec![];
        // Who only changed in other columns has neither come nor gone.
        for (diff, row) in members.into_values().filter(|(diff, _)| *diff != 0) {
            let entered = diff > 0;
            let mut call = Fields::default();
            for i in &ids {
                if let Some(text) = &self.texts(row)[*i] {
                    let name = if self.desc.columns[*i].name == "user_id" { "userId" } else { "anonymousId" };
                    call.put(name, &quoted(text));
                }
            }
            let nobody = call.0.is_empty();
            call.put("timestamp", &iso(i64::try_from(time).unwrap_or(i64::MAX).saturating_mul(1_000)));
            let base = self.message_id(time, row, i64::from(entered));
            let event = if entered { "Audience Entered" } else { "Audience Exited" };
            let mut inside = Fields::default();
            inside.put(audience, if entered { "true" } else { "false" });
            let mut identify = call.clone();
            identify.put("traits", &inside.json());
            inside.put("audience_key", &quoted(audience));
            let mut track = call;
            track.put("event", &quoted(event));
            track.put("properties", &inside.json());
            for (kind, mut call) in [("identify", identify), ("track", track)] {
                let id = format!("{base}-{kind}");
                call.put("type", &quoted(kind));
                call.put("messageId", &quoted(&id));
                let (json, user) = (call.json(), call.user());
                events.push(if nobody {
                    let reason = "user_id and anonymous_id missing".into();
                    Err(DeadLetter { message_id: id, reason, status: None, attempts: 0, body: json })
                } else {
                    Ok(Event { id, json, user })
                });
            }
        }
        events
    }
}

/// Members of an object; the later of equal names counts.
#[derive(Clone, Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn put(&mut self, name: &str, json: &str) {
        self.0.insert(name.into(), json.into());
    }

    /// Who the call is about, as text that is the same for all of one user.
    fn user(&self) -> String {
        let id = self.0.get("userId").or(self.0.get("anonymousId"));
        id.and_then(|id| serde_json::from_str(id).ok()).unwrap_or_default()
    }

    fn json(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(k, v)| format!("{}:{v}", quoted(k))).collect();
        format!("{{{}}}", members.join(","))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn iso(micros: i64) -> String {
    quoted(&to_char_tz(micros, "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\""))
}

/// A column's value as JSON: numbers and truth values as such, times as ISO 8601, all else as text.
fn json(datum: Datum<'_>, ty: &ScalarType, text: Option<&str>) -> String {
    let Some(text) = text else { return "null".into() };
    match (datum, ty) {
        (Datum::Bool(b), _) => b.to_string(),
        (_, ScalarType::Jsonb) => text.into(),
        (Datum::TimestampTz(micros) | Datum::Timestamp(micros), _) => iso(micros),
        (
            Datum::Int16(_)
            | Datum::Int32(_)
            | Datum::Int64(_)
            | Datum::UInt16(_)
            | Datum::UInt32(_)
            | Datum::UInt64(_)
            | Datum::Float32(_)
            | Datum::Float64(_)
            | Datum::Numeric(_),
            _,
        ) if repr::json::is_json(text) => text.into(),
        _ => quoted(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(call: Call, key: Vec<usize>) -> Mapping {
        let text = || ScalarType::Text.nullable(true);
        let desc = RelationDesc::new([
            ("user_id", text()),
            ("event", text()),
            ("n", ScalarType::Int64.nullable(true)),
        ]);
        Mapping { sink: 7, desc, call, key }
    }

    fn row(user: &str, n: i64) -> Row {
        Row::pack([Datum::Text(user), Datum::Text("E"), Datum::Int64(n)])
    }

    fn ids(events: Vec<Result<Event, DeadLetter>>) -> Vec<String> {
        events.into_iter().map(|e| e.expect("a good call").id).collect()
    }

    #[test]
    fn ids_follow_from_the_change_and_tell_equal_rows_apart() {
        let m = mapping(Call::Always("track"), vec![]);
        let rows =
            [(row("a", 1), 2), (row("b", 1), 1), (row("c", 1), 1), (row("c", 1), -1), (row("d", 1), -1)];
        let first = ids(m.events(5, rows.clone()));
        assert_eq!(first.len(), 3);
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        let mut reversed = rows.clone();
        reversed.reverse();
        assert_eq!(first, ids(m.events(5, reversed)), "whatever the order they come in");
        let later = ids(m.events(6, rows.clone()));
        let other = ids(Mapping { sink: 8, ..m }.events(5, rows));
        assert!(first.iter().all(|id| !later.contains(id) && !other.contains(id) && id.len() <= 100));
    }

    #[test]
    fn calls_of_one_time_come_in_the_order_of_their_values() {
        let m = mapping(Call::Always("track"), vec![]);
        let rows: Vec<_> = (0..600).rev().map(|n| (row("a", n), 1)).collect();
        let json: Vec<String> = m.events(5, rows).into_iter().map(|e| e.expect("a good call").json).collect();
        for (n, json) in json.iter().enumerate() {
            assert!(json.contains(&format!(r#""properties":{{"n":{n}}}"#)), "{n}: {json}");
        }
    }

    #[test]
    fn of_a_key_only_the_last_row_of_a_time_counts() {
        let m = mapping(Call::Always("track"), vec![0]);
        let events = m.events(5, [(row("a", 1), -1), (row("a", 2), 1), (row("a", 3), 1), (row("b", 1), -1)]);
        let json: Vec<String> = events.into_iter().map(|e| e.expect("a good call").json).collect();
        assert_eq!(json.len(), 1);
        assert!(json[0].contains(r#""properties":{"n":3}"#), "{}", json[0]);
    }

    #[test]
    fn members_that_only_change_neither_enter_nor_leave() {
        let m = mapping(Call::Audience("vip".into()), vec![]);
        let events = m.events(5, [(row("a", 1), -1), (row("a", 2), 1), (row("b", 1), 1), (row("c", 1), -1)]);
        let json: Vec<String> = events.into_iter().map(|e| e.expect("a good call").json).collect();
        assert_eq!(json.len(), 4);
        assert!(json[0].contains(r#""traits":{"vip":true}"#) && json[0].contains(r#""userId":"b""#));
        assert!(json[1].contains(r#""event":"Audience Entered""#));
        assert!(json[2].contains(r#""traits":{"vip":false}"#) && json[2].contains(r#""userId":"c""#));
        assert!(json[3].contains(r#""event":"Audience Exited""#));
    }
}
