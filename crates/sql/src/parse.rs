//! From text to statements: splitting, caps, tokens, the heads of statements.
//!
//! Splitting and the caps work on bytes alone and come before anything that recurses, so that no text, however deep,
//! takes the process down. Then each statement's tokens are made ready (what sqlparser does not know is rewritten into
//! what it does), and [`crate::statement`] reads the head and hands queries and expressions to sqlparser.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::{DataType, Expr, Ident, ObjectName, Query as SqlQuery};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word};

use crate::ast::{AsOf, OptionValue, Query, Statement, WithOption};
use crate::dialect::{DIALECT, EXCLUDE, ROWS_FROM, SHOW, STAR};
use crate::text::Text;

/// The most bytes that a text may have.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// How deep parentheses, brackets and CASEs may nest.
pub(crate) const MAX_NESTING: usize = 128;
/// How many operators may follow one another in an expression, those around it included.
pub(crate) const MAX_CHAIN: usize = 5_000;
/// How many joins and set operations a query may chain.
pub(crate) const MAX_SET_CHAIN: usize = 500;
/// How deep sqlparser may recurse: more than any text under the caps above asks of it.
const MAX_RECURSION: usize = 4 * (MAX_CHAIN + MAX_NESTING);

/// The text of a WITH that is mutually recursive; ` return n` or ` error n` follows where there is a limit.
pub(crate) const MUTUALLY: &str = "with mutually";

/// What lets an operator end in + or -.
const UNUSUAL: [char; 10] = ['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'];

/// Stands for `AS OF`, which sqlparser would take for an alias.
const AS_OF: Token = Token::Char('@');

/// Splits a text into statements and checks the caps. Statements without anything but comments are left out.
pub(crate) fn split(text: &str) -> Result<Vec<crate::Statement>, SqlError> {
    if text.len() > MAX_BYTES {
        return Err(too_complex(format!("the text has {} bytes, the most is {MAX_BYTES}", text.len())));
    }
    let mut out = vec![];
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0 };
    let mut chars = 0; // characters before `counted`
    let mut counted = 0;
    loop {
        let (start, end) = scanner.statement()?;
        if let Some(start) = start {
            let body = text[start..end].trim_end();
            chars += text[counted..start].chars().count();
            counted = start;
            out.push(crate::Statement { text: body.to_string(), offset: chars });
        }
        if end == text.len() {
            return Ok(out);
        }
    }
}

fn too_complex(detail: String) -> SqlError {
    SqlError::new(code::STATEMENT_TOO_COMPLEX, "statement is too complex").with_detail(format!("{detail}."))
}

/// Reads bytes just well enough to know strings, comments, parentheses and operators.
struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

/// What one level of parentheses has seen.
#[derive(Default)]
struct Level {
    operators: usize,
    sets: usize,
    case: bool,
}

