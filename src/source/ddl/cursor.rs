//! Reading a statement: words, names, strings, numbers, and stretches that are passed over.

use super::DdlError;
use super::lex::{Kind, Token, string_value, token, unquoted};
use crate::format::manifest::Name;

/// How much of a statement an error shows, in characters.
const SHOWN: usize = 80;

/// A place in a statement.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    standard: bool,
    /// Where the token before the next one ends.
    before: usize,
    next: Token,
}

/// A name as written: with or without a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    pub(super) schema: Option<String>,
    pub(super) name: String,
    /// The name (the last part) is in quotes.
    pub(super) quoted: bool,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{}", Name::new(schema.as_str(), self.name.as_str())),
            None => f.write_str(&self.name),
        }
    }
}

impl<'a> Cursor<'a> {
    /// At the first token. `standard` is `standard_conforming_strings`.
    pub(super) fn new(text: &'a str, standard: bool) -> Self {
        Self { text, standard, before: 0, next: token(text, 0, standard) }
    }

    /// The beginning of the statement, for an error.
    pub(super) fn shown(&self) -> String {
        let start = token(self.text, 0, self.standard).start;
        let text = self.text.get(start..).unwrap_or_default();
        let mut shown = String::new();
        for (count, word) in text.split_whitespace().enumerate() {
            if shown.len() + word.len() > SHOWN {
                if count == 0 {
                    shown.extend(word.chars().take(SHOWN));
                }
                shown.push('…');
                break;
            }
            if count > 0 {
                shown.push(' ');
            }
            shown.push_str(word);
        }
        shown
    }

    /// An error about this statement.
    pub(super) fn error(&self, problem: impl Into<String>) -> DdlError {
        DdlError::NotUnderstood { statement: self.shown(), problem: problem.into() }
    }

    /// An error about what stands here.
    pub(super) fn unexpected(&self, wanted: &str) -> DdlError {
        let here: String = match self.next.kind {
            Kind::End => "its end".to_owned(),
            _ => format!("{:?}", self.slice(self.next).chars().take(40).collect::<String>()),
        };
        self.error(format!("{here} where {wanted} is expected"))
    }

    /// An error about something that no statement before this one has declared.
    pub(super) fn undeclared(&self, object: impl Into<String>) -> DdlError {
        DdlError::Undeclared { object: object.into(), statement: self.shown() }
    }

    fn slice(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    pub(super) fn kind(&self) -> Kind {
        self.next.kind
    }

    pub(super) fn advance(&mut self) {
        self.before = self.next.end;
        self.next = token(self.text, self.next.end, self.standard);
    }

    /// Where an expression begins that one space stands before: the server begins some of its own
    /// with a line end.
    pub(super) fn behind_space(&self) -> usize {
        let rest = self.text.get(self.before..).unwrap_or_default();
        if rest.starts_with(' ') { self.before + 1 } else { self.before }
    }

    /// Where the next token begins.
    pub(super) fn here(&self) -> usize {
        self.next.start
    }

    /// The text from `start`, a place of [`Self::here`], to here, without space at its end.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.next.start).unwrap_or_default().trim_end()
    }

