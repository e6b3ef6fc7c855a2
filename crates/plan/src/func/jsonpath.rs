//! SQL/JSON paths: `jsonb_path_query(data, '$.items[*] ? (@.price > 10).name')`.
//!
//! Lax mode, as by default in Postgres: arrays are unwrapped where a member is asked for, scalars count as arrays of
//! one, what is missing is left out. In a filter an error makes a comparison unknown. `strict` is read and taken as lax.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use repr::error::code;
use repr::jsonb::{JsonbKind, JsonbValue};
use repr::{Arena, Datum, EvalError, Jsonb, Numeric};

use super::pattern;
use super::registry::{FAILS, MAYBE_FAILS, Table};

/// More parsed paths than this on one thread: forget them and start again.
const CACHED_PATHS: usize = 128;
/// Nesting of a path's text.
const MAX_DEPTH: usize = 100;
/// Steps and operators of a path: each is a level of what is evaluated.
const MAX_STEPS: usize = 1000;

pub(super) fn register(t: &mut Table) {
    t.rows(
        "jsonb_path_query",
        "jsonb_path_query(jsonb, text) -> jsonb; jsonb_path_query(jsonb, text, jsonb) -> jsonb -- what a JSON path leads to",
        true,
        |a, m, emit| {
            query(a, m)?.into_iter().for_each(|j| emit(&[Datum::Jsonb(j)]));
            Ok(())
        },
    );
    t.add(
        "jsonb_path_query_array",
        "jsonb_path_query_array(jsonb, text) -> jsonb; jsonb_path_query_array(jsonb, text, jsonb) -> jsonb",
        FAILS,
        |a, _, m| Jsonb::array(query(a, m)?, m).map(Datum::Jsonb),
    );
    t.add(
        "jsonb_path_query_first",
        "jsonb_path_query_first(jsonb, text) -> jsonb; jsonb_path_query_first(jsonb, text, jsonb) -> jsonb",
        MAYBE_FAILS,
        |a, _, m| Ok(query(a, m)?.into_iter().next().map_or(Datum::Null, Datum::Jsonb)),
    );
    t.add(
        "jsonb_path_exists",
        "jsonb_path_exists(jsonb, text) -> bool; jsonb_path_exists(jsonb, text, jsonb) -> bool; jsonb @? text -> bool",
        MAYBE_FAILS,
        |a, _, m| Ok(Datum::Bool(!query(a, m)?.is_empty())),
    );
    t.add(
        "jsonb_path_match",
        "jsonb_path_match(jsonb, text) -> bool; jsonb_path_match(jsonb, text, jsonb) -> bool; jsonb @@ text -> bool",
        MAYBE_FAILS,
        |a, _, m| {
            Ok(match &query(a, m)?[..] {
                [one] if one.is_json_null() => Datum::Null,
                [one] => one.as_bool().map_or(Datum::Null, Datum::Bool),
                _ => Datum::Null,
            })
        },
    );
}

fn query<'a>(a: &[Datum<'a>], arena: &'a Arena) -> Result<Vec<Jsonb<'a>>, EvalError> {
    let path = parsed(a[1].text())?;
    let run = Run { root: a[0].jsonb(), vars: a.get(2).map(Datum::jsonb), arena };
    run.eval(&path, run.root, None)
}

enum Expr {
    Root,
    Current,
    Last,
    Var(String),
    Literal(Literal),
    Member(Box<Expr>, String),
    AnyMember(Box<Expr>),
    /// All values below, those at these depths.
    Descendants(Box<Expr>, usize, usize),
    AllElements(Box<Expr>),
    /// Single subscripts and ranges.
    Elements(Box<Expr>, Vec<(Expr, Option<Expr>)>),
    Filter(Box<Expr>, Box<Expr>),
    Method(Box<Expr>, Method),
    Arithmetic(u8, Box<Expr>, Box<Expr>),
    Negative(Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Exists(Box<Expr>),
    IsUnknown(Box<Expr>),
    StartsWith(Box<Expr>, Box<Expr>),
    LikeRegex(Box<Expr>, String, String),
}

enum Literal {
    Null,
    Bool(bool),
    Number(Numeric),
    String(String),
}

#[derive(Clone, Copy)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy)]
enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

// ---- evaluation

struct Run<'a> {
    root: Jsonb<'a>,
    vars: Option<Jsonb<'a>>,
    arena: &'a Arena,
}

