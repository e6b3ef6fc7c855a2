//! A statement's text: where its tokens stand in it, in characters as clients count and in bytes as Rust does.

use repr::SqlError;
use sqlparser::tokenizer::{Location, Span};

/// A statement's text and its place in the whole.
#[derive(Debug)]
pub(crate) struct Text<'t> {
    pub text: &'t str,
    /// Characters before it in the whole text.
    offset: usize,
    /// For each line: its first byte and its first character.
    lines: Vec<(usize, usize)>,
}

impl<'t> Text<'t> {
    pub fn new(text: &'t str, offset: usize) -> Text<'t> {
        let mut lines = vec![(0, 0)];
        for (chars, (byte, c)) in text.char_indices().enumerate() {
            if c == '\n' {
                lines.push((byte + 1, chars + 1));
            }
        }
        Text { text, offset, lines }
    }

    fn line(&self, at: Location) -> Option<(usize, usize)> {
        self.lines.get((at.line as usize).checked_sub(1)?).copied()
    }

    /// The character in the whole text, from 1. None for a place that the parser made up.
    pub fn position(&self, at: Location) -> Option<usize> {
        Some(self.offset + self.line(at)?.1 + at.column as usize)
    }

    /// The byte in this text.
    pub fn byte(&self, at: Location) -> usize {
        let Some((start, _)) = self.line(at) else { return self.text.len() };
        let line = &self.text[start..];
        start + line.char_indices().nth((at.column as usize).saturating_sub(1)).map_or(line.len(), |(b, _)| b)
    }

    /// What stands between two places.
    pub fn slice(&self, from: Location, to: Location) -> &'t str {
        let (from, to) = (self.byte(from), self.byte(to));
        &self.text[from.min(to)..to]
    }

    /// Adds the place to an error that has none.
    pub fn at(&self, span: Span, error: SqlError) -> SqlError {
        match self.position(span.start) {
            Some(position) => error.at(position),
            None => error,
        }
    }

    /// `syntax error at or near …`, at a token.
    pub fn syntax_error(&self, span: Span, expected: &str) -> SqlError {
        let near = self.slice(span.start, span.end);
        let mut error = if near.is_empty() || span.start.line == 0 {
            let end = self.offset + self.text.chars().count() + 1;
            SqlError::new(repr::error::code::SYNTAX_ERROR, "syntax error at end of input").at(end)
        } else {
            let near: String = near.chars().take(100).collect();
            let error =
                SqlError::new(repr::error::code::SYNTAX_ERROR, format!("syntax error at or near \"{near}\""));
            self.at(span, error)
        };
        if !expected.is_empty() {
            error.detail = Some(format!("Expected {expected}."));
        }
        error
    }
}

/// The first word of a message in lower case, without its full stop: how details become parts of sentences.
pub(crate) fn lower_first(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_slices_count_bytes() {
        let text = Text::new("é\nab ü c", 10);
        let at = Location::new(2, 4);
        assert_eq!(text.position(at), Some(10 + 2 + 4));
        assert_eq!(text.slice(at, Location::new(2, 5)), "ü");
        assert_eq!(text.position(Location::new(0, 0)), None);
    }
}