impl Scanner<'_> {
    /// The next statement: where its first token begins (none: there is none) and where it ends.
    fn statement(&mut self) -> Result<(Option<usize>, usize), SqlError> {
        let mut start = None;
        let mut levels = vec![Level::default()];
        // Sums over `levels`.
        let (mut operators, mut sets) = (0, 0);
        while let Some(&b) = self.bytes.get(self.at) {
            let here = self.at;
            let next = self.bytes.get(here + 1).copied();
            match b {
                b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => {
                    self.at += 1;
                    continue;
                }
                b'-' if next == Some(b'-') => {
                    self.at = memchr(self.bytes, here, b'\n');
                    continue;
                }
                b'/' if next == Some(b'*') => {
                    self.comment()?;
                    continue;
                }
                b';' => {
                    self.at += 1;
                    return Ok((start, here));
                }
                _ => {}
            }
            start.get_or_insert(here);
            let top = levels.last_mut().expect("there is always the outermost level");
            match b {
                b'\'' => self.quoted(here, false, b'\'', "quoted string")?,
                b'"' => self.quoted(here, false, b'"', "quoted identifier")?,
                b'$' if self.dollar_quoted()? => {}
                b'(' | b'[' => {
                    self.at += 1;
                    if b == b'[' {
                        top.operators += 1;
                        operators += 1;
                    }
                    levels.push(Level::default());
                }
                b')' | b']' => {
                    self.at += 1;
                    while levels.len() > 1 {
                        let level = levels.pop().expect("more than one");
                        operators -= level.operators;
                        sets -= level.sets;
                        if !level.case {
                            break;
                        }
                    }
                }
                b',' => {
                    self.at += 1;
                    operators -= top.operators;
                    top.operators = 0;
                }
                b'0'..=b'9' | b'.' => {
                    // Digits, and a letter or underscore among them; the tokenizer judges.
                    self.at += 1;
                    while self
                        .bytes
                        .get(self.at)
                        .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
                    {
                        self.at += 1;
                    }
                }
                b if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 => {
                    while self
                        .bytes
                        .get(self.at)
                        .is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80)
                    {
                        self.at += 1;
                    }
                    let word = &self.text[here..self.at];
                    if self.bytes.get(self.at) == Some(&b'\'') && matches!(word, "e" | "E") {
                        self.quoted(here, true, b'\'', "quoted string")?;
                        continue;
                    }
                    match word.len() {
                        2..=9 => {}
                        _ => continue,
                    }
                    let word = word.to_ascii_lowercase();
                    match word.as_str() {
                        "and" | "or" | "not" | "is" | "like" | "ilike" | "between" | "in" | "at"
                        | "collate" | "isnull" | "notnull" | "when" | "escape" | "similar" | "prior" => {
                            top.operators += 1;
                            operators += 1;
                        }
                        "union" | "intersect" | "except" | "join" => {
                            top.sets += 1;
                            sets += 1;
                            operators -= top.operators;
                            top.operators = 0;
                        }
                        "select" | "from" | "where" | "having" | "values" => {
                            operators -= top.operators;
                            top.operators = 0;
                        }
                        "case" => levels.push(Level { case: true, ..Level::default() }),
                        "end" if top.case => {
                            let level = levels.pop().expect("it is the top");
                            operators -= level.operators;
                            sets -= level.sets;
                        }
                        _ => {}
                    }
                }
                _ => {
                    // An operator, or something that the tokenizer will refuse. Prefix operators need no blanks
                    // between, so a long run counts as many.
                    while self.bytes.get(self.at).is_some_and(|b| b"+-*/<>=~!@#%^&|`?:".contains(b)) {
                        let two = &self.bytes[self.at..self.bytes.len().min(self.at + 2)];
                        if self.at > here && (two == b"--" || two == b"/*") {
                            break;
                        }
                        self.at += 1;
                    }
                    let length = self.at - here;
                    if length == 0 {
                        self.at += 1;
                    }
                    let n = if length <= 3 { 1 } else { length };
                    top.operators += n;
                    operators += n;
                }
            }
            if operators > MAX_CHAIN {
                return Err(too_complex(format!("An expression has more than {MAX_CHAIN} operators")));
            }
            if sets > MAX_SET_CHAIN {
                return Err(too_complex(format!(
                    "A query has more than {MAX_SET_CHAIN} joins or set operations"
                )));
            }
            if levels.len() > MAX_NESTING {
                return Err(too_complex(format!(
                    "Parentheses, brackets or CASEs nest deeper than {MAX_NESTING}"
                )));
            }
        }
        Ok((start, self.bytes.len()))
    }

    fn unterminated(&self, from: usize, what: &str) -> SqlError {
        let near: String = self.text[from..].chars().take(40).collect();
        SqlError::new(code::SYNTAX_ERROR, format!("unterminated {what} at or near \"{near}\"")).at(self.text
            [..from]
            .chars()
            .count()
            + 1)
    }

    /// A string or a quoted name that begins at `from` (its quote may come after a prefix).
    fn quoted(&mut self, from: usize, backslashes: bool, quote: u8, what: &str) -> Result<(), SqlError> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.unterminated(from, what)),
                Some(b'\\') if backslashes => self.at += 2,
                Some(&b) if b == quote => {
                    self.at += 1;
                    if self.bytes.get(self.at) != Some(&quote) {
                        return Ok(());
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// `$tag$ … $tag$`, if that is what is here; else the `$` of a parameter is passed over.
    fn dollar_quoted(&mut self) -> Result<bool, SqlError> {
        let from = self.at;
        let mut end = from + 1;
        while self.bytes.get(end).is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80) {
            end += 1;
        }
        let digit = self.bytes.get(from + 1).is_some_and(u8::is_ascii_digit);
        if self.bytes.get(end) != Some(&b'$') || digit {
            self.at = end;
            return Ok(true);
        }
        let tag = &self.text[from..=end];
        match self.text[end + 1..].find(tag) {
            Some(n) => self.at = end + 1 + n + tag.len(),
            None => return Err(self.unterminated(from, "dollar-quoted string")),
        }
        Ok(true)
    }

    fn comment(&mut self) -> Result<(), SqlError> {
        let from = self.at;
        let mut depth = 0;
        loop {
            match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(self.unterminated(from, "/* comment")),
            }
        }
    }
}

