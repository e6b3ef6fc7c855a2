//! `json_schema_violations`: what of a document breaks a JSON Schema, as tracking plans are written in it.
//!
//! The assertions of draft 7 but for `format`, `$ref` outside of the schema itself, `dependencies` and `contains`; as
//! the drafts demand, keywords that are not known say nothing.

use repr::jsonb::{JsonbKind, JsonbValue};
use repr::{Arena, Datum, EvalError, Jsonb, Numeric};

use super::pattern::regex_matches;
use super::registry::Table;

/// Schemas may refer to themselves; this many levels down is far enough for any event.
const DEPTH: usize = 64;

pub(super) fn register(t: &mut Table) {
    t.rows(
        "json_schema_violations",
        "json_schema_violations(jsonb, jsonb) -> (field text, type text, description text)",
        true,
        |a, m, emit| {
            let mut check = Check { root: a[0].jsonb(), found: vec![] };
            check.value(check.root, a[1].jsonb(), "", 0)?;
            for v in check.found {
                emit(&[Datum::Text(m.text(&v.field)), Datum::Text(v.keyword), Datum::Text(m.text(&v.text))]);
            }
            Ok(())
        },
    );
}

struct Violation {
    field: String,
    keyword: &'static str,
    text: String,
}

struct Check<'a> {
    root: Jsonb<'a>,
    found: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn add(&mut self, field: &str, keyword: &'static str, text: String) {
        self.found.push(Violation { field: field.into(), keyword, text });
    }

    /// Whether a value fulfils a schema, without telling.
    fn holds(&self, schema: Jsonb<'a>, value: Jsonb<'a>, depth: usize) -> Result<bool, EvalError> {
        let mut check = Check { root: self.root, found: vec![] };
        check.value(schema, value, "", depth)?;
        Ok(check.found.is_empty())
    }

    fn value(
        &mut self,
        schema: Jsonb<'a>,
        value: Jsonb<'a>,
        at: &str,
        depth: usize,
    ) -> Result<(), EvalError> {
        if depth > DEPTH {
            return Ok(());
        }
        if schema.as_bool() == Some(false) {
            self.add(at, "false", "nothing is allowed here".into());
        }
        // What a schema refers to takes its place.
        if let Some(to) = schema.get("$ref").and_then(Jsonb::as_str) {
            let steps = to.strip_prefix("#/").unwrap_or_default().split('/');
            let steps: Vec<String> = steps.map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
            return match self.root.get_path(steps.iter().map(String::as_str)) {
                Some(target) if to.starts_with("#/") => self.value(target, value, at, depth + 1),
                _ => Ok(()),
            };
        }
        self.kind(schema, value, at);
        if let Some(allowed) = schema.get("enum")
            && !allowed.elements().any(|e| e == value)
        {
            self.add(at, "enum", format!("{} is not one of {}", shown(value), shown(allowed)));
        }
        if let Some(only) = schema.get("const")
            && only != value
        {
            self.add(at, "const", format!("{} is not {}", shown(value), shown(only)));
        }
        match value.value() {
            JsonbValue::String(s) => self.string(schema, s, at)?,
            JsonbValue::Number(n) => self.number(schema, n, at),
            JsonbValue::Array(_) => self.array(schema, value, at, depth)?,
            JsonbValue::Object(_) => self.object(schema, value, at, depth)?,
            _ => {}
        }
        self.combined(schema, value, at, depth)
    }

    fn kind(&mut self, schema: Jsonb<'a>, value: Jsonb<'a>, at: &str) {
        let Some(types) = schema.get("type") else { return };
        let is = |name: &str| match (name, value.kind()) {
            ("integer", JsonbKind::Number) => value.as_number().is_some_and(|n| n == n.trunc(0)),
            (name, kind) => name == kind.name(),
        };
        let fits = match types.as_str() {
            Some(name) => is(name),
            None => types.elements().filter_map(Jsonb::as_str).any(is),
        };
        if !fits {
            let wanted = types.as_str().map_or_else(|| shown(types), String::from);
            self.add(at, "type", format!("expected {wanted}, given {}", value.kind().name()));
        }
    }

    fn string(&mut self, schema: Jsonb<'a>, s: &str, at: &str) -> Result<(), EvalError> {
        let length = Numeric::from_i64(s.chars().count() as i64);
        self.bounds(schema, length, at, "characters", [("minLength", false), ("maxLength", true)]);
        if let Some(pattern) = schema.get("pattern").and_then(Jsonb::as_str)
            && !regex_matches(s, pattern, false)?
        {
            self.add(at, "pattern", format!("does not match {pattern}"));
        }
        Ok(())
    }

    fn number(&mut self, schema: Jsonb<'a>, n: Numeric, at: &str) {
        self.bounds(schema, n, at, "", [("minimum", false), ("maximum", true)]);
        for (keyword, above) in [("exclusiveMinimum", false), ("exclusiveMaximum", true)] {
            if let Some(bound) = schema.get(keyword).and_then(Jsonb::as_number)
                && if above { n >= bound } else { n <= bound }
            {
                let word = if above { "below" } else { "above" };
                self.add(at, keyword, format!("{n} is not {word} {bound}"));
            }
        }
        if let Some(step) = schema.get("multipleOf").and_then(Jsonb::as_number)
            && !step.is_zero()
            && n.rem(step).is_ok_and(|r| !r.is_zero())
        {
            self.add(at, "multipleOf", format!("{n} is not a multiple of {step}"));
        }
    }

    /// A least and a greatest size.
    fn bounds(
        &mut self,
        schema: Jsonb<'a>,
        n: Numeric,
        at: &str,
        of: &str,
        keywords: [(&'static str, bool); 2],
    ) {
        for (keyword, most) in keywords {
            if let Some(bound) = schema.get(keyword).and_then(Jsonb::as_number)
                && if most { n > bound } else { n < bound }
            {
                let text = format!(
                    "{n} {of} where {} {bound} are allowed",
                    if most { "at most" } else { "at least" }
                );
                self.add(at, keyword, text.replace("  ", " "));
            }
        }
    }

    fn array(
        &mut self,
        schema: Jsonb<'a>,
        value: Jsonb<'a>,
        at: &str,
        depth: usize,
    ) -> Result<(), EvalError> {
        let length = Numeric::from_i64(value.array_length().unwrap_or(0) as i64);
        self.bounds(schema, length, at, "elements", [("minItems", false), ("maxItems", true)]);
        if let Some(items) = schema.get("items") {
            for (i, element) in value.elements().enumerate() {
                let of = match items.kind() {
                    JsonbKind::Array => items.get_index(i as i64).or_else(|| schema.get("additionalItems")),
                    _ => Some(items),
                };
                if let Some(of) = of {
                    self.value(of, element, &format!("{at}/{i}"), depth + 1)?;
                }
            }
        }
        if schema.get("uniqueItems").and_then(Jsonb::as_bool) == Some(true) {
            let mut all: Vec<Jsonb<'_>> = value.elements().collect();
            all.sort_unstable();
            if all.windows(2).any(|w| w[0] == w[1]) {
                self.add(at, "uniqueItems", "an element comes twice".into());
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        schema: Jsonb<'a>,
        value: Jsonb<'a>,
        at: &str,
        depth: usize,
    ) -> Result<(), EvalError> {
        let members = Numeric::from_i64(value.entries().count() as i64);
        self.bounds(schema, members, at, "members", [("minProperties", false), ("maxProperties", true)]);
        let below = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        for key in schema.get("required").into_iter().flat_map(Jsonb::elements).filter_map(Jsonb::as_str) {
            if value.get(key).is_none() {
                self.add(&below(key), "required", format!("\"{key}\" is required"));
            }
        }
        for (key, member) in value.entries() {
            let mut known = false;
            if let Some(of) = schema.get("properties").and_then(|p| p.get(key)) {
                known = true;
                self.value(of, member, &below(key), depth + 1)?;
            }
            for (pattern, of) in schema.get("patternProperties").into_iter().flat_map(Jsonb::entries) {
                if regex_matches(key, pattern, false)? {
                    known = true;
                    self.value(of, member, &below(key), depth + 1)?;
                }
            }
            match schema.get("additionalProperties") {
                Some(more) if !known => match more.as_bool() {
                    Some(true) => {}
                    Some(false) => {
                        self.add(
                            &below(key),
                            "additionalProperties",
                            format!("\"{key}\" is not in the plan"),
                        );
                    }
                    None => self.value(more, member, &below(key), depth + 1)?,
                },
                _ => {}
            }
            if let Some(names) = schema.get("propertyNames") {
                let (arena, root) = (Arena::new(), self.root);
                let mut check = Check { root, found: vec![] };
                check.value(names, Jsonb::string(key, &arena), "", depth + 1)?;
                if !check.found.is_empty() {
                    self.add(&below(key), "propertyNames", format!("\"{key}\" is not allowed as a name"));
                }
            }
        }
        Ok(())
    }

    fn combined(
        &mut self,
        schema: Jsonb<'a>,
        value: Jsonb<'a>,
        at: &str,
        depth: usize,
    ) -> Result<(), EvalError> {
        for part in schema.get("allOf").into_iter().flat_map(Jsonb::elements) {
            self.value(part, value, at, depth + 1)?;
        }
        for (keyword, one) in [("anyOf", false), ("oneOf", true)] {
            let Some(parts) = schema.get(keyword) else { continue };
            let mut held = 0;
            for part in parts.elements() {
                held += usize::from(self.holds(part, value, depth + 1)?);
            }
            if held == 0 || one && held > 1 {
                let wanted = if one { "exactly one" } else { "any" };
                self.add(at, keyword, format!("{held} of the alternatives fit where {wanted} must"));
            }
        }
        if let Some(not) = schema.get("not")
            && self.holds(not, value, depth + 1)?
        {
            self.add(at, "not", "is what it must not be".into());
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.holds(condition, value, depth + 1)? { "then" } else { "else" };
            if let Some(branch) = schema.get(branch) {
                self.value(branch, value, at, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn shown(value: Jsonb<'_>) -> String {
    let mut out = String::new();
    super::compare::print_value(Datum::Jsonb(value), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use repr::json::parse;

    use super::*;

    fn violations(schema: &str, value: &str) -> Vec<String> {
        let arena = Arena::new();
        let args = [parse(schema, &arena).unwrap(), parse(value, &arena).unwrap()];
        let mut found = vec![];
        let f = crate::func::table_function("json_schema_violations").unwrap();
        (f.0.eval)(&args, &arena, &mut |row| {
            found.push(row.iter().map(Datum::text).collect::<Vec<_>>().join("|"));
        })
        .unwrap();
        found
    }

    #[test]
    fn a_tracking_plan_tells_what_is_wrong_and_where() {
        let plan = r##"{"type":"object","required":["event","userId"],"properties":{
            "event":{"const":"Order Completed"},
            "properties":{"type":"object","additionalProperties":false,"required":["revenue"],"properties":{
                "revenue":{"type":"number","minimum":0},"currency":{"enum":["EUR","USD"]},
                "order_id":{"type":["string","null"],"pattern":"^o[0-9]+$"},
                "products":{"type":"array","minItems":1,"items":{"$ref":"#/definitions/product"}}}}},
            "definitions":{"product":{"required":["sku"],"properties":{"quantity":{"type":"integer"}}}}}"##;
        let good = r#"{"event":"Order Completed","userId":"u","properties":{"revenue":12.50,"currency":"EUR","order_id":"o1","products":[{"sku":"a","quantity":2.0}]}}"#;
        assert_eq!(violations(plan, good), [""; 0]);
        let bad = r#"{"event":"Order","properties":{"currency":"GBP","order_id":"x","products":[{"quantity":1.5},{"sku":1}],"a/b":1}}"#;
        assert_eq!(
            violations(plan, bad),
            [
                "/userId|required|\"userId\" is required",
                "/event|const|\"Order\" is not \"Order Completed\"",
                "/properties/revenue|required|\"revenue\" is required",
                "/properties/a~1b|additionalProperties|\"a/b\" is not in the plan",
                "/properties/currency|enum|\"GBP\" is not one of [\"EUR\",\"USD\"]",
                "/properties/order_id|pattern|does not match ^o[0-9]+$",
                "/properties/products/0/sku|required|\"sku\" is required",
                "/properties/products/0/quantity|type|expected integer, given number",
            ]
        );
        let type_of = violations(
            plan,
            r#"{"event":"Order Completed","userId":1,"properties":{"revenue":"9","products":[]}}"#,
        );
        assert_eq!(
            type_of,
            [
                "/properties/products|minItems|0 elements where at least 1 are allowed",
                "/properties/revenue|type|expected number, given string",
            ]
        );
    }

    #[test]
    fn combinations_and_loops_end() {
        assert_eq!(violations("true", "1"), [""; 0]);
        assert_eq!(violations("false", "1"), ["|false|nothing is allowed here"]);
        let loops = r##"{"$ref":"#"}"##;
        assert_eq!(violations(loops, "1"), [""; 0]);
        let list = r##"{"properties":{"next":{"$ref":"#/properties/next"}}}"##;
        assert_eq!(violations(list, r#"{"next":1}"#), [""; 0]);
        let any = r#"{"anyOf":[{"type":"string"},{"minimum":5}],"not":{"const":7}}"#;
        assert_eq!(violations(any, "6"), [""; 0]);
        assert_eq!(violations(any, "3"), ["|anyOf|0 of the alternatives fit where any must"]);
        assert_eq!(violations(any, "7"), ["|not|is what it must not be"]);
        let one = r#"{"oneOf":[{"minimum":1},{"maximum":5}],"multipleOf":0.5}"#;
        assert_eq!(
            violations(one, "3.2"),
            [
                "|multipleOf|3.2 is not a multiple of 0.5",
                "|oneOf|2 of the alternatives fit where exactly one must"
            ]
        );
    }
}
