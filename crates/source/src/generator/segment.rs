//! The traffic of a shop's site and app, as Segment hands it on.
//!
//! ```text
//!   event number ─► round, place ─► visitor slot ─► session ─► user        (who: 50,000 users, long tail)
//!              └──► dice of (seed, number) ─► call type, event, amounts …  (what)
//! ```
//!
//! 512 visitors are on the site at any moment and take one step each a round, in an order that changes every round; a
//! visit has 2 to 24 steps. Every event follows from the seed and its number alone. So a stream is a prefix of every
//! longer one, and a reader goes on at any event without making those before it.
//!
//! The laws: 60 % track, 22 % page, 10 % identify, 5 % screen, 3 % group; 7 % of the track, page and screen calls have no
//! `userId`; a million events span a day; `timestamp` lags by up to 90 s behind arrival, mostly by little; an event has
//! 960 bytes on average. On demand some events come twice (same `messageId`, later `sentAt`), and some calls are alias.

use super::law::{self, Dice};
use super::text;

/// Visitors at a time.
const SLOTS: u64 = 512;

/// What a stream of events is like.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// When the first event arrives, ms since the epoch.
    pub start: u64,
    /// Between two arrivals, in microseconds.
    pub step_micros: u64,
    /// How much an event may lag behind its arrival, ms.
    pub max_lag: u64,
    /// The share of events that are an earlier one once more.
    pub repeats: f64,
    /// The share of alias calls.
    pub aliases: f64,
}

impl Traffic {
    /// Traffic with the faults of the real world: 0.5 % come twice, 0.3 % are alias calls.
    pub fn new(seed: u64) -> Traffic {
        Traffic { repeats: 0.005, aliases: 0.003, ..Traffic::clean(seed) }
    }

    /// Traffic in which every event comes once and nobody is renamed, from 2026-11-01 on.
    pub fn clean(seed: u64) -> Traffic {
        Traffic {
            seed,
            start: 1_793_491_200_000,
            step_micros: 86_400,
            max_lag: 90_000,
            repeats: 0.0,
            aliases: 0.0,
        }
    }
}

/// An endless stream of events, each one JSON object.
#[derive(Clone, Debug)]
pub struct SegmentEvents {
    traffic: Traffic,
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Track,
    Page,
    Identify,
    Screen,
    Group,
    Alias,
}

const CALLS: [(f64, Call); 5] = [
    (0.60, Call::Track),
    (0.22, Call::Page),
    (0.10, Call::Identify),
    (0.05, Call::Screen),
    (0.03, Call::Group),
];

/// Track events from frequent to rare.
const EVENTS: [&str; 20] = [
    "Product Viewed",
    "Product Added",
    "Product List Viewed",
    "Order Completed",
    "Product Clicked",
    "Cart Viewed",
    "Products Searched",
    "Checkout Started",
    "Checkout Step Viewed",
    "Payment Info Entered",
    "Product Removed",
    "Promotion Viewed",
    "Promotion Clicked",
    "Coupon Applied",
    "Product Shared",
    "Product Reviewed",
    "Order Refunded",
    "Signed In",
    "Signed Up",
    "Wishlist Product Added",
];

const PLANS: [(f64, &str); 5] =
    [(0.55, "free"), (0.20, "starter"), (0.15, "pro"), (0.07, "business"), (0.03, "enterprise")];

const COMPANIES: u64 = 2_000;
const PRODUCTS: f64 = 5_000.0;

const PLACES: [(&str, &str, &str, &str); 10] = [
    ("Berlin", "DE", "de-DE", "Europe/Berlin"),
    ("Chicago", "US", "en-US", "America/Chicago"),
    ("Lyon", "FR", "fr-FR", "Europe/Paris"),
    ("Málaga", "ES", "es-ES", "Europe/Madrid"),
    ("Leeds", "GB", "en-GB", "Europe/London"),
    ("Kraków", "PL", "pl-PL", "Europe/Warsaw"),
    ("Recife", "BR", "pt-BR", "America/Recife"),
    ("Nagoya", "JP", "ja-JP", "Asia/Tokyo"),
    ("Mumbai", "IN", "en-IN", "Asia/Kolkata"),
    ("Seattle", "US", "en-US", "America/Los_Angeles"),
];

