//! Session variables: what `SET` and `SHOW` know, with the defaults that Postgres clients expect.

use std::collections::BTreeMap;
use std::time::Duration;

use repr::SqlError;
use repr::error::code;

/// Name, default, whether a change is reported to the client (`ParameterStatus`).
const VARIABLES: [(&str, &str, bool); 37] = [
    ("allowed_cluster_replicas", "", false),
    ("application_name", "", true),
    ("auto_route_catalog_queries", "on", false),
    ("bytea_output", "hex", false),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", false),
    ("cluster", "quickstart", false),
    ("cluster_replica", "", false),
    ("database", "materialize", false),
    ("datestyle", "ISO, MDY", true),
    ("default_table_access_method", "heap", false),
    ("default_transaction_isolation", "strict serializable", false),
    ("default_transaction_read_only", "off", true),
    ("emit_timestamp_notice", "off", false),
    ("emit_trace_id_notice", "off", false),
    ("extra_float_digits", "3", false),
    ("failpoints", "omitted", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("in_hot_standby", "off", true),
    ("integer_datetimes", "on", true),
    ("intervalstyle", "postgres", true),
    ("is_superuser", "on", true),
    ("jit", "off", false),
    ("lock_timeout", "0", false),
    ("max_identifier_length", "255", false),
    ("max_query_result_size", "1GB", false),
    ("real_time_recency", "off", false),
    ("real_time_recency_timeout", "10s", false),
    ("row_security", "on", false),
    ("search_path", "public", true),
    ("server_encoding", "UTF8", true),
    ("server_version", "15.0", true),
    ("server_version_num", "150000", false),
    ("sql_safe_updates", "off", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", false),
    ("timezone", "UTC", true),
];

/// Variables that a statement cannot change.
const READ_ONLY: [&str; 7] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "max_identifier_length",
    "server_encoding",
    "server_version",
    "server_version_num",
];

/// One session's settings.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    set: BTreeMap<String, String>,
    /// Where this session's temporary tables are; empty outside of sessions.
    pub temporary_schema: String,
}

/// The names as Postgres spells them in `ParameterStatus`.
fn reported_name(name: &str) -> &str {
    match name {
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        "timezone" => "TimeZone",
        other => other,
    }
}

impl Variables {
    /// The defaults, for a session whose temporary tables are in this schema.
    pub fn of_session(temporary_schema: String) -> Variables {
        Variables { temporary_schema, ..Variables::default() }
    }

    /// The value now.
    pub fn get(&self, name: &str) -> Result<String, SqlError> {
        let name = canonical(name);
        if let Some(value) = self.set.get(&name) {
            return Ok(value.clone());
        }
        if let Some((_, default, _)) = VARIABLES.iter().find(|(n, ..)| *n == name) {
            return Ok((*default).into());
        }
        match name.as_str() {
            "transaction_isolation" => self.get("default_transaction_isolation"),
            "transaction_read_only" => Ok("off".into()),
            "session_authorization" => Ok("materialize".into()),
            _ => Err(unrecognized(&name)),
        }
    }