/// Where the byte is next, or the end.
fn memchr(bytes: &[u8], from: usize, byte: u8) -> usize {
    bytes[from..].iter().position(|&b| b == byte).map_or(bytes.len(), |n| from + n)
}

/// Parses one statement.
pub(crate) fn parse(text: &Text<'_>) -> Result<Statement, SqlError> {
    let mut parser = Heads::new(text)?;
    let statement = crate::statement::parse(&mut parser)?;
    parser.end()?;
    Ok(statement)
}

/// Parses an expression alone, such as a column's default.
pub(crate) fn parse_expr(text: &Text<'_>) -> Result<Expr, SqlError> {
    let mut parser = Heads::new(text)?;
    let expr = parser.expr()?;
    parser.end()?;
    Ok(expr)
}

/// Reads the heads of statements, token by token, and hands the rest to sqlparser.
pub(crate) struct Heads<'t> {
    pub text: &'t Text<'t>,
    parser: Parser<'static>,
}

impl<'t> Heads<'t> {
    pub fn new(text: &'t Text<'t>) -> Result<Heads<'t>, SqlError> {
        let tokens = tokens(text)?;
        let parser =
            Parser::new(&DIALECT).with_recursion_limit(MAX_RECURSION).with_tokens_with_locations(tokens);
        Ok(Heads { text, parser })
    }

    /// Whether the token `n` after the next is this word, unquoted, in any case.
    pub fn nth_is(&self, n: usize, word: &str) -> bool {
        is_word(&self.parser.peek_nth_token_ref(n).token, word)
    }

    /// Whether the token `n` after the next is this one.
    pub fn nth_is_token(&self, n: usize, token: &Token) -> bool {
        self.parser.peek_nth_token_ref(n).token == *token
    }

    /// Takes all that is left; its text.
    pub fn rest(&mut self) -> &'t str {
        let from = self.here();
        while !self.at_end() {
            self.next();
        }
        self.since(from)
    }

    /// Whether these words come next.
    pub fn is(&self, words: &str) -> bool {
        words.split(' ').enumerate().all(|(n, w)| self.nth_is(n, w))
    }

    /// Takes these words (one blank between) if they come next; all or none.
    pub fn word(&mut self, words: &str) -> bool {
        let found = self.is(words);
        if found {
            words.split(' ').for_each(|_| {
                self.parser.next_token();
            });
        }
        found
    }

    /// Takes the first of these that comes next.
    pub fn one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|w| self.word(w))
    }

    /// Takes these words, or a syntax error.
    pub fn expect(&mut self, words: &str) -> Result<(), SqlError> {
        if self.word(words) { Ok(()) } else { Err(self.error(&words.to_uppercase())) }
    }

    /// The next token, not taken.
    pub fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    /// Takes the token if it comes next.
    pub fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes the token, or a syntax error.
    pub fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.token(token) { Ok(()) } else { Err(self.error(&format!("\"{token}\""))) }
    }

    /// Takes whatever token comes next.
    pub fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// Where the next token begins.
    pub fn here(&self) -> Location {
        self.parser.peek_token_ref().span.start
    }

    /// Where the last taken token ended.
    pub fn behind(&self) -> Location {
        match self.parser.index().checked_sub(1) {
            Some(i) => self.parser.token_at(i).span.end,
            None => Location::new(1, 1),
        }
    }

    /// The text from there to the last taken token.
    pub fn since(&self, from: Location) -> &'t str {
        self.text.slice(from, self.behind())
    }

    /// A place to come back to with [`Heads::back`].
    pub fn mark(&self) -> usize {
        self.parser.index()
    }

    /// Gives back the tokens taken since the mark.
    pub fn back(&mut self, mark: usize) {
        while self.parser.index() > mark {
            self.parser.prev_token();
        }
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        matches!(self.peek(), Token::EOF)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), SqlError> {
        if self.at_end() { Ok(()) } else { Err(self.error("the end of the statement")) }
    }

    /// `syntax error at or near` the next token.
    pub fn error(&self, expected: &str) -> SqlError {
        self.text.syntax_error(self.parser.peek_token_ref().span, expected)
    }

    /// A name, folded by [`fold`] only when used.
    pub fn ident(&mut self) -> Result<Ident, SqlError> {
        if !matches!(self.peek(), Token::Word(_)) {
            return Err(self.error("a name"));
        }
        self.sql(|p| p.parse_identifier())
    }

    /// A name with or without schema and database.
    pub fn object_name(&mut self) -> Result<ObjectName, SqlError> {
        if !matches!(self.peek(), Token::Word(_)) {
            return Err(self.error("a name"));
        }
        self.sql(|p| p.parse_object_name(false))
    }

    /// A string of any notation.
    pub fn string(&mut self) -> Result<String, SqlError> {
        let mark = self.mark();
        match self.next().token {
            Token::SingleQuotedString(s)
            | Token::EscapedStringLiteral(s)
            | Token::UnicodeStringLiteral(s) => Ok(s),
            Token::DollarQuotedString(s) => Ok(s.value),
            _ => {
                self.back(mark);
                Err(self.error("a string"))
            }
        }
    }

    /// A number as written, with its sign.
    pub fn number(&mut self) -> Result<String, SqlError> {
        let mark = self.mark();
        let minus = self.token(&Token::Minus);
        match self.next().token {
            Token::Number(n, _) => Ok(if minus { format!("-{n}") } else { n }),
            _ => {
                self.back(mark);
                Err(self.error("a number"))
            }
        }
    }

    /// Items with commas between, at least one.
    pub fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut out = vec![item(self)?];
        while self.token(&Token::Comma) {
            out.push(item(self)?);
        }
        Ok(out)
    }

    /// `( item, … )`; may be empty.
    pub fn parenthesized<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        self.expect_token(&Token::LParen)?;
        if self.token(&Token::RParen) {
            return Ok(vec![]);
        }
        let out = self.comma_separated(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(out)
    }

    /// `IF NOT EXISTS`.
    pub fn if_not_exists(&mut self) -> bool {
        self.word("if not exists")
    }

    /// An expression.
    pub fn expr(&mut self) -> Result<Expr, SqlError> {
        self.sql(|p| p.parse_expr())
    }

    /// A type.
    pub fn data_type(&mut self) -> Result<DataType, SqlError> {
        self.sql(|p| p.parse_data_type())
    }

    /// A query without `AS OF`.
    pub fn sql_query(&mut self) -> Result<Box<SqlQuery>, SqlError> {
        self.sql(|p| p.parse_query())
    }

    /// A query, with `AS OF` if it is there.
    pub fn query(&mut self) -> Result<Query, SqlError> {
        let from = self.here();
        let body = self.sql_query()?;
        let to = self.behind();
        Ok(Query { body, as_of: self.as_of()?, from, to })
    }

    /// `[AS OF [AT LEAST] expr]`.
    pub fn as_of(&mut self) -> Result<Option<AsOf>, SqlError> {
        if !self.token(&AS_OF) {
            return Ok(None);
        }
        let at_least = self.word("at least");
        Ok(Some(AsOf { time: self.expr()?, at_least }))
    }

    /// The same, of options whose names are known: what follows a name without `=` is its value.
    pub fn known_options(&mut self, names: &[&str]) -> Result<Vec<WithOption>, SqlError> {
        let mut options = self.with_options()?;
        for o in &mut options {
            let split = names.iter().find_map(|n| Some((*n, o.name.strip_prefix(n)?.strip_prefix(' ')?)));
            if let (Some((name, value)), None) = (split, &o.value) {
                (o.value, o.name) = (Some(OptionValue::Word(value.to_lowercase())), name.into());
            }
        }
        Ok(options)
    }

    /// `[WITH (option [= value], …)]`.
    pub fn with_options(&mut self) -> Result<Vec<WithOption>, SqlError> {
        let mark = self.mark();
        if !self.word("with") {
            return Ok(vec![]);
        }
        if *self.peek() != Token::LParen {
            self.back(mark);
            return Ok(vec![]);
        }
        self.options()
    }

    /// `(option [=] value, …)`, as in `WITH (…)` and connections.
    pub fn options(&mut self) -> Result<Vec<WithOption>, SqlError> {
        self.parenthesized(Heads::option)
    }

    /// `option [=] value`.
    pub fn option(&mut self) -> Result<WithOption, SqlError> {
        let at = self.here();
        let mut name = self.option_word()?.to_uppercase();
        loop {
            if self.token(&Token::Eq) {
                return Ok(WithOption { name, value: Some(self.option_value()?), at });
            }
            match self.peek() {
                Token::Comma | Token::RParen => return Ok(WithOption { name, value: None, at }),
                // Words up to a value belong to the name, but for the last before a comma: `SECURITY PROTOCOL
                // SASL_SSL` is for the caller to cut.
                Token::Word(w) if w.quote_style.is_none() && !w.value.eq_ignore_ascii_case("secret") => {
                    name.push(' ');
                    name.push_str(&self.option_word()?.to_uppercase());
                }
                _ => return Ok(WithOption { name, value: Some(self.option_value()?), at }),
            }
        }
    }

    fn option_word(&mut self) -> Result<String, SqlError> {
        let mark = self.mark();
        match self.next().token {
            Token::Word(w) => Ok(w.value),
            _ => {
                self.back(mark);
                Err(self.error("an option's name"))
            }
        }
    }

    /// The value of an option.
    pub fn option_value(&mut self) -> Result<OptionValue, SqlError> {
        if self.word("secret") {
            return Ok(OptionValue::Secret(self.object_name()?));
        }
        // `MAP['a' => 'b']`: the brackets say it.
        let mark = self.mark();
        if self.word("map") && *self.peek() != Token::LBracket {
            self.back(mark);
        }
        let close = match self.peek() {
            Token::LParen => Token::RParen,
            Token::LBracket => Token::RBracket,
            Token::Word(_) => return Ok(OptionValue::Word(self.option_word()?)),
            Token::Number(..) | Token::Minus => return Ok(OptionValue::Number(self.number()?)),
            _ => return Ok(OptionValue::String(self.string()?)),
        };
        self.next();
        let (mut list, mut map) = (vec![], vec![]);
        while !self.token(&close) {
            if !(list.is_empty() && map.is_empty()) {
                self.expect_token(&Token::Comma)?;
            }
            let value = self.option_value()?;
            if self.token(&Token::RArrow) {
                let (OptionValue::Word(key) | OptionValue::String(key) | OptionValue::Number(key)) = value
                else {
                    return Err(self.error("a key"));
                };
                map.push((key, self.option_value()?));
            } else {
                list.push(value);
            }
        }
        Ok(if map.is_empty() { OptionValue::List(list) } else { OptionValue::Map(map) })
    }

    /// Whatever sqlparser can parse, with its error made ours.
    pub fn sql<T>(
        &mut self,
        f: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, SqlError> {
        f(&mut self.parser).map_err(|e| self.parser_error(e))
    }

    /// sqlparser's errors are text: `Expected: x, found: y at Line: 1, Column: 2`.
    fn parser_error(&self, error: ParserError) -> SqlError {
        let message = match error {
            ParserError::RecursionLimitExceeded => return too_complex("It nests too deep".into()),
            ParserError::TokenizerError(m) | ParserError::ParserError(m) => m,
        };
        let (message, at) = match message.rsplit_once(" at Line: ") {
            Some((m, place)) => {
                let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>().unwrap_or(0));
                (m, Location::new(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
            }
            None => (message.as_str(), Location::new(0, 0)),
        };
        let expected = message.strip_prefix("Expected: ").and_then(|m| m.rsplit_once(", found: "));
        // The token at that place, to name it as it was written.
        let index = (0..).map_while(|i| match self.parser.token_at(i) {
            t if t.token == Token::EOF => None,
            t => Some(t.span),
        });
        let span = index.into_iter().find(|s| s.start == at);
        match (expected, span) {
            (Some((expected, _)), Some(span)) => self.text.syntax_error(span, expected),
            (Some((expected, "EOF")), None) => self.text.syntax_error(Span::empty(), expected),
            (None, Some(span)) => self.text.syntax_error(span, message),
            _ => self.text.syntax_error(self.parser.peek_token_ref().span, message),
        }
    }
}

/// An identifier as the catalog knows it: lower case unless quoted.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// An identifier as SQL text, quoted where it must be.
pub(crate) fn quote(name: &str) -> String {
    let plain = |(i, c): (usize, char)| c == '_' || c.is_ascii_lowercase() || (i > 0 && c.is_ascii_digit());
    if !name.is_empty() && name.chars().enumerate().all(plain) && !RESERVED.contains(&name) {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Whether the word is no name unless quoted.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Words that are no names unless quoted: Postgres' reserved ones, and those that our statement heads look for.
const RESERVED: [&str; 107] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "list",
    "localtime",
    "localtimestamp",
    "map",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "options",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "row",
    "rows",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// A string literal.
pub(crate) fn quote_string(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn word_of(token: &TokenWithSpan) -> &str {
    if let Token::Word(w) = &token.token { &w.value } else { "" }
}

fn word(value: &str, quote: Option<char>, keyword: Keyword) -> Token {
    Token::Word(Word { value: value.into(), quote_style: quote, keyword })
}

/// The tokens of a text without blanks and comments, with what sqlparser does not know rewritten.
fn tokens(text: &Text<'_>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let raw = Tokenizer::new(&DIALECT, text.text).tokenize_with_location().map_err(|e| {
        let span = Span::new(e.location, e.location);
        text.at(span, SqlError::new(code::SYNTAX_ERROR, crate::text::lower_first(&e.message)))
    })?;
    let raw = without_blanks(raw);
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(raw.len() + 4);
    let is = |i: usize, w: &str| raw.get(i).is_some_and(|t: &TokenWithSpan| is_word(&t.token, w));
    let is_token = |i: usize, token: &Token| raw.get(i).is_some_and(|t| t.token == *token);
    let temporary = usize::from(is(1, "temp") || is(1, "temporary"));
    let table = is(0, "create") && is(1 + temporary, "table");
    let first_of_item =
        |i: usize| i > 0 && (is_token(i - 1, &Token::LParen) || is_token(i - 1, &Token::Comma));
    let mut depth = 0usize;
    let mut i = 0;
    while i < raw.len() {
        let t = &raw[i];
        let span = t.span;
        match &t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(w) if w.quote_style.is_some() && w.value.is_empty() => {
                let error = "zero-length delimited identifier at or near \"\"\"\"";
                return Err(text.at(span, SqlError::new(code::SYNTAX_ERROR, error)));
            }
            _ if is(i, "as") && is(i + 1, "of") && depth == 0 && i + 2 < raw.len() => {
                let ends = is_token(i + 2, &Token::Comma) || is(i + 2, "from") || is(i + 2, "where");
                if !ends {
                    out.push(TokenWithSpan::new(AS_OF, Span::new(span.start, raw[i + 1].span.end)));
                    i += 2;
                    continue;
                }
            }
            // Hints about sizes of groups.
            _ if is(i, "options")
                && is_token(i + 1, &Token::LParen)
                && ["aggregate", "distinct", "limit", "expected"].iter().any(|w| is(i + 2, w)) =>
            {
                while i < raw.len() && !is_token(i, &Token::RParen) {
                    i += 1;
                }
                i += 1;
                continue;
            }
            _ if is(i, "rows") && is(i + 1, "from") && is_token(i + 2, &Token::LParen) => {
                out.push(TokenWithSpan::new(word(ROWS_FROM, Some('"'), Keyword::NoKeyword), span));
                i += 2;
                continue;
            }
            _ if is(i, "exclude")
                && ["current", "group", "ties", "no"].iter().any(|w| is(i + 1, w))
                && (is_token(i + 2, &Token::RParen) || is_token(i + 3, &Token::RParen)) =>
            {
                let what =
                    if is(i + 1, "current") { "row".into() } else { word_of(&raw[i + 1]).to_lowercase() };
                let known = match what.as_str() {
                    "row" => is(i + 2, "row"),
                    "no" => is(i + 2, "others"),
                    _ => is_token(i + 2, &Token::RParen),
                };
                if known && exclude(&mut out, &what, span).is_some() {
                    i += if is_token(i + 2, &Token::RParen) { 2 } else { 3 };
                    continue;
                }
            }
            // `WITH MUTUALLY RECURSIVE`: the word for sqlparser is WITH, its text says the rest.
            _ if is(i, "with") && is(i + 1, "mutually") && is(i + 2, "recursive") => {
                let mut head = MUTUALLY.to_string();
                let mut end = i + 3;
                if is_token(end, &Token::LParen) {
                    let error = is(end + 1, "error");
                    while end < raw.len() && !is_token(end, &Token::RParen) {
                        if let Token::Number(n, _) = &raw[end].token {
                            head.push_str(&format!(" {} {n}", if error { "error" } else { "return" }));
                        }
                        end += 1;
                    }
                    end += 1;
                }
                out.push(TokenWithSpan::new(word(&head, None, Keyword::WITH), span));
                out.push(raw[i + 2].clone());
                i = end;
                continue;
            }
            // `FROM (SHOW …)`: a table whose name is the statement.
            _ if i >= 2
                && is(i, "show")
                && is_token(i - 1, &Token::LParen)
                && (is(i - 2, "from") || is(i - 2, "join") || is_token(i - 2, &Token::Comma)) =>
            {
                let mut end = i;
                let mut inner = 0usize;
                while end < raw.len() && (inner > 0 || !is_token(end, &Token::RParen)) {
                    inner += usize::from(is_token(end, &Token::LParen));
                    inner -= usize::from(is_token(end, &Token::RParen));
                    end += 1;
                }
                let whole = Span::new(span.start, raw[end - 1].span.end);
                let show = format!("{SHOW}{}", text.slice(whole.start, whole.end));
                out.push(TokenWithSpan::new(word(&show, Some('"'), Keyword::NoKeyword), whole));
                i = end;
                continue;
            }
            // `trim(LEADING FROM x)` trims blanks.
            _ if i >= 3
                && is(i, "from")
                && ["leading", "trailing", "both"].iter().any(|w| is(i - 1, w))
                && is_token(i - 2, &Token::LParen)
                && is(i - 3, "trim") =>
            {
                out.push(TokenWithSpan::new(Token::SingleQuotedString(" ".into()), span));
            }
            // `(record).*`: sqlparser drops the star.
            Token::Mul
                if i >= 2
                    && is_token(i - 1, &Token::Period)
                    && (is_token(i - 2, &Token::RParen) || is_token(i - 2, &Token::RBracket)) =>
            {
                out.push(TokenWithSpan::new(word(STAR, Some('"'), Keyword::NoKeyword), span));
                i += 1;
                continue;
            }
            // `TABLE t` as a query.
            _ if is(i, "table") && matches!(raw.get(i + 1).map(|t| &t.token), Some(Token::Word(_))) => {
                let starts = match out.last().map(|t| &t.token) {
                    None | Some(Token::LParen) => true,
                    Some(Token::Word(w)) => {
                        let before = w.value.to_ascii_lowercase();
                        ["union", "all", "distinct", "except", "intersect", "as", "for"]
                            .contains(&before.as_str())
                    }
                    _ => false,
                };
                if starts {
                    for token in
                        [word("SELECT", None, Keyword::SELECT), Token::Mul, word("FROM", None, Keyword::FROM)]
                    {
                        out.push(TokenWithSpan::new(token, span));
                    }
                    i += 1;
                    continue;
                }
            }
            // An operator does not end in + or -, unless it holds an unusual character: `->-1` is `-> -1`.
            Token::CustomBinaryOperator(op) if op.ends_with(['-', '+']) && !op.contains(UNUSUAL) => {
                let end = Location::new(span.end.line, span.end.column.saturating_sub(1));
                let sign = if op.ends_with('-') { Token::Minus } else { Token::Plus };
                let rest = &op[..op.len() - 1];
                let inner = Tokenizer::new(&DIALECT, rest).tokenize().unwrap_or_default();
                for token in inner {
                    out.push(TokenWithSpan::new(token, Span::new(span.start, end)));
                }
                out.push(TokenWithSpan::new(sign, Span::new(end, span.end)));
                i += 1;
                continue;
            }
            // Types that sqlparser cannot read, `map[text=>t]` and `t list`, where types stand: behind `::`, in a cast, as
            // a column's.
            _ if t.token == Token::DoubleColon
                || is(i, "as")
                || (table && depth == 1 && first_of_item(i)) =>
            {
                if let Some((name, end)) = odd_type(&raw, i + 1) {
                    out.push(t.clone());
                    let span = Span::new(raw[i + 1].span.start, raw[end - 1].span.end);
                    out.push(TokenWithSpan::new(word(&name, Some('"'), Keyword::NoKeyword), span));
                    i = end;
                    continue;
                }
            }
            _ => {}
        }
        out.push(t.clone());
        i += 1;
    }
    Ok(out)
}

/// Without blanks and comments. Strings with nothing but a line's end between them are one.
fn without_blanks(all: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(all.len());
    let mut new_line = false;
    for t in all {
        match (&t.token, out.last_mut()) {
            (Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }), _) => {
                new_line = true
            }
            (Token::Whitespace(_), _) => {}
            (
                Token::SingleQuotedString(more),
                Some(TokenWithSpan {
                    token: Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s),
                    span,
                }),
            ) if new_line => {
                s.push_str(more);
                span.end = t.span.end;
                new_line = false;
            }
            _ => {
                new_line = false;
                out.push(t);
            }
        }
    }
    out
}

