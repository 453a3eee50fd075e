//! Cutting SQL into statements by the lexical rules of `PostgreSQL` (manual 4.1) and `psql`.
//!
//! It knows strings (`'...'`, `E'...'`, and what `standard_conforming_strings` makes of a
//! backslash), dollar quotes, quoted identifiers, nested comments, parentheses (the statements of
//! a rule are within some) and the bodies of SQL-standard functions (`BEGIN ATOMIC ... END`), the
//! last by the same means as `psql`: words at the beginning of the statement, and BEGIN, CASE and
//! END outside of parentheses. A statement ends with the semicolon that is in none of these.
//!
//! It reads bytes of any encoding in which ASCII bytes stand for ASCII alone (each that a server
//! can have), in pieces of any size, and keeps a few bytes of them.

use super::DdlError;

/// What has been read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A statement, its semicolon the last byte.
    Statement,
    /// A command to `psql`: a backslash where a statement could begin, and all to the end of the
    /// line, the line end included.
    Command,
}

/// A part of a text. What is before a statement or command (white space, comments) belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// A statement with its semicolon.
    Statement(&'a str),
    /// A command to `psql`, such as `\connect shop`, with its line end.
    Command(&'a str),
}

/// Longer tags of dollar quotes are refused; `pg_dump` writes a few bytes.
pub(super) const TAG: usize = 256;

/// Words as long as this or longer are none that matter here.
const WORD: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Between tokens.
    Plain,
    /// In a word or number. The first bytes of a word are in `Splitter::word`.
    Word,
    /// After `-`, `/`.
    Minus,
    Slash,
    LineComment,
    /// In a comment this deep; the byte before, if it matters.
    Comment(u32, u8),
    String {
        escapes: bool,
    },
    /// After a backslash in a string.
    Escape,
    /// After the quote that ends a string with escapes, unless another follows, or, after a line
    /// end (`newline`), the string goes on.
    AfterString {
        newline: bool,
        adjacent: bool,
    },
    Identifier,
    /// After a `$` that is no part of a word; the tag so far is in `Splitter::tag`.
    Tag,
    /// In a dollar quote, with so many bytes of what closes it seen.
    Dollar(usize),
    Command,
}

/// Finds where statements end, in pieces of any size.
#[derive(Clone, Debug)]
pub struct Splitter {
    state: State,
    standard_strings: bool,
    parens: u32,
    begins: u32,
    /// Nothing but white space and comments so far.
    empty: bool,
    word: [u8; WORD],
    word_len: usize,
    /// Initials of the first words of the statement, as far as they may make a function, and how
    /// many words there were.
    heads: [u8; 4],
    words: usize,
    pub(super) tag: Vec<u8>,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// At the beginning of a text; `standard_conforming_strings` is on.
    pub fn new() -> Self {
        Self {
            state: State::Plain,
            standard_strings: true,
            parens: 0,
            begins: 0,
            empty: true,
            word: [0; WORD],
            word_len: 0,
            heads: [0; 4],
            words: 0,
            tag: Vec::new(),
        }
    }

    /// What `SET standard_conforming_strings` says: whether a backslash in `'...'` is just one.
    pub fn set_standard_strings(&mut self, on: bool) {
        self.standard_strings = on;
    }

    /// Whether nothing but white space and whole comments has been read since the last end.
    pub fn is_between(&self) -> bool {
        self.empty && matches!(self.state, State::Plain | State::LineComment)
    }

