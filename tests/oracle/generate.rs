//! Random SQL that means the same on Postgres and here: typed expressions and queries over Segment-shaped tables, and
//! changes of those tables. A seed gives the same texts each time.

use source::generator::Dice;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int,
    Big,
    Numeric,
    Float,
    Text,
    Date,
    Timestamp,
    Interval,
    Json,
    Ints,
    Texts,
}

use Type::*;

const ALL: [Type; 12] = [Bool, Int, Big, Numeric, Float, Text, Date, Timestamp, Interval, Json, Ints, Texts];

/// The tables, on both sides.
pub const TABLES: &str = "
    CREATE TABLE events (id int, user_id text, kind text, sent timestamp, price numeric(12,2), qty int, score float8,
        props jsonb, tags text[]);
    CREATE TABLE users (user_id text, plan text, age int, joined date, quota int8, active bool);
";

/// What stands for a value of a type in a template.
fn letter(c: char) -> Option<Type> {
    Some(match c {
        'b' => Bool,
        'i' => Int,
        'l' => Big,
        'n' => Numeric,
        'f' => Float,
        't' => Text,
        'd' => Date,
        's' => Timestamp,
        'v' => Interval,
        'j' => Json,
        'I' => Ints,
        'T' => Texts,
        _ => return None,
    })
}

fn literals(ty: Type) -> &'static [&'static str] {
    match ty {
        Bool => &["true", "false", "NULL::bool"],
        Int => {
            &["0", "1", "2", "-1", "3", "7", "42", "100", "2147483647", "'-2147483648'::int4", "NULL::int4"]
        }
        Big => &["0::int8", "1::int8", "-5::int8", "1000000::int8", "9223372036854775807", "NULL::int8"],
        Numeric => &["0.0", "1.5", "-2.25", "0.1", "100.00", "123456789.123", "3::numeric", "NULL::numeric"],
        Float => &["0::float8", "0.5::float8", "-1.25::float8", "3e10::float8", "2::float8", "NULL::float8"],
        Text => &[
            "''",
            "'a'",
            "'track'",
            "'Page View'",
            "'u1'",
            "'Ünï'",
            "'a,b,c'",
            "' x '",
            "'12'",
            "'%_%'",
            "NULL::text",
        ],
        Date => &[
            "DATE '2024-02-29'",
            "DATE '2023-12-31'",
            "DATE '1999-01-01'",
            "DATE '2024-03-10'",
            "NULL::date",
        ],
        Timestamp => &[
            "TIMESTAMP '2024-02-29 12:34:56.789'",
            "TIMESTAMP '2023-12-31 23:59:59'",
            "TIMESTAMP '2024-01-01'",
            "NULL::timestamp",
        ],
        Interval => &[
            "INTERVAL '1 day'",
            "INTERVAL '90 minutes'",
            "INTERVAL '1 month 2 days'",
            "INTERVAL '-3 hours'",
            "NULL::interval",
        ],
        Json => &[
            "'{\"price\":10.5,\"name\":\"a\",\"tags\":[\"x\",\"y\"],\"n\":null}'::jsonb",
            "'[1,2,3]'::jsonb",
            "'{}'::jsonb",
            "'\"s\"'::jsonb",
            "'7'::jsonb",
            "'null'::jsonb",
            "'{\"a\":{\"b\":[true,{\"c\":\"deep\"}]}}'::jsonb",
            "NULL::jsonb",
        ],
        Ints => &["ARRAY[1,2,3]", "'{}'::int4[]", "ARRAY[7,NULL,7]", "NULL::int4[]"],
        Texts => &["ARRAY['a','b']", "'{}'::text[]", "ARRAY['x',NULL,'a']", "NULL::text[]"],
    }
}

