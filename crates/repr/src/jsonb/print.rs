//! The text of JSON values.

use std::fmt;

use super::{Elements, Entries, Jsonb, JsonbValue};
use crate::json::special;

enum Level<'a> {
    Array(Elements<'a>),
    Object(Entries<'a>),
}

impl Jsonb<'_> {
    /// Appends the compact text, keys in byte order: `{"a":1,"b":[1,2]}`.
    pub fn write_json(self, out: &mut String) {
        self.write(out, None)
    }

    /// `jsonb_pretty`: an entry a line, four spaces a level.
    pub fn to_pretty(self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(4));
        out
    }

    /// Not recursive, so that depth costs no stack.
    fn write(self, out: &mut String, indent: Option<usize>) {
        let mut levels: Vec<Level<'_>> = vec![];
        let line = |out: &mut String, depth: usize| {
            if let Some(width) = indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', width * depth));
            }
        };
        let mut value = Some(self);
        loop {
            let mut opened = false;
            match value.take().map(Jsonb::value) {
                Some(JsonbValue::Null) => out.push_str("null"),
                Some(JsonbValue::Boolean(b)) => out.push_str(if b { "true" } else { "false" }),
                Some(JsonbValue::Number(n)) => {
                    use fmt::Write;
                    write!(out, "{n}").expect("strings take what is written");
                }
                Some(JsonbValue::String(s)) => write_string(s, out),
                Some(JsonbValue::Array(elements)) => {
                    out.push('[');
                    levels.push(Level::Array(elements));
                    opened = true;
                }
                Some(JsonbValue::Object(entries)) => {
                    out.push('{');
                    levels.push(Level::Object(entries));
                    opened = true;
                }
                None => {}
            }
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return };
            let next = match level {
                Level::Array(elements) => elements.next().map(|v| (None, v)),
                Level::Object(entries) => entries.next().map(|(k, v)| (Some(k), v)),
            };
            match next {
                Some((key, v)) => {
                    if !opened {
                        out.push(',');
                    }
                    line(out, depth);
                    if let Some(key) = key {
                        write_string(key, out);
                        out.push_str(if indent.is_some() { ": " } else { ":" });
                    }
                    value = Some(v);
                }
                None => {
                    line(out, depth - 1);
                    out.push(if matches!(level, Level::Array(_)) { ']' } else { '}' });
                    levels.pop();
                }
            }
        }
    }
}

/// The compact text.
impl fmt::Display for Jsonb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write_json(&mut out);
        f.write_str(&out)
    }
}

impl fmt::Debug for Jsonb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends a string in quotes, with escapes for quotes, backslashes and control characters only.
pub fn write_string(s: &str, out: &mut String) {
    out.push('"');
    let bytes = s.as_bytes();
    let mut done = 0;
    loop {
        let at = special(bytes, done);
        out.push_str(&s[done..at]);
        let Some(b) = bytes.get(at) else { break };
        done = at + 1;
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(HEX[usize::from(b >> 4)].into());
                out.push(HEX[usize::from(b & 15)].into());
            }
        }
    }
    out.push('"');
}