    /// Whether the next token is this key word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.next.kind == Kind::Word && self.slice(self.next).eq_ignore_ascii_case(word)
    }

    /// Takes this key word, if it is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes these key words, if they are next; else none of them.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let (before, next) = (self.before, self.next);
        for word in words {
            if !self.word(word) {
                (self.before, self.next) = (before, next);
                return false;
            }
        }
        true
    }

    /// Takes these key words, which must be next.
    pub(super) fn expect(&mut self, words: &[&str]) -> Result<(), DdlError> {
        if self.words(words) { Ok(()) } else { Err(self.unexpected(&words.join(" "))) }
    }

    pub(super) fn is_symbol(&self, symbol: u8) -> bool {
        self.next.kind == Kind::Symbol(symbol)
    }

    pub(super) fn symbol(&mut self, symbol: u8) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect_symbol(&mut self, symbol: u8) -> Result<(), DdlError> {
        if self.symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("{:?}", char::from(symbol))))
        }
    }

    /// The statement must end here.
    pub(super) fn end(&mut self) -> Result<(), DdlError> {
        while self.symbol(b';') {}
        if self.next.kind == Kind::End { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// Whether nothing but its semicolon follows.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.next.kind, Kind::End | Kind::Symbol(b';'))
    }

    /// The next word in capitals, taken; empty if none is next.
    pub(super) fn any_word(&mut self) -> String {
        if self.next.kind != Kind::Word {
            return String::new();
        }
        let word = self.slice(self.next).to_ascii_uppercase();
        self.advance();
        word
    }

    /// A name of one part.
    pub(super) fn name(&mut self) -> Result<String, DdlError> {
        let text = self.slice(self.next);
        let name = match self.next.kind {
            Kind::Word => text.to_ascii_lowercase(),
            Kind::Quoted => unquoted(text),
            _ => return Err(self.unexpected("a name")),
        };
        self.advance();
        Ok(name)
    }

    /// A name of one part or two. Of three, the first must be a catalog's: it is an error.
    pub(super) fn written(&mut self) -> Result<Written, DdlError> {
        let mut quoted = self.next.kind == Kind::Quoted;
        let mut name = self.name()?;
        let mut schema = None;
        if self.symbol(b'.') {
            quoted = self.next.kind == Kind::Quoted;
            schema = Some(std::mem::replace(&mut name, self.name()?));
        }
        Ok(Written { schema, name, quoted })
    }

    /// A string's value.
    pub(super) fn string(&mut self) -> Result<String, DdlError> {
        let value = match self.next.kind {
            Kind::String => string_value(self.slice(self.next), self.standard),
            _ => return Err(self.unexpected("a string")),
        };
        let value = value.ok_or_else(|| self.unexpected("a simple string"))?;
        self.advance();
        Ok(value)
    }

    /// An integer with its sign.
    pub(super) fn integer(&mut self) -> Result<i64, DdlError> {
        let negative = self.symbol(b'-');
        let digits = match self.next.kind {
            Kind::Number => self.slice(self.next),
            _ => return Err(self.unexpected("a number")),
        };
        let value = if negative { format!("-{digits}").parse() } else { digits.parse() };
        let value = value.map_err(|_| self.unexpected("an integer of 64 bits"))?;
        self.advance();
        Ok(value)
    }

    /// Passes over a stretch, whatever is in its parentheses and brackets, up to a token outside of
    /// them for which `ends` holds, a comma, the closing parenthesis of what this is in, or the end.
    pub(super) fn pass(&mut self, ends: impl Fn(&Self) -> bool) -> Result<(), DdlError> {
        let mut depth = 0_u64;
        loop {
            match self.next.kind {
                Kind::End => {
                    return if depth == 0 { Ok(()) } else { Err(self.unexpected("\")\"")) };
                }
                Kind::Symbol(b'(' | b'[') => depth += 1,
                Kind::Symbol(b')' | b']') => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return Ok(()),
                },
                Kind::Symbol(b',' | b';') if depth == 0 => return Ok(()),
                _ if depth == 0 && ends(self) => return Ok(()),
                _ => {}
            }
            self.advance();
        }
    }

    /// Passes over `( ... )`, which must be next.
    pub(super) fn parenthesised(&mut self) -> Result<(), DdlError> {
        self.expect_symbol(b'(')?;
        loop {
            self.pass(|_| false)?;
            if !self.symbol(b',') && !self.symbol(b';') {
                return self.expect_symbol(b')');
            }
        }
    }

    /// `(a, b)`: names.
    pub(super) fn names(&mut self) -> Result<Vec<String>, DdlError> {
        self.expect_symbol(b'(')?;
        let mut names = vec![self.name()?];
        while self.symbol(b',') {
            names.push(self.name()?);
        }
        self.expect_symbol(b')')?;
        Ok(names)
    }

    /// Whether two key words are next.
    pub(super) fn are(&self, words: &[&str]) -> bool {
        self.clone().words(words)
    }
}