/// Expressions of each type; `{x}` is one of the type with that letter.
fn templates(ty: Type) -> &'static [&'static str] {
    match ty {
        Bool => &[
            "{i} = {i}",
            "{i} < {i}",
            "{l} >= {l}",
            "{n} <> {n}",
            "{f} <= {f}",
            "{t} = {t}",
            "{t} < {t}",
            "{d} > {d}",
            "{s} <= {s}",
            "{v} < {v}",
            "{j} = {j}",
            "{I} = {I}",
            "{T} <> {T}",
            "{b} AND {b}",
            "{b} OR {b}",
            "NOT {b}",
            "{b} IS TRUE",
            "{b} IS NOT FALSE",
            "{b} IS UNKNOWN",
            "{t} IS NULL",
            "{n} IS NOT NULL",
            "{i} IS DISTINCT FROM {i}",
            "{t} IS NOT DISTINCT FROM {t}",
            "{i} BETWEEN {i} AND {i}",
            "{i} NOT BETWEEN SYMMETRIC {i} AND {i}",
            "{i} IN ({i}, {i}, {i})",
            "{t} NOT IN ({t}, {t})",
            "{t} LIKE {t}",
            "{t} LIKE 'a%'",
            "{t} ILIKE '%A%'",
            "{t} NOT LIKE '_'",
            "{t} ~ '^[a-c]'",
            "{t} ~* 'PAGE'",
            "{t} !~ 'x$'",
            "starts_with({t}, {t})",
            "{j} @> {j}",
            "{j} <@ {j}",
            "{j} ? 'price'",
            "{j} ?| ARRAY['a','n']",
            "{j} ?& ARRAY['a']",
            "{i} = ANY({I})",
            "{i} < ALL({I})",
            "{t} = ANY({T})",
            "{t} <> ALL({T})",
            "{I} && {I}",
            "{T} @> {T}",
            "{I} <@ {I}",
            "CASE WHEN {b} THEN {b} ELSE {b} END",
            "coalesce({b}, {b})",
            "({i}, {t}) = ({i}, {t})",
            "({i}, {n}) < ({i}, {n})",
            "({s}, {s}) OVERLAPS ({s}, {s})",
            "{t} SIMILAR TO '(a|b)%'",
            "{i}::bool",
            "isfinite({s})",
            "{j} @? '$.price'",
            "{t}::bool",
            "isempty(int4range(1, 1))",
            "{i} <@ int4range(0, 50)",
            "bool({i})",
            "{j} IS NULL",
        ],
        Int => &[
            "{i} + {i}",
            "{i} - {i}",
            "{i} * {i}",
            "{i} / {i}",
            "{i} % {i}",
            "-{i}",
            "abs({i})",
            "{i} & {i}",
            "{i} | {i}",
            "{i} # {i}",
            "~{i}",
            "{i} << 2",
            "{i} >> 1",
            "length({t})",
            "octet_length({t})",
            "char_length({t})",
            "position({t} IN {t})",
            "strpos({t}, {t})",
            "ascii({t})",
            "array_length({I}, 1)",
            "cardinality({T})",
            "array_position({T}, {t})",
            "array_ndims({I})",
            "array_upper({T}, 1)",
            "coalesce({i}, {i})",
            "nullif({i}, {i})",
            "greatest({i}, {i}, {i})",
            "least({i}, {i})",
            "CASE WHEN {b} THEN {i} END",
            "CASE {i} WHEN {i} THEN {i} ELSE {i} END",
            "{n}::int4",
            "{f}::int4",
            "{l}::int4",
            "{b}::int4",
            "{d} - {d}",
            "({I})[1]",
            "({I})[{i}]",
            "mod({i}, {i})",
            "gcd({i}, {i})",
            "num_nulls({i}, {t}, {b})",
            "width_bucket({f}, 0, 100, 10)",
            "extract(year FROM {d})::int4",
            "extract(dow FROM {s})::int4",
            "({j}->>'price')::int4",
            "jsonb_array_length({j})",
            "{t}::int4",
            "sign({n})::int4",
            "bit_length({t})",
            "lcm({i}, 6)",
            "array_lower({I}, 1)",
        ],
        Big => &[
            "{l} + {l}",
            "{l} - {l}",
            "{l} * {i}",
            "{l} / {l}",
            "{l} % {l}",
            "-{l}",
            "abs({l})",
            "{i}::int8",
            "{i} + {l}",
            "{n}::int8",
            "{f}::int8",
            "coalesce({l}, {l})",
            "greatest({l}, {i})",
            "extract(epoch FROM date_trunc('second', {s}))::int8",
            "factorial(5)::int8",
            "{l} & 255::int8",
            "{l} << 3",
            "div({n}, {n})::int8",
            "CASE WHEN {b} THEN {l} ELSE {l} END",
            "{t}::int8",
        ],
        Numeric => &[
            "{n} + {n}",
            "{n} - {n}",
            "{n} * 1.5",
            "-{n}",
            "abs({n})",
            "round({n}, 1)",
            "round({n})",
            "trunc({n}, 2)",
            "ceil({n})",
            "floor({n})",
            "{n} % {n}",
            "{i}::numeric",
            "{l}::numeric",
            "coalesce({n}, {n})",
            "greatest({n}, {n})",
            "least({n}, {i})",
            "sign({n})",
            "mod({n}, 7)",
            "({j}->>'price')::numeric",
            "round({n} / 4, 6)",
            "extract(second FROM {s})",
            "extract(month FROM {d})",
            "{n}::numeric(10,1)",
            "nullif({n}, {n})",
            "CASE WHEN {b} THEN {n} ELSE {i} END",
            "round({i} / {n}, 4)",
            "{t}::numeric",
            "div({n}, {n})",
            "power({i}, 2)::numeric",
        ],
        Float => &[
            "{f} + {f}",
            "{f} - {f}",
            "{f} * {f}",
            "{f} / {f}",
            "-{f}",
            "abs({f})",
            "{i}::float8",
            "{n}::float8",
            "floor({f})",
            "ceil({f})",
            "round({f})",
            "trunc({f})",
            "sqrt({f})",
            "exp(least({f}, 10))",
            "ln({f})",
            "log({f})",
            "power({f}, 2)",
            "cbrt({f})",
            "degrees({f})",
            "radians({f})",
            "sin({f})",
            "cos({f})",
            "atan({f})",
            "sign({f})",
            "coalesce({f}, {f})",
            "greatest({f}, {f})",
            "date_part('hour', {s})",
            "pi()",
            "CASE WHEN {b} THEN {f} ELSE {f} END",
            "atan2({f}, {f})",
            "{l}::float8",
            "{t}::float8",
            "tanh({f})",
        ],
        Text => &[
            "{t} || {t}",
            "{t} || {i}",
            "lower({t})",
            "upper({t})",
            "initcap({t})",
            "trim({t})",
            "ltrim({t}, 'a ')",
            "rtrim({t})",
            "btrim({t}, 'abc')",
            "left({t}, {i})",
            "right({t}, 2)",
            "substring({t} FROM 2)",
            "substring({t} FROM 2 FOR 3)",
            "substr({t}, 1, 2)",
            "replace({t}, {t}, {t})",
            "reverse({t})",
            "repeat({t}, 2)",
            "lpad({t}, 5, 'xy')",
            "rpad({t}, 4)",
            "split_part({t}, ',', 2)",
            "concat({t}, {i}, {b})",
            "concat_ws('-', {t}, {t}, {i})",
            "md5({t})",
            "{i}::text",
            "{l}::text",
            "{b}::text",
            "{d}::text",
            "coalesce({t}, {t})",
            "nullif({t}, {t})",
            "CASE WHEN {b} THEN {t} ELSE {t} END",
            "{j}->>'name'",
            "{j}->'tags'->>0",
            "{j}#>>'{a,b,1,c}'",
            "jsonb_typeof({j})",
            "to_hex({i})",
            "chr(97)",
            "translate({t}, 'abc', 'xy')",
            "regexp_replace({t}, '[aeiou]', '*', 'g')",
            "overlay({t} PLACING 'zz' FROM 2)",
            "quote_ident({t})",
            "quote_literal({t})",
            "format('%s-%s', {t}, {i})",
            "greatest({t}, {t})",
            "({T})[1]",
            "array_to_string({T}, ',')",
            "array_to_string({I}, '-', '*')",
            "to_char({s}, 'YYYY-MM-DD HH24:MI:SS')",
            "to_char({d}, 'Dy DD Mon')",
            "to_char({i}, '999,999')",
            "to_char({n}, 'FM990.00')",
            "encode({t}::bytea, 'hex')",
            "substring({t} from '[a-z]+')",
            "to_char({s}, 'IYYY-IW FMDay')",
            "left(md5({t}), 4)",
            "{t} || NULL",
            "encode(sha256({t}::bytea), 'base64')",
            "pg_typeof({n})::text",
            "upper(left({t}, 1)) || lower(substring({t} from 2))",
        ],
        Date => &[
            "{d} + {i} % 1000",
            "{d} - 30",
            "{s}::date",
            "coalesce({d}, {d})",
            "greatest({d}, {d})",
            "date_trunc('month', {s})::date",
            "CASE WHEN {b} THEN {d} ELSE {d} END",
            "make_date(2024, 2, 28)",
            "to_date('2024-03-01', 'YYYY-MM-DD')",
            "nullif({d}, {d})",
        ],
        Timestamp => &[
            "{s} + {v}",
            "{s} - {v}",
            "{d}::timestamp",
            "{d} + {v}",
            "date_trunc('hour', {s})",
            "date_trunc('week', {s})",
            "date_trunc('quarter', {s})",
            "coalesce({s}, {s})",
            "least({s}, {s})",
            "{d} + TIME '10:30'",
            "date_bin('15 minutes', {s}, TIMESTAMP '2000-01-01')",
            "CASE WHEN {b} THEN {s} END",
            "make_timestamp(2024, 1, 2, 3, 4, 5.5)",
            "({s} AT TIME ZONE 'UTC') AT TIME ZONE 'America/New_York'",
            "to_timestamp({i})::timestamp",
        ],
        Interval => &[
            "{v} + {v}",
            "{v} - {v}",
            "{s} - {s}",
            "{v} * 2",
            "{v} / 2",
            "-{v}",
            "coalesce({v}, {v})",
            "justify_hours({v})",
            "justify_days({v})",
            "age({s}, {s})",
            "make_interval(days => 3)",
            "{i} % 1000 * INTERVAL '1 hour'",
            "justify_interval({v})",
            "date_trunc('hour', {v})",
        ],
        Json => &[
            "{j}->'price'",
            "{j}->1",
            "{j}->'a'->'b'",
            "{j}#>'{a,b}'",
            "to_jsonb({i})",
            "to_jsonb({t})",
            "to_jsonb({b})",
            "to_jsonb({n})",
            "jsonb_build_object('k', {i}, 't', {t})",
            "jsonb_build_array({i}, {t}, {b})",
            "coalesce({j}, {j})",
            "jsonb_set({j}, '{price}', '1')",
            "jsonb_strip_nulls({j})",
            "{j} - 'price'",
            "to_jsonb({T})",
            "jsonb_extract_path({j}, 'a', 'b')",
            "CASE WHEN {b} THEN {j} ELSE {j} END",
            "{j} - ARRAY['a','n']",
            "jsonb_path_query_first({j}, '$.tags[*]')",
            "{j} #- '{a,b}'",
            "jsonb_insert({j}, '{zz}', '2')",
            "to_jsonb({I})",
            "jsonb_path_query_array({j}, '$.**.c')",
            "row_to_json(row({i}, {t}))::jsonb",
        ],
        Ints => &[
            "{I} || {i}",
            "{i} || {I}",
            "{I} || {I}",
            "array_append({I}, {i})",
            "array_prepend({i}, {I})",
            "array_cat({I}, {I})",
            "array_remove({I}, {i})",
            "ARRAY[{i}, {i}]",
            "({I})[1:2]",
            "array_replace({I}, 7, 8)",
            "coalesce({I}, {I})",
            "array_positions({I}, 7)",
            "array_fill(1, ARRAY[2])",
            "trim_array({I}, 1)",
        ],
        Texts => &[
            "{T} || {t}",
            "{T} || {T}",
            "string_to_array({t}, ',')",
            "ARRAY[{t}, {t}]",
            "regexp_split_to_array({t}, '[ ,]')",
            "coalesce({T}, {T})",
            "array_remove({T}, {t})",
            "({T})[2:3]",
            "regexp_match({t}, '([a-z])(.)')",
            "string_to_array({t}, NULL)",
            "array_replace({T}, 'a', 'z')",
        ],
    }
}