const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
];

const PAGES: [(&str, &str); 8] = [
    ("/", "Home"),
    ("/collections/new", "New in"),
    ("/products/", "Product"),
    ("/cart", "Your cart"),
    ("/checkout", "Checkout"),
    ("/search", "Search results"),
    ("/help/returns", "Returns"),
    ("/account", "Your account"),
];

/// Names with a quotation mark and an escape among them, as real ones have.
const GOODS: [&str; 6] = [
    "Linen Shirt",
    "Walnut Desk",
    "24\\\" Monitor Arm",
    "Caf\\u00e9 Grinder",
    "Trail Shoes Übercloud",
    "Desk \\/ Floor Lamp",
];

const CAMPAIGNS: [(&str, &str); 4] =
    [("autumn-sale", "email"), ("brand-search", "cpc"), ("creators", "social"), ("none", "organic")];

/// Where a piece of text and the values between go.
macro_rules! put {
    ($out:expr $(, $piece:expr)+ $(,)?) => {{ $( Piece::put($piece, $out); )+ }};
}

/// Something that [`put!`] writes.
trait Piece {
    fn put(self, out: &mut Vec<u8>);
}
impl Piece for &str {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}
impl Piece for u64 {
    fn put(self, out: &mut Vec<u8>) {
        text::int(out, self);
    }
}
struct Money(u64);
impl Piece for Money {
    fn put(self, out: &mut Vec<u8>) {
        text::money(out, self.0);
    }
}
struct Time(u64);
impl Piece for Time {
    fn put(self, out: &mut Vec<u8>) {
        text::time(out, self.0);
    }
}
struct Pad(u64, usize);
impl Piece for Pad {
    fn put(self, out: &mut Vec<u8>) {
        text::padded(out, self.0, self.1);
    }
}
struct Uuid(u64, u64);
impl Piece for Uuid {
    fn put(self, out: &mut Vec<u8>) {
        text::uuid(out, self.0, self.1);
    }
}

impl SegmentEvents {
    /// The stream from its first event.
    pub fn new(traffic: Traffic) -> SegmentEvents {
        SegmentEvents { traffic, next: 0 }
    }

    /// The same stream from event `next` on, counted from 0.
    pub fn starting_at(self, next: u64) -> SegmentEvents {
        SegmentEvents { next, ..self }
    }

    /// Appends the next event to `out`, without a line end, and says when it arrives (its `receivedAt`), ms since the epoch.
    pub fn fill(&mut self, out: &mut Vec<u8>) -> u64 {
        let n = self.next;
        self.next += 1;
        let mut dice = Dice::new(self.traffic.seed, 1, n);
        let mut original = n;
        if n > 0 && dice.chance(self.traffic.repeats) {
            // A client that saw no answer sends again, soon.
            original = n - 1 - dice.below(n.min(2_000));
        }
        self.event(original, self.arrival(n), out)
    }

    /// When an event arrives at Segment.
    fn arrival(&self, n: u64) -> u64 {
        let micros = u128::from(n) * u128::from(self.traffic.step_micros);
        self.traffic.start + u64::try_from(micros / 1_000).unwrap_or(u64::MAX / 4)
    }

    /// Who makes event `n`.
    fn user(&self, n: u64) -> u64 {
        let (round, place) = (n / SLOTS, n % SLOTS);
        let order = law::mix(self.traffic.seed ^ law::mix(round));
        // An odd factor and any offset permute the slots.
        let slot = (place.wrapping_mul(order | 1).wrapping_add(order >> 32)) % SLOTS;
        let habits = law::mix(self.traffic.seed.wrapping_add(slot.wrapping_mul(0x517C_C1B7_2722_0A95)));
        let (steps, begun) = (2 + habits % 23, habits >> 40);
        let session = (round + begun) / steps;
        law::users().draw(&mut Dice::new(self.traffic.seed, 2 + slot, session)) as u64
    }