    /// Reads on to the next end or to the end of `bytes`: how many bytes of them were read, and
    /// what ended there, if anything did. Call it again with the rest.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<End>), DdlError> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = bytes.get(at..).unwrap_or_default();
            // Most bytes are within strings, quotes and comments, where only a few matter.
            let skip = match self.state {
                State::String { escapes: false } => memchr::memchr(b'\'', rest),
                State::String { escapes: true } => memchr::memchr2(b'\'', b'\\', rest),
                State::Identifier => memchr::memchr(b'"', rest),
                State::Dollar(0) => memchr::memchr(b'$', rest),
                State::LineComment => memchr::memchr2(b'\n', b'\r', rest),
                State::Command => memchr::memchr(b'\n', rest),
                _ => Some(0),
            };
            match skip {
                None => return Ok((bytes.len(), None)),
                Some(0) => {}
                Some(skip) => {
                    at += skip;
                    continue;
                }
            }
            at += 1;
            if let Some(end) = self.byte(byte)? {
                self.restart();
                return Ok((at, Some(end)));
            }
        }
        Ok((at, None))
    }

    /// At the end of the text: what ended with it, if anything did.
    pub fn finish(&self) -> Result<Option<End>, DdlError> {
        let within = match self.state {
            State::Command => return Ok(Some(End::Command)),
            State::String { .. } | State::Escape => "a quoted string",
            State::Identifier => "a quoted identifier",
            State::Dollar(_) => "a dollar quote",
            State::Comment(..) => "a comment",
            _ if self.empty && self.is_between() => return Ok(None),
            _ => "a statement",
        };
        Err(DdlError::Cut { within })
    }

    fn restart(&mut self) {
        let tag = std::mem::take(&mut self.tag);
        *self = Self { standard_strings: self.standard_strings, tag, ..Self::new() };
        self.tag.clear();
    }

    fn byte(&mut self, byte: u8) -> Result<Option<End>, DdlError> {
        match self.state {
            State::Plain => return Ok(self.plain(byte)),
            State::Word => {
                // A number ends before what cannot be in one, and a dollar quote may follow.
                let number = self.word.first().is_some_and(u8::is_ascii_digit);
                if is_word(byte) && !(number && (byte == b'$' || byte >= 0x80)) {
                    if let Some(place) = self.word.get_mut(self.word_len) {
                        *place = byte.to_ascii_lowercase();
                        self.word_len += 1;
                    }
                    return Ok(None);
                }
                let escapes = self.word.get(..self.word_len) == Some(b"e".as_slice());
                self.end_word();
                if byte == b'\'' && escapes {
                    self.state = State::String { escapes: true };
                    return Ok(None);
                }
                self.state = State::Plain;
                return Ok(self.plain(byte));
            }
            State::Minus if byte == b'-' => self.state = State::LineComment,
            State::Slash if byte == b'*' => self.state = State::Comment(1, 0),
            State::Minus | State::Slash => {
                self.empty = false;
                self.state = State::Plain;
                return Ok(self.plain(byte));
            }
            State::LineComment => {
                if matches!(byte, b'\n' | b'\r') {
                    self.state = State::Plain;
                }
            }
            State::Comment(depth, before) => {
                self.state = match (before, byte) {
                    (b'*', b'/') if depth == 1 => State::Plain,
                    (b'*', b'/') => State::Comment(depth - 1, 0),
                    (b'/', b'*') => State::Comment(depth.saturating_add(1), 0),
                    _ => State::Comment(depth, byte),
                };
            }
            State::String { escapes } => match byte {
                b'\'' if escapes => {
                    self.state = State::AfterString { newline: false, adjacent: true };
                }
                // Another quote opens it again.
                b'\'' => self.state = State::Plain,
                b'\\' if escapes => self.state = State::Escape,
                _ => {}
            },
            State::Escape => self.state = State::String { escapes: true },
            State::AfterString { newline, adjacent } => match byte {
                b'\'' if newline || adjacent => self.state = State::String { escapes: true },
                b'\n' | b'\r' => {
                    self.state = State::AfterString { newline: true, adjacent: false };
                }
                b' ' | b'\t' | 0x0b | 0x0c => {
                    self.state = State::AfterString { newline, adjacent: false };
                }
                _ => {
                    self.state = State::Plain;
                    return Ok(self.plain(byte));
                }
            },
            State::Identifier => {
                if byte == b'"' {
                    self.state = State::Plain;
                }
            }
            State::Tag => {
                if byte == b'$' {
                    self.state = State::Dollar(0);
                } else if byte == b'_'
                    || byte >= 0x80
                    || byte.is_ascii_alphabetic()
                    || (byte.is_ascii_digit() && !self.tag.is_empty())
                {
                    if self.tag.len() == TAG {
                        return Err(DdlError::NotUnderstood {
                            statement: format!("${}", String::from_utf8_lossy(&self.tag)),
                            problem: format!("a dollar quote's tag of more than {TAG} bytes"),
                        });
                    }
                    self.tag.push(byte);
                } else {
                    // `$1`, or a dollar that is nothing; what follows it is a word.
                    let tag = std::mem::take(&mut self.tag);
                    self.word_len = tag.len().min(WORD);
                    for (place, byte) in self.word.iter_mut().zip(&tag) {
                        *place = byte.to_ascii_lowercase();
                    }
                    self.state = if tag.is_empty() { State::Plain } else { State::Word };
                    return self.byte(byte);
                }
            }
            State::Dollar(seen) => {
                // The tag holds no `$`: one that does not belong there may begin what closes.
                self.state = match seen {
                    0 if byte == b'$' => State::Dollar(1),
                    0 => State::Dollar(0),
                    _ if self.tag.get(seen - 1) == Some(&byte) => State::Dollar(seen + 1),
                    _ if byte == b'$' && seen == self.tag.len() + 1 => {
                        self.tag.clear();
                        State::Plain
                    }
                    _ if byte == b'$' => State::Dollar(1),
                    _ => State::Dollar(0),
                };
            }
            State::Command => {
                if byte == b'\n' {
                    return Ok(Some(End::Command));
                }
            }
        }
        Ok(None)
    }

    /// A byte between tokens.
    fn plain(&mut self, byte: u8) -> Option<End> {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => return None,
            b'-' => {
                self.state = State::Minus;
                return None;
            }
            b'/' => {
                self.state = State::Slash;
                return None;
            }
            b'\\' if self.empty => {
                self.state = State::Command;
                self.empty = false;
                return None;
            }
            b'\'' => self.state = State::String { escapes: !self.standard_strings },
            b'"' => self.state = State::Identifier,
            b'$' => {
                self.tag.clear();
                self.state = State::Tag;
            }
            b'(' => self.parens = self.parens.saturating_add(1),
            b')' => self.parens = self.parens.saturating_sub(1),
            b';' if self.parens == 0 && self.begins == 0 => return Some(End::Statement),
            _ if is_word(byte) => {
                self.state = State::Word;
                self.word_len = 0;
                if let Some(place) = self.word.first_mut() {
                    *place = byte.to_ascii_lowercase();
                    self.word_len = 1;
                }
            }
            _ => {}
        }
        self.empty = false;
        None
    }

    /// `psql` counts BEGIN, CASE and END where the statement began with CREATE [OR REPLACE]
    /// FUNCTION or PROCEDURE.
    fn end_word(&mut self) {
        let word = self.word.get(..self.word_len).unwrap_or_default();
        let counts = matches!(word, b"create" | b"or" | b"replace" | b"function" | b"procedure");
        if let (true, Some(head), Some(initial)) =
            (counts, self.heads.get_mut(self.words), word.first())
        {
            *head = *initial;
        }
        self.words = self.words.saturating_add(1);
        let function =
            matches!(self.heads, [b'c', b'f' | b'p', _, _] | [b'c', b'o', b'r', b'f' | b'p']);
        if !function || self.parens > 0 {
            return;
        }
        match word {
            b"begin" => self.begins = self.begins.saturating_add(1),
            b"case" if self.begins > 0 => self.begins = self.begins.saturating_add(1),
            b"end" => self.begins = self.begins.saturating_sub(1),
            _ => {}
        }
    }
}