/// The columns in reach: name and type.
type Columns<'c> = &'c [(&'static str, Type)];

const EVENTS: [(&str, Type); 9] = [
    ("e.id", Int),
    ("e.user_id", Text),
    ("e.kind", Text),
    ("e.sent", Timestamp),
    ("e.price", Numeric),
    ("e.qty", Int),
    ("e.score", Float),
    ("e.props", Json),
    ("e.tags", Texts),
];

const USERS: [(&str, Type); 6] = [
    ("u.user_id", Text),
    ("u.plan", Text),
    ("u.age", Int),
    ("u.joined", Date),
    ("u.quota", Big),
    ("u.active", Bool),
];

/// A query and the types of its columns.
pub struct Query {
    pub sql: String,
    pub types: Vec<Type>,
}

/// Makes texts.
pub struct Generator {
    dice: Dice,
    next_id: u64,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { dice: Dice::new(seed, 0, 0), next_id: 0 }
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.dice.below(items.len() as u64) as usize]
    }

    /// An expression of a type over these columns.
    pub fn expr(&mut self, ty: Type, columns: Columns<'_>, depth: usize) -> String {
        if depth == 0 || self.dice.chance(0.1) {
            let own: Vec<&str> = columns.iter().filter(|c| c.1 == ty).map(|c| c.0).collect();
            if !own.is_empty() && self.dice.chance(0.7) {
                return self.pick(&own).into();
            }
            return self.pick(literals(ty)).into();
        }
        let template = self.pick(templates(ty));
        let mut out = String::from("(");
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            let hole =
                rest[at + 1..].chars().next().and_then(letter).filter(|_| rest[at + 2..].starts_with('}'));
            match hole {
                Some(ty) => {
                    out.push_str(&rest[..at]);
                    out.push_str(&self.expr(ty, columns, depth - 1));
                    rest = &rest[at + 3..];
                }
                None => {
                    out.push_str(&rest[..=at]);
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        out.push(')');
        out
    }

    /// A constant expression of some type.
    pub fn constant(&mut self) -> Query {
        let ty = self.pick(&ALL);
        let depth = 1 + self.dice.below(3) as usize;
        Query { sql: format!("SELECT {}", self.expr(ty, &[], depth)), types: vec![ty] }
    }

    /// What is read: one table, or both joined.
    fn from(&mut self) -> (String, Vec<(&'static str, Type)>) {
        match self.dice.below(8) {
            0 | 1 => ("events e".into(), EVENTS.to_vec()),
            2 => ("users u".into(), USERS.to_vec()),
            n => {
                let join = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"][n as usize - 3];
                let both = [EVENTS.as_slice(), &USERS].concat();
                let on = match join {
                    "CROSS JOIN" => String::new(),
                    "FULL JOIN" => " ON e.user_id = u.user_id".into(),
                    _ if self.dice.chance(0.5) => " ON e.user_id = u.user_id".into(),
                    _ => format!(" ON e.user_id = u.user_id AND {}", self.expr(Bool, &both, 1)),
                };
                (format!("events e {join} users u{on}"), both)
            }
        }
    }

    /// Two queries that give the same rows by logic alone: all rows, and those for which a condition is true, false and
    /// neither. Then two that count the same: the rows a condition keeps, and those for which it is true.
    pub fn twins(&mut self) -> [(String, String); 2] {
        let (from, columns) = self.from();
        let condition = self.expr(Bool, &columns, 2);
        let ty = self.pick(&ALL);
        let item = self.expr(ty, &columns, 1);
        let all = format!("SELECT {item} FROM {from}");
        let parts = ["", "NOT ", ""].map(|not| format!("{all} WHERE {not}({condition})"));
        let parts = format!("{} UNION ALL {} UNION ALL {} IS NULL", parts[0], parts[1], parts[2]);
        let kept = format!("SELECT count(*) FROM {from} WHERE {condition}");
        let truths = format!("SELECT count(CASE WHEN {condition} THEN 1 END) FROM {from}");
        [(all, parts), (kept, truths)]
    }

    /// A query over the tables.
    pub fn query(&mut self) -> Query {
        let depth = self.dice.below(3) as usize;
        let (from, columns) = self.from();
        let has_events = columns[0].0 == "e.id";
        let filter = |g: &mut Generator| match g.dice.chance(0.6) {
            true => format!(" WHERE {}", g.expr(Bool, &columns, 1 + depth)),
            false => String::new(),
        };
        match self.dice.below(9) {
            0 | 1 => self.projection(&from, &columns, depth, filter),
            2 | 3 => self.grouping(&from, &columns, depth, filter),
            4 => {
                // Set operations over columns of the same types.
                let types: Vec<Type> = (0..=self.dice.below(2)).map(|_| self.pick(&ALL[..9])).collect();
                let op =
                    self.pick(&["UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL"]);
                let mut arm = || {
                    let items: Vec<String> = types.iter().map(|t| self.expr(*t, &columns, depth)).collect();
                    format!("SELECT {} FROM {from}{}", items.join(", "), filter(self))
                };
                Query { sql: format!("{} {op} {}", arm(), arm()), types }
            }
            5 => {
                // Semi- and anti-joins, and scalar subqueries.
                let ty = self.pick(&ALL[..9]);
                let item = self.expr(ty, &EVENTS, depth);
                let inner = self.expr(Bool, &USERS, depth);
                let predicate = match self.dice.below(5) {
                    0 => format!("EXISTS (SELECT 1 FROM users u WHERE u.user_id = e.user_id AND {inner})"),
                    1 => {
                        format!("NOT EXISTS (SELECT 1 FROM users u WHERE u.user_id = e.user_id AND {inner})")
                    }
                    2 => format!("e.user_id IN (SELECT u.user_id FROM users u WHERE {inner})"),
                    3 => format!("e.user_id NOT IN (SELECT u.user_id FROM users u WHERE {inner})"),
                    _ => format!("e.qty > ALL (SELECT u.age FROM users u WHERE {inner})"),
                };
                let scalar = "(SELECT count(*) FROM users u WHERE u.user_id = e.user_id)";
                Query {
                    sql: format!("SELECT {item}, {scalar} FROM events e WHERE {predicate}"),
                    types: vec![ty, Big],
                }
            }
            6 if has_events => {
                // The first rows of each group, by a total order.
                let item = self.expr(Text, &columns, depth);
                let order =
                    "e.price DESC NULLS LAST, e.id, u.age, u.plan, u.joined, u.quota, u.active, u.user_id";
                let order = if columns.len() > 9 { order } else { "e.price DESC NULLS LAST, e.id" };
                let n = self.dice.below(5);
                match self.dice.below(3) {
                    0 => Query {
                        sql: format!(
                            "SELECT DISTINCT ON (e.kind) e.kind, e.id, {item} FROM {from}{} ORDER BY e.kind, {order}, {item}",
                            filter(self)
                        ),
                        types: vec![Text, Int, Text],
                    },
                    1 => Query {
                        sql: format!(
                            "SELECT e.id, e.price, {item} FROM {from}{} ORDER BY {order}, {item} LIMIT {n} OFFSET {}",
                            filter(self),
                            n / 2
                        ),
                        types: vec![Int, Numeric, Text],
                    },
                    _ => Query {
                        sql: format!(
                            "SELECT e.id, e.price FROM {from}{} ORDER BY e.price FETCH FIRST {} ROWS WITH TIES",
                            filter(self),
                            n + 1
                        ),
                        types: vec![Int, Numeric],
                    },
                }
            }
            7 if has_events && columns.len() == 9 => {
                let (function, ty) = self.pick(&[
                    ("row_number()", Big),
                    ("rank()", Big),
                    ("dense_rank()", Big),
                    ("sum(e.qty)", Big),
                    ("count(e.price)", Big),
                    ("lag(e.qty)", Int),
                    ("lead(e.qty, 2, -1)", Int),
                    ("first_value(e.kind)", Text),
                    ("last_value(e.id)", Int),
                    ("min(e.price)", Numeric),
                    ("max(e.score)", Float),
                    ("ntile(3)", Int),
                    ("nth_value(e.id, 2)", Int),
                ]);
                let partition =
                    self.pick(&["", "PARTITION BY e.user_id ", "PARTITION BY e.kind, e.qty > 3 "]);
                let order = self.pick(&["e.price, e.id", "e.sent DESC NULLS LAST, e.id", "e.id DESC"]);
                let frame = self.pick(&[
                    "",
                    " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
                    " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                    " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
                    " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                ]);
                let frame = match self.dice.chance(0.15) {
                    true => "e.qty RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                    false => frame,
                };
                // A frame of values has one key, and calls whose result does not go by the order of peers.
                let (over, function, ty) = match frame.strip_prefix("e.qty") {
                    Some(range) => (format!("{partition}ORDER BY e.qty{range}"), "sum(e.id)", Big),
                    None => (format!("{partition}ORDER BY {order}{frame}"), function, ty),
                };
                Query {
                    sql: format!("SELECT e.id, {function} OVER ({over}) FROM {from}{}", filter(self)),
                    types: vec![Int, ty],
                }
            }
            8 if has_events => match self.dice.below(3) {
                0 => Query {
                    sql: format!(
                        "SELECT e.id, x.tag, x.n FROM {from}, unnest(e.tags) WITH ORDINALITY x(tag, n){}",
                        filter(self)
                    ),
                    types: vec![Int, Text, Big],
                },
                1 => Query {
                    sql: format!(
                        "SELECT e.id, x.key FROM {from} CROSS JOIN LATERAL jsonb_each_text(CASE WHEN jsonb_typeof(e.props) = 'object' THEN e.props END) x{}",
                        filter(self)
                    ),
                    types: vec![Int, Text],
                },
                _ => Query {
                    sql: format!(
                        "SELECT e.id, l.age FROM {from} LEFT JOIN LATERAL (SELECT v.age FROM users v WHERE v.user_id = e.user_id ORDER BY v.age DESC LIMIT 1) l ON true{}",
                        filter(self)
                    ),
                    types: vec![Int, Int],
                },
            },
            _ => self.projection(&from, &columns, depth, filter),
        }
    }

    fn projection(
        &mut self,
        from: &str,
        columns: Columns<'_>,
        depth: usize,
        filter: impl Fn(&mut Generator) -> String,
    ) -> Query {
        let types: Vec<Type> = (0..=self.dice.below(3)).map(|_| self.pick(&ALL)).collect();
        let items: Vec<String> = types.iter().map(|t| self.expr(*t, columns, 1 + depth)).collect();
        // Postgres has no order for json alone that is ours too, but equality it has.
        let distinct = if self.dice.chance(0.2) { "DISTINCT " } else { "" };
        Query { sql: format!("SELECT {distinct}{} FROM {from}{}", items.join(", "), filter(self)), types }
    }

    fn grouping(
        &mut self,
        from: &str,
        columns: Columns<'_>,
        depth: usize,
        filter: impl Fn(&mut Generator) -> String,
    ) -> Query {
        let mut types = vec![];
        let mut items = vec![];
        let keys = self.dice.below(3) as usize;
        for _ in 0..keys {
            let ty = self.pick(&[Bool, Int, Text, Date]);
            types.push(ty);
            items.push(self.expr(ty, columns, depth));
        }
        // Constant keys would be positions.
        items.iter_mut().for_each(|i| *i = format!("coalesce({i}, {i})"));
        for _ in 0..=self.dice.below(3) {
            let (template, ty) = self.pick(&[
                ("count(*)", Big),
                ("count({t})", Big),
                ("count(DISTINCT {i})", Big),
                ("sum({i})", Big),
                ("sum({n})", Numeric),
                ("sum({f})", Float),
                ("avg({f})", Float),
                ("round(avg({i}), 6)", Numeric),
                ("min({i})", Int),
                ("max({t})", Text),
                ("min({s})", Timestamp),
                ("max({d})", Date),
                ("min({n})", Numeric),
                ("bool_and({b})", Bool),
                ("bool_or({b})", Bool),
                ("every({b})", Bool),
                ("count(*) FILTER (WHERE {b})", Big),
                ("sum({i}) FILTER (WHERE {b})", Big),
                ("sum(DISTINCT {i})", Big),
                ("string_agg(DISTINCT {t}, ',' ORDER BY 1)", Text),
                ("bit_and({i})", Int),
                ("bit_or({i})", Int),
                ("round(var_pop({i} % 1000)::numeric, 4)", Numeric),
                ("round(stddev_samp({i} % 1000)::numeric, 4)", Numeric),
                ("percentile_disc(0.5) WITHIN GROUP (ORDER BY {i})", Int),
                ("percentile_cont(0.25) WITHIN GROUP (ORDER BY {f})", Float),
                ("sum({v})", Interval),
            ]);
            let mut text = String::new();
            let mut rest = template;
            while let Some(at) = rest.find('{') {
                let ty = rest[at + 1..].chars().next().and_then(letter).expect("a letter of a type");
                text.push_str(&rest[..at]);
                // ORDER BY 1 of an aggregate is no position, so DISTINCT wants the very expression.
                text.push_str(&self.expr(ty, columns, depth.min(1)));
                rest = &rest[at + 3..];
            }
            text.push_str(rest);
            if let Some((head, _)) = text.clone().split_once(", ',' ORDER BY 1)") {
                let own = head.trim_start_matches("string_agg(DISTINCT ").to_string();
                text = format!("string_agg(DISTINCT {own}, ',' ORDER BY {own})");
            }
            items.push(text);
            types.push(ty);
        }
        let group = match keys {
            0 => String::new(),
            2 if self.dice.chance(0.2) => format!(" GROUP BY ROLLUP ({})", items[..2].join(", ")),
            n => format!(" GROUP BY {}", items[..n].join(", ")),
        };
        let having = if self.dice.chance(0.2) { " HAVING count(*) > 1" } else { "" };
        Query {
            sql: format!("SELECT {} FROM {from}{}{group}{having}", items.join(", "), filter(self)),
            types,
        }
    }

    /// A change of the tables.
    pub fn change(&mut self) -> String {
        match self.dice.below(10) {
            0..=4 => {
                let rows: Vec<String> = (0..=self.dice.below(4)).map(|_| self.event()).collect();
                format!("INSERT INTO events VALUES {}", rows.join(", "))
            }
            5 => {
                let user = self.user();
                format!("INSERT INTO users VALUES {user}")
            }
            6 => format!("DELETE FROM events WHERE id % 7 = {}", self.dice.below(7)),
            7 => format!(
                "UPDATE events SET qty = qty % 100 + 1, kind = 'page' WHERE id % 5 = {}",
                self.dice.below(5)
            ),
            8 => format!(
                "UPDATE users SET age = age % 90 + 1, active = NOT active WHERE age % 3 = {}",
                self.dice.below(3)
            ),
            _ if self.dice.chance(0.3) => "DELETE FROM users".into(),
            _ => "INSERT INTO events SELECT * FROM events WHERE id % 11 = 3".into(),
        }
    }

    /// A row of events. Small domains, so that things meet.
    fn event(&mut self) -> String {
        self.next_id += 1;
        let user = self.pick(&["'u1'", "'u2'", "'u3'", "'u4'", "NULL", "''"]);
        let kind = self.pick(&["'track'", "'page'", "'identify'", "'Page View'", "NULL"]);
        let sent = self.pick(&[
            "'2024-02-29 12:00:00'",
            "'2024-01-01 00:00:00.5'",
            "'2023-12-31 23:59:59.999'",
            "'2024-03-10 02:30:00'",
            "NULL",
        ]);
        let price = self.pick(&["0", "9.99", "10.5", "-3.25", "1000", "NULL"]);
        let qty = self.pick(&["0", "1", "2", "3", "5", "-4", "NULL"]);
        let score = self.pick(&["0", "0.25", "1.5", "-2", "1e6", "NULL"]);
        let props = self.pick(&[
            "'{\"price\": 9.99, \"name\": \"shoe\", \"tags\": [\"a\", \"b\"]}'",
            "'{\"price\": \"7\", \"n\": null, \"a\": {\"b\": [1, {\"c\": \"x\"}]}}'",
            "'{}'",
            "'[1, \"two\", null]'",
            "'null'",
            "NULL",
        ]);
        let tags = self.pick(&["'{a,b}'", "'{}'", "'{x,NULL,a}'", "'{b}'", "NULL"]);
        format!("({}, {user}, {kind}, {sent}, {price}, {qty}, {score}, {props}, {tags})", self.next_id)
    }

    fn user(&mut self) -> String {
        let user = self.pick(&["'u1'", "'u2'", "'u3'", "'u9'", "NULL"]);
        let plan = self.pick(&["'free'", "'pro'", "'a'", "NULL"]);
        let age = self.pick(&["18", "30", "42", "99", "NULL"]);
        let joined = self.pick(&["'2020-01-01'", "'2024-02-29'", "'1999-12-31'", "NULL"]);
        let quota = self.pick(&["0", "100", "5000000000", "NULL"]);
        let active = self.pick(&["true", "false", "NULL"]);
        format!("({user}, {plan}, {age}, {joined}, {quota}, {active})")
    }
}