    /// Appends event `n` as it arrives at `arrival`.
    fn event(&self, n: u64, arrival: u64, out: &mut Vec<u8>) -> u64 {
        let seed = self.traffic.seed;
        let user = self.user(n);
        let mut dice = Dice::new(seed, 0, n);
        let call = if dice.chance(self.traffic.aliases) { Call::Alias } else { *dice.share(&CALLS) };
        let may_be_anonymous = matches!(call, Call::Track | Call::Page | Call::Screen);
        let anonymous = may_be_anonymous && dice.chance(0.07);
        let lag = (dice.unit().powi(6) * self.traffic.max_lag as f64) as u64;
        // What the device's clock says; Segment corrects it by the time of sending.
        let happened = self.arrival(n).saturating_sub(lag).max(self.traffic.start);
        let (received, sent) = (arrival + 120, arrival + 20);
        let timestamp = received - (sent - happened);
        let who = Dice::new(seed, 1 << 40, user).bits();
        let (city, country, locale, zone) = PLACES[(who % 10) as usize];
        let (campaign, medium) = CAMPAIGNS[(who >> 8) as usize % 4];
        let (path, title) = PAGES[dice.below(PAGES.len() as u64) as usize];
        let product = dice.unit().powi(2) * PRODUCTS;
        let product = product as u64;

        put!(out, "{\"anonymousId\":\"", Uuid(who, law::mix(who)), "\",\"channel\":\"");
        put!(
            out,
            if who & 7 == 0 { "server" } else { "client" },
            "\",\"context\":{\"campaign\":{\"medium\":\"",
            medium
        );
        put!(out, "\",\"name\":\"", campaign, "\"},\"ip\":\"10.");
        put!(
            out,
            who >> 16 & 255,
            ".",
            who >> 24 & 255,
            ".",
            who >> 32 & 255,
            "\",\"library\":{\"name\":\"analytics.js\","
        );
        put!(
            out,
            "\"version\":\"next-1.",
            who % 80,
            ".",
            who % 7,
            "\"},\"locale\":\"",
            locale,
            "\",\"page\":{\"path\":\""
        );
        page(out, path, product);
        put!(
            out,
            "\",\"referrer\":\"https://find.example/r/",
            dice.below(1_000),
            "\",\"search\":\"?c=",
            campaign
        );
        put!(
            out,
            "\"},\"timezone\":\"",
            zone,
            "\",\"userAgent\":\"",
            AGENTS[(who >> 40) as usize % 5],
            "\"},"
        );
        match call {
            Call::Track => self.track(n, product, &mut dice, out),
            Call::Page | Call::Screen => {
                put!(out, "\"name\":\"", title, "\",\"properties\":{\"path\":\"");
                page(out, path, product);
                put!(out, "\",\"title\":\"", title, " — Northwind Goods\",\"url\":\"https://shop.example");
                page(out, path, product);
                put!(
                    out,
                    "\",\"load_ms\":",
                    dice.below(3_000),
                    ",\"scroll\":0.",
                    Pad(dice.below(1_000), 3),
                    "},"
                );
            }
            Call::Identify => {
                put!(
                    out,
                    "\"traits\":{\"email\":\"user",
                    user,
                    "@mail.example\",\"name\":\"User ",
                    user,
                    "\",\"plan\":\""
                );
                put!(
                    out,
                    *dice.share(&PLANS),
                    "\",\"age\":",
                    18 + who % 60,
                    ",\"city\":\"",
                    city,
                    "\",\"country\":\"",
                    country
                );
                put!(
                    out,
                    "\",\"logins\":",
                    dice.below(500),
                    ",\"createdAt\":\"2025-",
                    Pad(1 + who % 12, 2),
                    "-"
                );
                put!(
                    out,
                    Pad(1 + who % 28, 2),
                    "T00:00:00.000Z\",\"address\":{\"street\":\"",
                    who % 999,
                    " Harbour Road\","
                );
                put!(
                    out,
                    "\"postalCode\":\"",
                    Pad(who % 99_999, 5),
                    "\"},\"tags\":[\"a",
                    who % 5,
                    "\",\"b",
                    who % 11,
                    "\"]},"
                );
            }
            Call::Group => {
                let company = user % COMPANIES;
                put!(
                    out,
                    "\"groupId\":\"company_",
                    company,
                    "\",\"traits\":{\"name\":\"Company ",
                    company,
                    "\",\"industry\":\""
                );
                put!(out, "industry ", company % 12, "\",\"employees\":", dice.below(5_000), ",\"plan\":\"");
                put!(out, *dice.share(&PLANS), "\"},");
            }
            Call::Alias => put!(out, "\"previousId\":\"", Uuid(who, law::mix(who)), "\","),
        }
        put!(out, "\"integrations\":{\"All\":true,\"Salesforce\":false},\"messageId\":\"ajs-");
        put!(out, Uuid(dice.bits(), n), "\",\"originalTimestamp\":\"", Time(happened));
        put!(
            out,
            "\",\"receivedAt\":\"",
            Time(received),
            "\",\"sentAt\":\"",
            Time(sent),
            "\",\"timestamp\":\""
        );
        put!(out, Time(timestamp), "\",\"type\":\"");
        let name = match call {
            Call::Track => "track",
            Call::Page => "page",
            Call::Identify => "identify",
            Call::Screen => "screen",
            Call::Group => "group",
            Call::Alias => "alias",
        };
        put!(out, name, "\",\"userId\":");
        if anonymous {
            put!(out, "null");
        } else {
            put!(out, "\"user_", Pad(user, 5), "\"");
        }
        put!(out, ",\"version\":2}");
        received
    }