    /// Sets a value, or with none the default. Returns whether the client must be told, and under which name.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<Option<(String, String)>, SqlError> {
        let name = canonical(name);
        let Some((known, _, reported)) = VARIABLES.iter().find(|(n, ..)| *n == name) else {
            // Names with a dot are the user's own, as in Postgres.
            if name.contains('.') || name == "transaction_isolation" {
                match value {
                    Some(v) => self.set.insert(name, v.into()),
                    None => self.set.remove(&name),
                };
                return Ok(None);
            }
            return Err(unrecognized(&name));
        };
        if READ_ONLY.contains(known) {
            return Err(SqlError::new(
                repr::SqlState::new("55P02"),
                format!("parameter \"{name}\" cannot be changed"),
            ));
        }
        let value = value.map(|v| check(known, v)).transpose()?;
        match value {
            Some(v) => self.set.insert(name.clone(), v),
            None => self.set.remove(&name),
        };
        Ok(if *reported { Some((reported_name(&name).into(), self.get(&name)?)) } else { None })
    }

    /// What a client is told when it connects.
    pub fn reported(&self) -> Vec<(String, String)> {
        let reported = VARIABLES.iter().filter(|(.., reported)| *reported);
        reported.filter_map(|(n, ..)| Some((reported_name(n).to_string(), self.get(n).ok()?))).collect()
    }

    /// All names and values, in order.
    pub fn all(&self) -> Vec<(String, String)> {
        VARIABLES.iter().filter_map(|(n, ..)| Some((n.to_string(), self.get(n).ok()?))).collect()
    }

    /// The database of names that give none.
    pub fn database(&self) -> &str {
        self.set.get("database").map_or(crate::catalog::DATABASE, String::as_str)
    }

    /// The most bytes of a result, and how the setting says it.
    pub fn max_result(&self) -> (usize, String) {
        let text = self.get("max_query_result_size").unwrap_or_default();
        (bytes(&text).unwrap_or(usize::MAX), text)
    }

    /// Whether the client wants no notices.
    pub fn is_silent(&self) -> bool {
        let loud = ["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "info"];
        self.get("client_min_messages").is_ok_and(|level| !loud.contains(&level.as_str()))
    }

    /// `real_time_recency`: how long a read waits for what was in the topics when it began; none: it does not.
    pub fn recency(&self) -> Option<Duration> {
        let on = self.get("real_time_recency").is_ok_and(|v| v == "on");
        on.then(|| self.get("real_time_recency_timeout").ok().and_then(|t| duration(&t))).flatten()
    }

    /// The schemas of names that give none.
    pub fn search_path(&self) -> Vec<String> {
        let path = self.get("search_path").unwrap_or_default();
        path.split(',').map(|s| s.trim().trim_matches('"').to_string()).filter(|s| !s.is_empty()).collect()
    }
}

fn canonical(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "time zone" => "timezone".into(),
        "schema" => "search_path".into(),
        "names" => "client_encoding".into(),
        "transaction isolation level" => "transaction_isolation".into(),
        _ => lower,
    }
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(code::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// A time such as `10s`, or a number of milliseconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) =
        text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len()));
    let n: u64 = digits.parse().ok()?;
    match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        "min" => Some(Duration::from_secs(n.checked_mul(60)?)),
        _ => None,
    }
}

/// A size such as `1GB` or `1000`.
fn bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let units = ["b", "kb", "mb", "gb", "tb"];
    let unit = unit.trim().to_ascii_lowercase();
    let power = if unit.is_empty() { 0 } else { units.iter().position(|u| *u == unit)? };
    digits.parse::<usize>().ok()?.checked_mul(1 << (10 * power))
}

/// Refuses values that have no meaning here.
fn check(name: &str, value: &str) -> Result<String, SqlError> {
    let invalid = |hint: &str| {
        SqlError::new(
            code::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"{name}\": \"{value}\""),
        )
        .with_hint(hint.to_string())
    };
    match name {
        "timezone" => match value.to_ascii_lowercase().as_str() {
            "utc" | "gmt" | "+00:00" | "0" | "etc/utc" | "default" => Ok("UTC".into()),
            _ => Err(invalid("Sessions run in UTC; use AT TIME ZONE in a query.")),
        },
        "client_encoding" => match value.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" => Ok("UTF8".into()),
            _ => Err(invalid("Only UTF8 is supported.")),
        },
        "standard_conforming_strings" => match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" => Ok("on".into()),
            _ => Err(invalid("Only \"on\" is supported.")),
        },
        "max_query_result_size" => match bytes(value) {
            Some(_) => Ok(value.trim().into()),
            None => Err(invalid("A number of bytes, or one with a unit: B, kB, MB, GB, TB.")),
        },
        "client_min_messages" => {
            let level = value.to_ascii_lowercase();
            let levels = ["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice"];
            match levels.contains(&level.as_str()) || ["info", "warning", "error"].contains(&level.as_str()) {
                true => Ok(level),
                false => Err(invalid("Levels: debug5 to debug1, log, notice, info, warning, error.")),
            }
        }
        "real_time_recency" => match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" | "yes" => Ok("on".into()),
            "off" | "false" | "0" | "no" => Ok("off".into()),
            _ => Err(invalid("Write on or off.")),
        },
        "real_time_recency_timeout" => match duration(value) {
            Some(_) => Ok(value.trim().into()),
            None => Err(invalid("A time such as 500ms, 10s or 2min.")),
        },
        "datestyle" => Ok("ISO, MDY".into()),
        "intervalstyle" => Ok("postgres".into()),
        "bytea_output" if !value.eq_ignore_ascii_case("hex") => Err(invalid("Only \"hex\" is supported.")),
        _ => Ok(value.into()),
    }
}
