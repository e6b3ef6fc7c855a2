//! One request to the Tracking API, and what its answer means.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What a request came to.
pub(super) enum Answer {
    Taken,
    /// Not now; after this time, if the server says when.
    Later {
        status: Option<u16>,
        after: Option<Duration>,
        why: String,
    },
    /// Never.
    Refused(u16, String),
}

/// The API of one source of Segment.
pub(super) struct Api {
    agent: ureq::Agent,
    url: String,
    write_key: String,
}

impl Api {
    pub fn new(url: &str, write_key: &str) -> Api {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("deltamill/", env!("CARGO_PKG_VERSION")))
            .build();
        let url = format!("{}/v1/batch", url.trim_end_matches('/'));
        Api { agent: agent.into(), url, write_key: write_key.into() }
    }

    /// Posts calls, for the first time or again. `now`: ms since the epoch.
    pub fn post<'a>(&self, calls: impl Iterator<Item = &'a str>, retries: u32, now: u64) -> Answer {
        let micros = i64::try_from(now).unwrap_or(i64::MAX).saturating_mul(1_000);
        let sent = repr::time::to_char_tz(micros, "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"");
        let batch: Vec<&str> = calls.collect();
        let key = serde_json::Value::from(self.write_key.as_str());
        let body = format!("{{\"batch\":[{}],\"sentAt\":\"{sent}\",\"writeKey\":{key}}}", batch.join(","));
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("authorization", format!("Basic {}", STANDARD.encode(format!("{}:", self.write_key))));
        if retries > 0 {
            request = request.header("x-retry-count", retries.to_string());
        }
        let mut response = match request.send(&body) {
            Ok(response) => response,
            // It may have been taken; the ids make a second time harmless.
            Err(e) => return Answer::Later { status: None, after: None, why: e.to_string() },
        };
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Answer::Taken;
        }
        let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let after = after.and_then(|v| retry_after(v, micros));
        let text = response.body_mut().with_config().limit(4 << 10).read_to_string().unwrap_or_default();
        let why = format!("Segment answered {status}: {}", text.trim());
        match status {
            408 | 410 | 429 | 460 => Answer::Later { status: Some(status), after, why },
            501 | 505 | 511 => Answer::Refused(status, why),
            500.. => Answer::Later { status: Some(status), after, why },
            _ => Answer::Refused(status, why),
        }
    }
}

/// Seconds, or a date; five minutes at most.
fn retry_after(value: &str, now_micros: i64) -> Option<Duration> {
    let seconds = match value.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let micros = repr::time::parse_timestamptz(value).ok()?.saturating_sub(now_micros);
            u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0) + 1
        }
    };
    Some(Duration::from_secs(seconds.min(300)))
}

/// Half a second, twice as long each time, a minute at most; a quarter of it by chance, so that senders spread.
pub(super) fn backoff(failures: u32, salt: &str) -> Duration {
    let base = 500u64.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(60_000);
    let hash = Sha1::new().chain_update(salt).chain_update(failures.to_be_bytes()).finalize();
    Duration::from_millis(base * 3 / 4 + base / 4 * u64::from(hash[0]) / 255)
}