    fn track(&self, n: u64, product: u64, dice: &mut Dice, out: &mut Vec<u8>) {
        let event = EVENTS[law::events(EVENTS.len()).draw(dice)];
        put!(out, "\"event\":\"", event, "\",\"properties\":{");
        match event {
            "Order Completed" => {
                let lines: Vec<(u64, u64, u64)> = (0..1 + dice.below(3))
                    .map(|_| ((dice.unit().powi(2) * PRODUCTS) as u64, price(dice), 1 + dice.below(3)))
                    .collect();
                let total: u64 = lines.iter().map(|(_, cents, quantity)| cents * quantity).sum();
                put!(
                    out,
                    "\"order_id\":\"order_",
                    Pad(n, 8),
                    "\",\"revenue\":",
                    Money(total),
                    ",\"currency\":\"USD\",\"tax\":"
                );
                put!(
                    out,
                    Money(total / 12),
                    ",\"shipping\":",
                    Money(if total > 5_000 { 0 } else { 495 }),
                    ",\"coupon\":"
                );
                put!(out, if dice.chance(0.2) { "\"AUTUMN10\"" } else { "null" }, ",\"products\":[");
                for (i, (product, cents, quantity)) in lines.into_iter().enumerate() {
                    put!(
                        out,
                        if i > 0 { "," } else { "" },
                        "{\"product_id\":\"p",
                        product,
                        "\",\"price\":",
                        Money(cents)
                    );
                    put!(out, ",\"quantity\":", quantity, "}");
                }
                put!(out, "]},");
            }
            "Products Searched" => {
                put!(
                    out,
                    "\"query\":\"",
                    GOODS[product as usize % GOODS.len()],
                    "\",\"results\":",
                    dice.below(200),
                    "},"
                );
            }
            "Signed In" | "Signed Up" => {
                let method = ["password", "google", "magic link"][dice.below(3) as usize];
                put!(
                    out,
                    "\"method\":\"",
                    method,
                    "\",\"remember\":",
                    if dice.chance(0.5) { "true" } else { "false" },
                    "},"
                );
            }
            _ => {
                put!(
                    out,
                    "\"product_id\":\"p",
                    product,
                    "\",\"sku\":\"sku-",
                    Pad(product, 5),
                    "\",\"category\":\"cat-",
                    product % 40
                );
                put!(
                    out,
                    "\",\"name\":\"",
                    GOODS[product as usize % GOODS.len()],
                    "\",\"brand\":\"brand-",
                    product % 25
                );
                put!(
                    out,
                    "\",\"price\":",
                    Money(price(dice)),
                    ",\"quantity\":",
                    1 + dice.below(3),
                    ",\"currency\":\"USD\","
                );
                put!(out, "\"position\":", dice.below(40), "},");
            }
        }
    }
}