/// `EXCLUDE …` of a frame, which sqlparser does not know, becomes the last sort key of its window: a name that no text
/// can write. `out` has the window's tokens so far.
fn exclude(out: &mut Vec<TokenWithSpan>, what: &str, span: Span) -> Option<()> {
    let (mut depth, mut units, mut ordered) = (0usize, None, false);
    let mut at = out.len();
    loop {
        at = at.checked_sub(1)?;
        match &out[at].token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => break,
            Token::LParen => depth -= 1,
            token if depth == 0 => {
                if units.is_none() && ["rows", "range", "groups"].iter().any(|w| is_word(token, w)) {
                    units = Some(at);
                }
                ordered |= is_word(token, "order");
            }
            _ => {}
        }
    }
    let mut marker = match ordered {
        true => vec![Token::Comma],
        false => vec![word("ORDER", None, Keyword::ORDER), word("BY", None, Keyword::BY)],
    };
    marker.push(word(&format!("{EXCLUDE}{what}"), Some('"'), Keyword::NoKeyword));
    let units = units?;
    out.splice(units..units, marker.into_iter().map(|token| TokenWithSpan::new(token, span)));
    Some(())
}

/// The name of a list or map type that begins at the token, and the token behind it.
fn odd_type(raw: &[TokenWithSpan], from: usize) -> Option<(String, usize)> {
    let is = |i: usize, w: &str| raw.get(i).is_some_and(|t| is_word(&t.token, w));
    let (mut name, mut at) = if is(from, "map") && raw.get(from + 1)?.token == Token::LBracket {
        if !is(from + 2, "text") || raw.get(from + 3)?.token != Token::RArrow {
            return None;
        }
        let (value, end) = odd_type(raw, from + 4).or_else(|| match &raw.get(from + 4)?.token {
            Token::Word(w) => Some((w.value.to_lowercase(), from + 5)),
            _ => None,
        })?;
        if raw.get(end)?.token != Token::RBracket {
            return None;
        }
        (format!("map[text=>{value}]"), end + 1)
    } else {
        match &raw.get(from)?.token {
            Token::Word(w) if is(from + 1, "list") => (w.value.to_lowercase(), from + 1),
            _ => return None,
        }
    };
    while is(at, "list") {
        name.push_str(" list");
        at += 1;
    }
    Some((name, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(String, usize)> {
        split(text).unwrap().into_iter().map(|s| (s.text, s.offset)).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not_split() {
        let text = "select 'a;b', E'\\';', \"x;\" /* ; /* ; */ */ , $$;$$, $t$ ; $$ $t$ -- ;\n; ;; select 2";
        let found = texts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], ("select 2".into(), text.chars().count() - 8));
    }

    #[test]
    fn offsets_count_characters() {
        assert_eq!(
            texts("select 'é';  select 'ü' ; "),
            [("select 'é'".into(), 0), ("select 'ü'".into(), 13)]
        );
    }

    #[test]
    fn what_is_not_closed_is_named() {
        for (text, message, position) in [
            ("select 'abc", "unterminated quoted string at or near \"'abc\"", 8),
            ("select \"abc", "unterminated quoted identifier at or near \"\"abc\"", 8),
            ("select /* a /* b */", "unterminated /* comment at or near \"/* a /* b */\"", 8),
            ("é $x$ abc $$", "unterminated dollar-quoted string at or near \"$x$ abc $$\"", 3),
        ] {
            let error = split(text).unwrap_err();
            assert_eq!((error.message.as_str(), error.position), (message, Some(position)));
        }
    }

    #[test]
    fn deep_texts_are_refused_before_anything_recurses() {
        let n = 500_000;
        let shapes = [
            format!("select 1{}", "+1".repeat(n)),
            format!("select {}1", "-".repeat(3).replace("---", "- ").repeat(n)),
            format!("select {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("select 1{}", " and 1".repeat(n)),
            format!("select {}1", "not ".repeat(n)),
            format!("select {}", "case when true then ".repeat(n)),
            format!("select case {} end", "when true then 1 ".repeat(n)),
            format!("select 1{}", " union all select 1".repeat(n)),
            format!("select * from t{}", " join t on true".repeat(n)),
            format!("select a{}", "[1]".repeat(n)),
            format!("select 1{}", "::int".repeat(n)),
            format!("select {}", "array[".repeat(n)),
            format!("select {}1", "@".repeat(n)),
            format!("select * from {}", "(select * from ".repeat(n)),
        ];
        for shape in shapes {
            assert_eq!(split(&shape).unwrap_err().code, code::STATEMENT_TOO_COMPLEX, "{}", &shape[..40]);
        }
    }

    #[test]
    fn long_lists_are_no_depth() {
        let rows: Vec<String> = (0..20_000).map(|i| format!("(-{i}, 1 + {i})")).collect();
        assert_eq!(split(&format!("insert into t values {}", rows.join(","))).unwrap().len(), 1);
    }
}
