//! `deltamill send`: one call to Segment's Tracking API, so that a first event takes no library.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Failure, output};

/// The flags of `send`.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("call").required(true)))]
pub(crate) struct Send {
    /// An event that somebody did.
    #[arg(long, value_name = "EVENT", group = "call")]
    track: Option<String>,
    /// What is known of a user: see --traits.
    #[arg(long, group = "call")]
    identify: bool,
    /// A page that somebody saw.
    #[arg(long, value_name = "NAME", group = "call")]
    page: Option<String>,
    /// A screen that somebody saw.
    #[arg(long, value_name = "NAME", group = "call")]
    screen: Option<String>,
    /// The group that a user belongs to: see --traits.
    #[arg(long, value_name = "GROUP_ID", group = "call")]
    group: Option<String>,
    /// The id that a user had before.
    #[arg(long, value_name = "PREVIOUS_ID", group = "call")]
    alias: Option<String>,
    /// Who. Without one, and without --anonymous: the anonymous "deltamill-send".
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Who, before they are known.
    #[arg(long, value_name = "ID")]
    anonymous: Option<String>,
    /// What belongs to an event, page or screen.
    #[arg(long, value_name = "JSON")]
    properties: Option<String>,
    /// What is known of a user or group.
    #[arg(long, value_name = "JSON")]
    traits: Option<String>,
    /// Where it happened.
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// When; default: now.
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// The message's id; default: the server makes one.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The write key.
    #[arg(long, env = "DELTAMILL_WRITE_KEY", default_value = "local", hide_env_values = true)]
    write_key: String,
    /// Where the API is served: this program's, or Segment's own.
    #[arg(long, env = "DELTAMILL_HTTP_URL", default_value = "http://127.0.0.1:6876")]
    url: String,
}

impl Send {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let (kind, body) = self.call()?;
        let url = format!("{}/v1/{kind}", self.url.trim_end_matches('/'));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .into();
        let request = agent.post(&url).header("content-type", "application/json");
        let mut response = request.send(body.to_string()).map_err(|e| {
            let hint = "Start a server with `deltamill serve`, or name it with --url.";
            Failure::new(4, format!("nothing answers at {}: {e}\n  hint: {hint}", self.url))
        })?;
        let status = response.status();
        let text = response.body_mut().read_to_string().unwrap_or_default();
        if !status.is_success() {
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let why = answer["message"].as_str().map_or(text, str::to_string);
            let hint = match status.as_u16() {
                404 => "\n  hint: CREATE SOURCE events FROM SEGMENT makes one.",
                401 => "\n  hint: --write-key must be a key that a source takes.",
                _ => "",
            };
            return Err(Failure::new(1, format!("not taken ({}): {why}{hint}", status.as_u16())));
        }
        if json {
            println!(
                "{}",
                output::json_line("sent", &[("call", json!(kind)), ("status", json!(status.as_u16()))])
            );
        } else {
            println!("taken");
        }
        Ok(())
    }

    /// The call's name and body.
    fn call(&self) -> Result<(&'static str, Value), Failure> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.into(), value));
        let kind = if let Some(event) = &self.track {
            put("event", json!(event));
            "track"
        } else if let Some(name) = &self.page {
            put("name", json!(name));
            "page"
        } else if let Some(name) = &self.screen {
            put("name", json!(name));
            "screen"
        } else if let Some(id) = &self.group {
            put("groupId", json!(id));
            "group"
        } else if let Some(id) = &self.alias {
            put("previousId", json!(id));
            "alias"
        } else {
            "identify"
        };
        put("writeKey", json!(self.write_key));
        for (name, value) in
            [("userId", &self.user), ("timestamp", &self.timestamp), ("messageId", &self.message_id)]
        {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        let nobody = self.user.is_none().then(|| "deltamill-send".to_string());
        if let Some(id) = self.anonymous.clone().or(nobody) {
            put("anonymousId", json!(id));
        }
        let with_traits = ["identify", "group"].contains(&kind);
        for (flag, fits, text) in [
            ("properties", ["track", "page", "screen"].contains(&kind), &self.properties),
            ("traits", with_traits, &self.traits),
            ("context", true, &self.context),
        ] {
            let Some(text) = text else { continue };
            if !fits {
                return Err(Failure::new(2, format!("--{flag} does not belong to {kind}")));
            }
            let value: Value = serde_json::from_str(text)
                .map_err(|e| Failure::new(2, format!("--{flag} is not JSON: {e}")))?;
            if !value.is_object() {
                let message = format!("--{flag} must be a JSON object, such as '{{\"plan\":\"pro\"}}'");
                return Err(Failure::new(2, message));
            }
            put(flag, value);
        }
        Ok((kind, Value::Object(body)))
    }
}