fn wrong(message: &str) -> EvalError {
    EvalError::new(repr::SqlState::new("22038"), message)
}

impl<'a> Run<'a> {
    /// The values of an expression; of a predicate true, false, or null for unknown. `last` is the size of the array
    /// whose subscript this is.
    fn eval(&self, e: &Expr, current: Jsonb<'a>, last: Option<usize>) -> Result<Vec<Jsonb<'a>>, EvalError> {
        let number = |n: usize| Jsonb::number(Numeric::from_u64(n as u64), self.arena);
        Ok(match e {
            Expr::Root => vec![self.root],
            Expr::Current => vec![current],
            Expr::Last => match last {
                Some(n) => vec![Jsonb::number(Numeric::from_i64(n as i64 - 1), self.arena)],
                None => return Err(wrong("LAST is allowed only in array subscripts")),
            },
            Expr::Var(name) => match self.vars.and_then(|v| v.get(name)) {
                Some(value) => vec![value],
                None => {
                    return Err(EvalError::new(
                        code::UNDEFINED_OBJECT,
                        format!("could not find jsonpath variable \"{name}\""),
                    ));
                }
            },
            Expr::Literal(l) => vec![match l {
                Literal::Null => Jsonb::NULL,
                Literal::Bool(b) => Jsonb::boolean(*b),
                Literal::Number(n) => Jsonb::number(*n, self.arena),
                Literal::String(s) => Jsonb::string(s, self.arena),
            }],
            Expr::Member(of, key) => {
                let members = self.unwrapped(of, current, last)?.into_iter().filter_map(|j| j.get(key));
                members.collect()
            }
            Expr::AnyMember(of) => {
                let objects = self.unwrapped(of, current, last)?;
                objects.into_iter().flat_map(|j| j.entries().map(|(_, v)| v)).collect()
            }
            Expr::Descendants(of, from, to) => {
                let mut out = vec![];
                for j in self.eval(of, current, last)? {
                    descend(j, 0, *from, *to, &mut out);
                }
                out
            }
            Expr::AllElements(of) => {
                let mut out = vec![];
                for j in self.eval(of, current, last)? {
                    match j.kind() {
                        JsonbKind::Array => out.extend(j.elements()),
                        _ => out.push(j),
                    }
                }
                out
            }
            Expr::Elements(of, subscripts) => {
                let mut out = vec![];
                for j in self.eval(of, current, last)? {
                    let elements: Vec<Jsonb<'a>> =
                        if j.kind() == JsonbKind::Array { j.elements().collect() } else { vec![j] };
                    for (from, to) in subscripts {
                        let from = self.subscript(from, current, elements.len())?;
                        let to =
                            to.as_ref().map_or(Ok(from), |to| self.subscript(to, current, elements.len()))?;
                        for i in from.max(0)..=to.min(elements.len() as i64 - 1) {
                            out.push(elements[i as usize]);
                        }
                    }
                }
                out
            }
            Expr::Filter(of, condition) => {
                let mut out = vec![];
                for j in self.unwrapped(of, current, last)? {
                    if self.predicate(condition, j) == Some(true) {
                        out.push(j);
                    }
                }
                out
            }
            Expr::Method(of, Method::Type) => {
                let values = self.eval(of, current, last)?.into_iter();
                values.map(|j| Jsonb::string(j.kind().name(), self.arena)).collect()
            }
            Expr::Method(of, Method::Size) => {
                let values = self.eval(of, current, last)?.into_iter();
                values.map(|j| number(j.array_length().unwrap_or(1))).collect()
            }
            Expr::Method(of, Method::KeyValue) => {
                let mut out = vec![];
                for j in self.unwrapped(of, current, last)? {
                    if j.kind() != JsonbKind::Object {
                        return Err(wrong(
                            "jsonpath item method .keyvalue() can only be applied to an object",
                        ));
                    }
                    for (key, value) in j.entries() {
                        let pair =
                            [("key", Jsonb::string(key, self.arena)), ("value", value), ("id", number(0))];
                        out.push(Jsonb::object(pair, self.arena)?);
                    }
                }
                out
            }
            Expr::Method(of, method) => {
                let mut out = vec![];
                for j in self.unwrapped(of, current, last)? {
                    let n = match (j.as_number(), j.as_str(), method) {
                        (Some(n), ..) => n,
                        (None, Some(s), Method::Double) => Numeric::parse(s).map_err(|_| {
                            wrong("string argument of jsonpath item method .double() is not a valid representation of a double precision number")
                        })?,
                        _ => return Err(wrong("jsonpath item method can only be applied to a numeric value")),
                    };
                    let n = match method {
                        Method::Ceiling => n.ceil()?,
                        Method::Floor => n.floor()?,
                        Method::Abs => n.abs(),
                        _ => n,
                    };
                    out.push(Jsonb::number(n, self.arena));
                }
                out
            }
            Expr::Arithmetic(op, l, r) => {
                let (l, r) = (self.one_number(l, current, last)?, self.one_number(r, current, last)?);
                let n = match op {
                    b'+' => l.add(r)?,
                    b'-' => l.sub(r)?,
                    b'*' => l.mul(r)?,
                    b'/' => l.div(r)?,
                    _ => l.rem(r)?,
                };
                vec![Jsonb::number(n, self.arena)]
            }
            Expr::Negative(e) => {
                let mut out = vec![];
                for j in self.unwrapped(e, current, last)? {
                    let n = j.as_number().ok_or_else(|| {
                        wrong("operand of unary jsonpath operator - is not a numeric value")
                    })?;
                    out.push(Jsonb::number(n.neg(), self.arena));
                }
                out
            }
            _ => vec![match self.predicate(e, current) {
                Some(b) => Jsonb::boolean(b),
                None => Jsonb::NULL,
            }],
        })
    }

    /// The values, arrays among them taken apart by one level.
    fn unwrapped(
        &self,
        e: &Expr,
        current: Jsonb<'a>,
        last: Option<usize>,
    ) -> Result<Vec<Jsonb<'a>>, EvalError> {
        let values = self.eval(e, current, last)?;
        if values.iter().all(|j| j.kind() != JsonbKind::Array) {
            return Ok(values);
        }
        let mut out = vec![];
        for j in values {
            match j.kind() {
                JsonbKind::Array => out.extend(j.elements()),
                _ => out.push(j),
            }
        }
        Ok(out)
    }