impl Iterator for SegmentEvents {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1_100);
        self.fill(&mut out);
        Some(out)
    }
}

/// A price in cents: most are low.
fn price(dice: &mut Dice) -> u64 {
    199 + (dice.unit().powi(2) * 20_000.0) as u64
}

fn page(out: &mut Vec<u8>, path: &str, product: u64) {
    put!(out, path);
    if path.ends_with('/') && path.len() > 1 {
        put!(out, product);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn field<'a>(event: &'a str, name: &str) -> &'a str {
        let key = format!("\"{name}\":");
        let at = event.rfind(&key).map(|i| i + key.len()).unwrap_or_else(|| panic!("no {name} in {event}"));
        let rest = &event[at..];
        rest[..rest.find([',', '}']).expect("more follows")].trim_matches('"')
    }

    fn stream(traffic: Traffic, n: usize) -> Vec<String> {
        SegmentEvents::new(traffic).take(n).map(|e| String::from_utf8(e).expect("UTF-8")).collect()
    }

    #[test]
    fn a_seed_gives_one_stream_and_a_stream_is_a_prefix_of_longer_ones() {
        let long = stream(Traffic::new(5), 2_000);
        assert_eq!(long[..700], stream(Traffic::new(5), 700));
        assert_ne!(long, stream(Traffic::new(6), 2_000));
        let later: Vec<_> = SegmentEvents::new(Traffic::new(5)).starting_at(1_500).take(500).collect();
        assert!(later.iter().map(Vec::as_slice).eq(long[1_500..].iter().map(String::as_bytes)));
    }

    #[test]
    fn the_laws_hold() {
        let events = stream(Traffic::clean(1), 60_000);
        let (mut calls, mut names, mut users) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut anonymous, mut bytes, mut before, mut disorder) = (0, 0, "", 0);
        for e in &events {
            bytes += e.len();
            let call = field(e, "type");
            *calls.entry(call).or_insert(0) += 1;
            if call == "track" {
                *names.entry(field(e, "event")).or_insert(0) += 1;
            }
            match field(e, "userId") {
                "null" => anonymous += 1,
                user => *users.entry(user).or_insert(0) += 1,
            }
            let timestamp = field(e, "timestamp");
            disorder += usize::from(timestamp < before);
            before = timestamp;
        }
        let share = |n: usize| 100 * n / events.len();
        let shares: Vec<_> = calls.iter().map(|(c, n)| (*c, share(*n + 300))).collect();
        assert_eq!(shares, [("group", 3), ("identify", 10), ("page", 22), ("screen", 5), ("track", 60)]);
        let mean = bytes / events.len();
        assert!((945..=980).contains(&mean), "{mean} bytes an event");
        assert!((5..=7).contains(&share(anonymous)), "{anonymous}");
        assert_eq!(names.len(), EVENTS.len());
        assert!(
            names["Product Viewed"] > names["Product Added"]
                && names["Product Added"] > names["Order Completed"]
        );
        assert!(users.len() > 2_000 && users.values().max() > Some(&300), "{}", users.len());
        assert!(disorder > 10_000, "{disorder}");
        let unique: BTreeSet<_> = events.iter().map(|e| field(e, "messageId")).collect();
        assert_eq!(unique.len(), events.len());
    }

    #[test]
    fn repeats_and_aliases_come_on_demand() {
        let traffic = Traffic { repeats: 0.1, aliases: 0.1, ..Traffic::clean(3) };
        let events = stream(traffic, 5_000);
        let unique: BTreeSet<_> = events.iter().map(|e| field(e, "messageId")).collect();
        let repeated = events.len() - unique.len();
        assert!((350..=550).contains(&repeated), "{repeated}");
        let aliases = events.iter().filter(|e| field(e, "type") == "alias").count();
        assert!((400..=600).contains(&aliases), "{aliases}");
    }
}