/// Part of a word or number. A `$` is one but not at the beginning, where it is seen before this.
fn is_word(byte: u8) -> bool {
    byte == b'_' || byte == b'$' || byte >= 0x80 || byte.is_ascii_alphanumeric()
}

/// The pieces of `text`, which they cover but for white space and comments at its end. A
/// `SET standard_conforming_strings` is obeyed. After an error there is no more.
pub fn statements(text: &str) -> Statements<'_> {
    Statements { rest: text, splitter: Splitter::new(), done: false }
}

/// See [`statements`].
#[derive(Clone, Debug)]
pub struct Statements<'a> {
    rest: &'a str,
    splitter: Splitter,
    done: bool,
}

impl<'a> Iterator for Statements<'a> {
    type Item = Result<Piece<'a>, DdlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let ended = match self.splitter.push(self.rest.as_bytes()) {
            Ok((read, Some(end))) => Ok(Some((read, end))),
            Ok((read, None)) => {
                self.done = true;
                self.splitter.finish().map(|end| end.map(|end| (read, end)))
            }
            Err(error) => Err(error),
        };
        let (read, end) = match ended {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        };
        // An end is behind an ASCII byte, or behind all of it.
        let (piece, rest) = self.rest.split_at_checked(read).unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(Ok(match end {
            End::Command => Piece::Command(piece),
            End::Statement => {
                if let Some(on) = super::standard_strings(piece) {
                    self.splitter.set_standard_strings(on);
                }
                Piece::Statement(piece)
            }
        }))
    }
}
