//! The ruler of W1: its six views by hand, one thread, hash maps, no engine. What the engine's rows are compared with,
//! and what its speed is divided by.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

type Hash = std::hash::BuildHasherDefault<ahash::AHasher>;

const TYPES: [&str; 6] = ["alias", "group", "identify", "page", "screen", "track"];

/// The fields that the views read, borrowed from a line where it has no escapes.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(rename = "userId", borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(rename = "messageId", borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow)]
    traits: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Revenue {
    revenue: f64,
}

#[derive(Deserialize)]
struct Traits<'a> {
    #[serde(borrow)]
    plan: Cow<'a, str>,
    logins: i64,
}

struct Newest {
    timestamp: String,
    message_id: String,
    plan: String,
    logins: i64,
}

/// The six views.
#[derive(Default)]
pub struct Views {
    calls: HashMap<(u8, [u8; 16]), i64, Hash>,
    /// Cents and orders.
    revenue: HashMap<String, (i64, i64), Hash>,
    newest: HashMap<String, Newest, Hash>,
    names: HashMap<String, i64, Hash>,
    viewed: HashSet<String, Hash>,
    added: HashSet<String, Hash>,
    ordered: HashSet<String, Hash>,
    funnel: [i64; 3],
    by_plan: BTreeMap<String, (i64, i64)>,
}

impl Views {
    /// Takes one event.
    pub fn line(&mut self, line: &[u8]) {
        let e: Event<'_> = serde_json::from_slice(line).expect("generated lines are valid");
        let kind = TYPES.iter().position(|t| *t == e.kind).expect("a known type") as u8;
        let minute = e.timestamp.as_bytes()[..16].try_into().expect("16 bytes");
        *self.calls.entry((kind, minute)).or_default() += 1;
        match &*e.kind {
            "track" => self.track(&e),
            "identify" => self.identify(&e),
            _ => {}
        }
    }

    fn track(&mut self, e: &Event<'_>) {
        let name = e.event.as_deref().expect("a track call has an event");
        match self.names.get_mut(name) {
            Some(n) => *n += 1,
            None => drop(self.names.insert(name.into(), 1)),
        }
        let Some(user) = e.user.as_deref() else { return };
        match name {
            "Order Completed" => {
                let r: Revenue =
                    serde_json::from_str(e.properties.expect("properties").get()).expect("revenue");
                let cents = (r.revenue * 100.0).round() as i64;
                match self.revenue.get_mut(user) {
                    Some(of_user) => *of_user = (of_user.0 + cents, of_user.1 + 1),
                    None => drop(self.revenue.insert(user.into(), (cents, 1))),
                }
                if let Some(newest) = self.newest.get(user) {
                    let f = self.by_plan.entry(newest.plan.clone()).or_default();
                    *f = (f.0 + cents, f.1 + 1);
                }
                if !self.ordered.contains(user) {
                    self.ordered.insert(user.into());
                    self.funnel[2] += (self.viewed.contains(user) && self.added.contains(user)) as i64;
                }
            }
            "Product Viewed" if !self.viewed.contains(user) => {
                self.viewed.insert(user.into());
                self.funnel[0] += 1;
                if self.added.contains(user) {
                    self.funnel[1] += 1;
                    self.funnel[2] += self.ordered.contains(user) as i64;
                }
            }
            "Product Added" if !self.added.contains(user) => {
                self.added.insert(user.into());
                if self.viewed.contains(user) {
                    self.funnel[1] += 1;
                    self.funnel[2] += self.ordered.contains(user) as i64;
                }
            }
            _ => {}
        }
    }

    fn identify(&mut self, e: &Event<'_>) {
        let Some(user) = e.user.as_deref() else { return };
        let old = self.newest.get(user);
        let order = (&*e.timestamp, &*e.message_id);
        if old.is_some_and(|o| order <= (&o.timestamp[..], &o.message_id[..])) {
            return;
        }
        let t: Traits<'_> = serde_json::from_str(e.traits.expect("traits").get()).expect("plan and logins");
        let plan = t.plan.into_owned();
        let new = Newest {
            timestamp: e.timestamp.clone().into_owned(),
            message_id: e.message_id.clone().into_owned(),
            plan: plan.clone(),
            logins: t.logins,
        };
        let old = self.newest.insert(user.into(), new);
        if old.as_ref().map(|o| &o.plan) == Some(&plan) {
            return;
        }
        if let Some(&(cents, orders)) = self.revenue.get(user) {
            if let Some(o) = old {
                let f = self.by_plan.get_mut(&o.plan).expect("counted before");
                *f = (f.0 - cents, f.1 - orders);
            }
            let f = self.by_plan.entry(plan).or_default();
            *f = (f.0 + cents, f.1 + orders);
        }
    }

    /// All rows as the view `w1_lines` has them, sorted by bytes.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![];
        for ((t, minute), n) in &self.calls {
            out.push(format!("a|{}|{}|{n}", TYPES[*t as usize], String::from_utf8_lossy(minute)));
        }
        out.extend(self.revenue.iter().map(|(u, (c, n))| format!("b|{u}|{c}|{n}")));
        out.extend(self.newest.iter().map(|(u, t)| format!("c|{u}|{}|{}", t.plan, t.logins)));
        let mut top: Vec<_> = self.names.iter().collect();
        top.sort_by(|x, y| y.1.cmp(x.1).then(x.0.cmp(y.0)));
        out.extend(top.iter().take(10).map(|(name, n)| format!("d|{name}|{n}")));
        out.push(format!("e|{}|{}|{}", self.funnel[0], self.funnel[1], self.funnel[2]));
        out.extend(self.by_plan.iter().filter(|p| p.1.1 != 0).map(|(p, (c, n))| format!("f|{p}|{c}|{n}")));
        out.sort();
        out
    }
}