    fn one_number(&self, e: &Expr, current: Jsonb<'a>, last: Option<usize>) -> Result<Numeric, EvalError> {
        match &self.unwrapped(e, current, last)?[..] {
            [one] => one.as_number(),
            _ => None,
        }
        .ok_or_else(|| wrong("operand of jsonpath operator is not a single numeric value"))
    }

    fn subscript(&self, e: &Expr, current: Jsonb<'a>, size: usize) -> Result<i64, EvalError> {
        let n = self.one_number(e, current, Some(size))?.trunc(0);
        n.to_i64().ok_or_else(|| wrong("jsonpath array subscript is out of integer range"))
    }

    /// True, false, or none for unknown.
    fn predicate(&self, e: &Expr, current: Jsonb<'a>) -> Option<bool> {
        match e {
            Expr::And(l, r) => match (self.predicate(l, current), self.predicate(r, current)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Expr::Or(l, r) => match (self.predicate(l, current), self.predicate(r, current)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Expr::Not(e) => self.predicate(e, current).map(|b| !b),
            Expr::IsUnknown(e) => Some(self.predicate(e, current).is_none()),
            Expr::Exists(e) => self.eval(e, current, None).ok().map(|v| !v.is_empty()),
            Expr::Compare(op, l, r) => {
                let (l, r) = (self.unwrapped(l, current, None).ok()?, self.unwrapped(r, current, None).ok()?);
                let mut unknown = false;
                for (l, r) in l.iter().flat_map(|l| r.iter().map(move |r| (*l, *r))) {
                    match compare(*op, l, r) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(false) }
            }
            Expr::StartsWith(l, r) => {
                let (l, r) = (self.unwrapped(l, current, None).ok()?, self.eval(r, current, None).ok()?);
                let prefix = r.first()?.as_str()?;
                self.any_string(&l, |s| Some(s.starts_with(prefix)))
            }
            Expr::LikeRegex(l, pattern, flags) => {
                let l = self.unwrapped(l, current, None).ok()?;
                let regex = pattern::compiled(pattern, flags, false).ok()?.0;
                self.any_string(&l, |s| Some(regex.is_match(s)))
            }
            other => match &self.eval(other, current, None).ok()?[..] {
                [one] => one.as_bool(),
                _ => None,
            },
        }
    }

    fn any_string(&self, values: &[Jsonb<'a>], f: impl Fn(&str) -> Option<bool>) -> Option<bool> {
        let mut unknown = false;
        for j in values {
            match j.as_str().and_then(&f) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(false) }
    }
}

/// Scalars of one kind compare; null is equal only to itself, and unequal to everything else.
fn compare(op: Comparison, l: Jsonb<'_>, r: Jsonb<'_>) -> Option<bool> {
    let order = match (l.value(), r.value()) {
        (JsonbValue::Null, JsonbValue::Null) => std::cmp::Ordering::Equal,
        (JsonbValue::Null, _) | (_, JsonbValue::Null) => {
            return Some(matches!(op, Comparison::Ne));
        }
        (JsonbValue::Array(_) | JsonbValue::Object(_), _)
        | (_, JsonbValue::Array(_) | JsonbValue::Object(_)) => {
            return None;
        }
        _ if l.kind() != r.kind() => return None,
        _ => l.cmp(&r),
    };
    Some(match op {
        Comparison::Eq => order.is_eq(),
        Comparison::Ne => order.is_ne(),
        Comparison::Lt => order.is_lt(),
        Comparison::Le => order.is_le(),
        Comparison::Gt => order.is_gt(),
        Comparison::Ge => order.is_ge(),
    })
}

fn descend<'a>(j: Jsonb<'a>, depth: usize, from: usize, to: usize, out: &mut Vec<Jsonb<'a>>) {
    if depth >= from {
        out.push(j);
    }
    if depth < to {
        match j.kind() {
            JsonbKind::Array => j.elements().for_each(|e| descend(e, depth + 1, from, to, out)),
            JsonbKind::Object => j.entries().for_each(|(_, v)| descend(v, depth + 1, from, to, out)),
            _ => {}
        }
    }
}

// ---- parsing

fn parsed(text: &str) -> Result<Rc<Expr>, EvalError> {
    thread_local!(static CACHE: RefCell<BTreeMap<String, Rc<Expr>>> = const { RefCell::new(BTreeMap::new()) });
    CACHE.with_borrow_mut(|cache| {
        if let Some(path) = cache.get(text) {
            return Ok(path.clone());
        }
        let mut p = Parser { text, rest: text, depth: 0, steps: 0 };
        p.word("strict");
        p.word("lax");
        let path = p.or()?;
        if !p.skip().is_empty() {
            return Err(p.bad());
        }
        if cache.len() >= CACHED_PATHS {
            cache.clear();
        }
        let path = Rc::new(path);
        cache.insert(text.to_string(), path.clone());
        Ok(path)
    })
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
    steps: usize,
}

impl<'t> Parser<'t> {
    fn bad(&self) -> EvalError {
        let near: String = self.rest.chars().take(20).collect();
        let e = EvalError::new(code::SYNTAX_ERROR, format!("syntax error in jsonpath \"{}\"", self.text));
        if near.is_empty() {
            e.with_detail("It ends too early.")
        } else {
            e.with_detail(format!("At \"{near}\"."))
        }
    }

    fn skip(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    /// Takes these characters, if they come next.
    fn take(&mut self, token: &str) -> bool {
        match self.skip().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), EvalError> {
        if self.take(token) { Ok(()) } else { Err(self.bad()) }
    }

    /// Takes this word, if it comes next and ends there.
    fn word(&mut self, word: &str) -> bool {
        let Some(rest) = self.skip().strip_prefix(word) else { return false };
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return false;
        }
        self.rest = rest;
        true
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, EvalError>) -> Result<T, EvalError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(EvalError::new(code::STATEMENT_TOO_COMPLEX, "jsonpath nests too deep"));
        }
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Counts one more level of the tree that grows to the left.
    fn step(&mut self) -> Result<(), EvalError> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(EvalError::new(code::STATEMENT_TOO_COMPLEX, "jsonpath has too many steps"));
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Expr, EvalError> {
        self.nested(|p| {
            let mut left = p.and()?;
            while p.take("||") {
                p.step()?;
                left = Expr::Or(left.into(), p.and()?.into());
            }
            Ok(left)
        })
    }

    fn and(&mut self) -> Result<Expr, EvalError> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            self.step()?;
            left = Expr::And(left.into(), self.comparison()?.into());
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr, EvalError> {
        if self.skip().starts_with('!') && !self.rest.starts_with("!=") {
            self.take("!");
            let operand = self.nested(Self::comparison)?;
            return Ok(Expr::Not(operand.into()));
        }
        let left = self.sum()?;
        const OPERATORS: [(&str, Comparison); 8] = [
            ("==", Comparison::Eq),
            ("!=", Comparison::Ne),
            ("<>", Comparison::Ne),
            ("<=", Comparison::Le),
            (">=", Comparison::Ge),
            ("<", Comparison::Lt),
            (">", Comparison::Gt),
            ("=", Comparison::Eq),
        ];
        for (token, op) in OPERATORS {
            if self.take(token) {
                return Ok(Expr::Compare(op, left.into(), self.sum()?.into()));
            }
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.bad());
            }
            return Ok(Expr::StartsWith(left.into(), self.sum()?.into()));
        }
        if self.word("like_regex") {
            let pattern = self.string()?;
            let flags = if self.word("flag") { self.string()? } else { String::new() };
            // A pattern that does not compile is an error of the path, not of each value.
            pattern::compiled(&pattern, &flags, false)?;
            return Ok(Expr::LikeRegex(left.into(), pattern, flags));
        }
        if self.word("is") {
            return if self.word("unknown") { Ok(Expr::IsUnknown(left.into())) } else { Err(self.bad()) };
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, EvalError> {
        let mut left = self.product()?;
        loop {
            let op = match self.skip().as_bytes().first() {
                Some(b @ (b'+' | b'-')) => *b,
                _ => return Ok(left),
            };
            self.rest = &self.rest[1..];
            self.step()?;
            left = Expr::Arithmetic(op, left.into(), self.product()?.into());
        }
    }

    fn product(&mut self) -> Result<Expr, EvalError> {
        let mut left = self.unary()?;
        loop {
            let op = match self.skip().as_bytes().first() {
                Some(b @ (b'*' | b'/' | b'%')) => *b,
                _ => return Ok(left),
            };
            self.rest = &self.rest[1..];
            self.step()?;
            left = Expr::Arithmetic(op, left.into(), self.unary()?.into());
        }
    }

    fn unary(&mut self) -> Result<Expr, EvalError> {
        if self.take("-") {
            let operand = self.nested(Self::unary)?;
            return Ok(Expr::Negative(operand.into()));
        }
        if self.take("+") {
            return self.nested(Self::unary);
        }
        self.steps()
    }

    fn steps(&mut self) -> Result<Expr, EvalError> {
        let mut e = self.primary()?;
        loop {
            self.step()?;
            if self.take(".**") {
                let (mut from, mut to) = (0, usize::MAX);
                if self.take("{") {
                    from = if self.word("last") { usize::MAX } else { self.int()? };
                    to = if !self.word("to") {
                        from
                    } else if self.word("last") {
                        usize::MAX
                    } else {
                        self.int()?
                    };
                    self.expect("}")?;
                }
                e = Expr::Descendants(e.into(), from, to);
            } else if self.take(".*") {
                e = Expr::AnyMember(e.into());
            } else if self.take(".") {
                let quoted = self.skip().starts_with('"');
                let name = if quoted { self.string()? } else { self.name()? };
                if !quoted && self.take("(") {
                    self.expect(")")?;
                    let method = match name.as_str() {
                        "type" => Method::Type,
                        "size" => Method::Size,
                        "double" | "number" | "decimal" => Method::Double,
                        "ceiling" => Method::Ceiling,
                        "floor" => Method::Floor,
                        "abs" => Method::Abs,
                        "keyvalue" => Method::KeyValue,
                        _ => return Err(self.bad()),
                    };
                    e = Expr::Method(e.into(), method);
                } else {
                    e = Expr::Member(e.into(), name);
                }
            } else if self.take("[") {
                if self.take("*") {
                    self.expect("]")?;
                    e = Expr::AllElements(e.into());
                    continue;
                }
                let mut subscripts = vec![];
                loop {
                    let from = self.nested(Self::sum)?;
                    let to = if self.word("to") { Some(self.nested(Self::sum)?) } else { None };
                    subscripts.push((from, to));
                    if !self.take(",") {
                        break;
                    }
                }
                self.expect("]")?;
                e = Expr::Elements(e.into(), subscripts);
            } else if self.take("?") {
                self.expect("(")?;
                let condition = self.or()?;
                self.expect(")")?;
                e = Expr::Filter(e.into(), condition.into());
            } else {
                return Ok(e);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, EvalError> {
        let c = self.skip().chars().next().ok_or_else(|| self.bad())?;
        match c {
            '$' => {
                self.rest = &self.rest[1..];
                if self.rest.starts_with('"') {
                    return Ok(Expr::Var(self.string()?));
                }
                if self.rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                    return Ok(Expr::Var(self.name()?));
                }
                Ok(Expr::Root)
            }
            '@' => {
                self.rest = &self.rest[1..];
                Ok(Expr::Current)
            }
            '(' => {
                self.rest = &self.rest[1..];
                let e = self.or()?;
                self.expect(")")?;
                Ok(e)
            }
            '"' => Ok(Expr::Literal(Literal::String(self.string()?))),
            '0'..='9' => {
                let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
                let mut end = digits(self.rest);
                if self.rest[end..].starts_with('.') && digits(&self.rest[end + 1..]) > 0 {
                    end += 1 + digits(&self.rest[end + 1..]);
                }
                if self.rest[end..].starts_with(['e', 'E']) {
                    let sign = usize::from(self.rest[end + 1..].starts_with(['+', '-']));
                    let exponent = digits(&self.rest[end + 1 + sign..]);
                    if exponent > 0 {
                        end += 1 + sign + exponent;
                    }
                }
                let n = Numeric::parse(&self.rest[..end])?;
                self.rest = &self.rest[end..];
                Ok(Expr::Literal(Literal::Number(n)))
            }
            _ if self.word("true") => Ok(Expr::Literal(Literal::Bool(true))),
            _ if self.word("false") => Ok(Expr::Literal(Literal::Bool(false))),
            _ if self.word("null") => Ok(Expr::Literal(Literal::Null)),
            _ if self.word("last") => Ok(Expr::Last),
            _ if self.word("exists") => {
                self.expect("(")?;
                let e = self.or()?;
                self.expect(")")?;
                Ok(Expr::Exists(e.into()))
            }
            _ => Err(self.bad()),
        }
    }

    fn int(&mut self) -> Result<usize, EvalError> {
        let digits = self.skip().bytes().take_while(u8::is_ascii_digit).count();
        let n = self.rest[..digits].parse().map_err(|_| self.bad())?;
        self.rest = &self.rest[digits..];
        Ok(n)
    }

    fn name(&mut self) -> Result<String, EvalError> {
        let rest = self.skip();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.bad());
        }
        self.rest = &rest[end..];
        Ok(rest[..end].to_string())
    }

    /// A string in double quotes, with JSON's escapes.
    fn string(&mut self) -> Result<String, EvalError> {
        let rest = self.skip();
        if !rest.starts_with('"') {
            return Err(self.bad());
        }
        let mut escaped = false;
        for (i, b) in rest.bytes().enumerate().skip(1) {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let arena = Arena::new();
                    let parsed = repr::json::parse(&rest[..=i], &arena).map_err(|_| self.bad())?;
                    let s = parsed.jsonb().as_str().unwrap_or_default().to_string();
                    self.rest = &rest[i + 1..];
                    return Ok(s);
                }
                _ => {}
            }
        }
        Err(self.bad())
    }
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::tests::{error, run};

    const DOC: &str = "{\"a\":[{\"b\":1,\"n\":\"x\"},{\"b\":5,\"n\":\"yy\"},{\"b\":null}],\"c\":{\"d\":2.5},\"e e\":true}::jsonb";

    fn all(path: &str) -> String {
        run("jsonb_path_query_array", &[DOC, path])
    }

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        assert_eq!(all("$.c.d"), "[2.5]");
        assert_eq!(all("$.a.b"), "[1,5,null]");
        assert_eq!(all("$.a[*].n"), "[\"x\",\"yy\"]");
        assert_eq!(all("$.a[0,last].b"), "[1,null]");
        assert_eq!(all("$.a[1 to last].b"), "[5,null]");
        assert_eq!(all("$.\"e e\""), "[true]");
        assert_eq!(all("$.nothing[3].more"), "[]");
        assert_eq!(all("$.c.*"), "[2.5]");
        assert_eq!(all("$.**.d"), "[2.5]");
        assert_eq!(all("$.a.size()"), "[3]");
        assert_eq!(all("$.c.d.ceiling() + 1"), "[4]");
        assert_eq!(all("$.c.keyvalue().key"), "[\"d\"]");
        assert_eq!(all("strict $.c.type()"), "[\"object\"]");
        assert_eq!(all("-$.c.d * 2"), "[-5]");
    }

    #[test]
    fn filters_keep_what_is_true() {
        assert_eq!(all("$.a[*] ? (@.b > 1).n"), "[\"yy\"]");
        assert_eq!(all("$.a[*] ? (@.b == null).b"), "[null]");
        assert_eq!(all("$.a ? (@.b >= 1 && !(@.n == \"x\")).b"), "[5]");
        assert_eq!(all("$.a[*] ? (@.n starts with \"y\").b"), "[5]");
        assert_eq!(all("$.a[*] ? (@.n like_regex \"^Y\" flag \"i\").b"), "[5]");
        assert_eq!(all("$.a[*] ? (exists(@.n)).b"), "[1,5]");
        assert_eq!(all("$.a[*] ? ((@.n > 3) is unknown).b"), "[1,5]");
        assert_eq!(run("jsonb_path_query_array", &[DOC, "$.a[*] ? (@.b == $x).n", "{\"x\":5}"]), "[\"yy\"]");
    }

    #[test]
    fn existence_and_truth() {
        assert_eq!(run("@?", &[DOC, "$.a[*] ? (@.b == 5)"]), "t");
        assert_eq!(run("@?", &[DOC, "$.z"]), "f");
        assert_eq!(run("@@", &[DOC, "$.c.d > 2"]), "t");
        assert_eq!(run("@@", &[DOC, "$.c.d > \"x\""]), "NULL");
        assert_eq!(run("jsonb_path_query_first", &[DOC, "$.a[*].b"]), "1");
    }

    #[test]
    fn mistakes_in_paths_are_syntax_errors() {
        for path in ["", "a", "$.", "$[", "$.a ? @.b", "$.a[1 2]", "$.x()", "$ $", "\"open"] {
            assert_eq!(error("jsonb_path_exists", &[DOC, path])[..5], *"42601", "{path:?}");
        }
        let deep = format!("{}$", "(".repeat(10_000));
        assert_eq!(error("jsonb_path_exists", &[DOC, &deep])[..5], *"54001");
        let long = format!("1{}", "+1".repeat(100_000));
        assert_eq!(error("jsonb_path_exists", &[DOC, &long])[..5], *"54001");
        let deep = format!("{}1", "-".repeat(100_000));
        assert_eq!(error("jsonb_path_exists", &[DOC, &deep])[..5], *"54001");
        assert_eq!(error("jsonb_path_query_first", &[DOC, "$nope"])[..5], *"42704");
    }
}
