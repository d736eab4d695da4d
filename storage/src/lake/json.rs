//! A cursor over one JSON text, after RFC 8259 to the letter.
//!
//! It tells where each value begins and ends and gives a number's own text, so that nothing is rounded before the column's
//! type is known; the parsers of the crates in use give either a tree or one type fixed beforehand. It must never panic and
//! never go deeper than it is told.

mod words;

pub(crate) use words::key_token;

use words::{plain_length, short_whole, starts_with, word_of};

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// Where and why a text is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// The byte, from 0.
    pub(crate) index: usize,
    pub(crate) kind: ErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// Not JSON.
    Syntax(&'static str),
    /// Something follows the value.
    Trailing,
    /// Nested deeper than the limit.
    TooDeep { limit: usize },
}

type Result<T> = std::result::Result<T, JsonError>;

/// The cursor. A `read_…` or `skip` follows a [`Json::peek`] that told what is there.
pub(crate) struct Json<'j> {
    text: &'j str,
    index: usize,
    /// Decoded strings that have escapes.
    scratch: String,
}

impl<'j> Json<'j> {
    /// A cursor at the beginning of a text; `scratch` is memory to use again.
    pub(crate) fn new(text: &'j str, scratch: String) -> Self {
        Self { text, index: 0, scratch }
    }

    pub(crate) fn into_scratch(self) -> String {
        self.scratch
    }

    /// The place of the cursor: after a peek, the value's first byte.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// Goes back to a place that [`Json::index`] gave.
    pub(crate) const fn rewind(&mut self, index: usize) {
        self.index = index;
    }

    /// The text from a place to the cursor.
    pub(crate) fn since(&self, start: usize) -> &'j str {
        self.text.get(start..self.index).unwrap_or_default()
    }

    /// What the next value is. The cursor stands on its first byte then.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Peek> {
        self.skip_space();
        match self.byte() {
            Some(b'"') => Ok(Peek::String),
            Some(b'-' | b'0'..=b'9') => Ok(Peek::Number),
            Some(b'n') => Ok(Peek::Null),
            Some(b't' | b'f') => Ok(Peek::Bool),
            Some(b'{') => Ok(Peek::Object),
            Some(b'[') => Ok(Peek::Array),
            Some(_) => self.fail("a value is expected"),
            None => self.fail("the text ends where a value is expected"),
        }
    }

    pub(crate) fn read_null(&mut self) -> Result<()> {
        self.read_word("null")
    }

    pub(crate) fn read_bool(&mut self) -> Result<bool> {
        let value = self.byte() == Some(b't');
        self.read_word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// A number where it is whole and short, as most are; `None`, and nothing is read, where [`Json::read_number`] must look.
    #[inline]
    pub(crate) fn read_short_whole(&mut self) -> Option<i64> {
        let rest = self.rest();
        let is_negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(is_negative)..];
        let (value, length) = short_whole(word_of(digits)?)?;
        if matches!(digits.get(length), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.index += usize::from(is_negative) + length;
        Some(if is_negative { -value } else { value })
    }

    /// A number's text.
    pub(crate) fn read_number(&mut self) -> Result<&'j str> {
        let start = self.index;
        if self.byte() == Some(b'-') {
            self.index += 1;
        }
        if self.byte() == Some(b'0') {
            self.index += 1;
        } else {
            self.read_digits()?;
        }
        if self.byte() == Some(b'.') {
            self.index += 1;
            self.read_digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.index += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.index += 1;
            }
            self.read_digits()?;
        }
        if matches!(self.byte(), Some(b'0'..=b'9')) {
            return self.fail("a number begins with 0");
        }
        Ok(self.since(start))
    }

    /// A string, without its escapes.
    #[inline]
    pub(crate) fn read_string(&mut self) -> Result<&str> {
        self.index += 1;
        let start = self.index;
        self.read_plain()?;
        if self.byte() == Some(b'"') {
            self.index += 1;
            return Ok(self.text.get(start..self.index - 1).unwrap_or_default());
        }
        self.read_escaped(start)
    }

    /// The string from `start` on, of which there is a backslash at the cursor.
    fn read_escaped(&mut self, start: usize) -> Result<&str> {
        self.scratch.clear();
        let mut piece = start;
        loop {
            // On a quote or a backslash: `read_plain` stops at nothing else.
            self.scratch.push_str(self.text.get(piece..self.index).unwrap_or_default());
            if self.byte() == Some(b'"') {
                self.index += 1;
                return Ok(&self.scratch);
            }
            let character = self.read_escape()?;
            self.scratch.push(character);
            piece = self.index;
            self.read_plain()?;
        }
    }

    /// Enters an object; the same as [`Json::next_key`] for its first field.
    pub(crate) fn first_key(&mut self) -> Result<Option<&str>> {
        if self.first_field()? { self.read_key().map(Some) } else { Ok(None) }
    }

    /// The next field's name, after a field's value was read; `None` at the object's end.
    pub(crate) fn next_key(&mut self) -> Result<Option<&str>> {
        if self.next_field()? { self.read_key().map(Some) } else { Ok(None) }
    }

    /// Enters an object; whether it has a field. [`Json::take_key`] or [`Json::read_key`] follows then.
    pub(crate) fn first_field(&mut self) -> Result<bool> {
        self.index += 1;
        self.skip_space();
        let is_empty = self.byte() == Some(b'}');
        self.index += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Goes on to the next field, after a field's value was read; false at the object's end.
    #[inline]
    pub(crate) fn next_field(&mut self) -> Result<bool> {
        self.skip_space();
        match self.byte() {
            Some(b',') => {
                self.index += 1;
                self.skip_space();
                Ok(true)
            }
            Some(b'}') => {
                self.index += 1;
                Ok(false)
            }
            _ => self.fail("a comma or the object's end is expected"),
        }
    }

    /// Reads the field's name where it is written as `token` has it, which [`key_token`] made.
    #[inline]
    pub(crate) fn take_key(&mut self, token: &[u8]) -> bool {
        let is_it = !token.is_empty() && starts_with(self.rest(), token);
        self.index += if is_it { token.len() } else { 0 };
        is_it
    }

    /// Reads a field's name.
    pub(crate) fn read_key(&mut self) -> Result<&str> {
        if self.byte() != Some(b'"') {
            return self.fail("a field's name is expected");
        }
        // The colon is read first, because the name may lie in the scratch memory.
        let start = self.index;
        let is_plain = self.read_string()?.len() + 2 == self.index - start;
        let end = self.index;
        self.skip_space();
        if self.byte() != Some(b':') {
            return self.fail("a colon is expected");
        }
        self.index += 1;
        Ok(if is_plain { self.text.get(start + 1..end - 1).unwrap_or_default() } else { &self.scratch })
    }

    /// Enters an array; what its first element is, `None` where it has none.
    pub(crate) fn first_element(&mut self) -> Result<Option<Peek>> {
        self.index += 1;
        self.skip_space();
        if self.byte() == Some(b']') {
            self.index += 1;
            return Ok(None);
        }
        self.peek().map(Some)
    }

    /// What the next element is, after an element was read; `None` at the array's end.
    pub(crate) fn next_element(&mut self) -> Result<Option<Peek>> {
        self.skip_space();
        match self.byte() {
            Some(b',') => {
                self.index += 1;
                self.peek().map(Some)
            }
            Some(b']') => {
                self.index += 1;
                Ok(None)
            }
            _ => self.fail("a comma or the array's end is expected"),
        }
    }

    /// Reads over a value that was peeked, within an object or array at `depth`.
    pub(crate) fn skip(&mut self, peek: Peek, depth: usize, limit: usize) -> Result<()> {
        match peek {
            Peek::Null => self.read_null(),
            Peek::Bool => self.read_bool().map(drop),
            Peek::Number => self.read_number().map(drop),
            Peek::String => self.read_string().map(drop),
            Peek::Array => {
                self.check_depth(depth + 1, limit)?;
                let mut next = self.first_element()?;
                while let Some(peek) = next {
                    self.skip(peek, depth + 1, limit)?;
                    next = self.next_element()?;
                }
                Ok(())
            }
            Peek::Object => {
                self.check_depth(depth + 1, limit)?;
                let mut is_more = self.first_key()?.is_some();
                while is_more {
                    let peek = self.peek()?;
                    self.skip(peek, depth + 1, limit)?;
                    is_more = self.next_key()?.is_some();
                }
                Ok(())
            }
        }
    }

    /// Fails where `depth` is past the limit.
    pub(crate) fn check_depth(&self, depth: usize, limit: usize) -> Result<()> {
        if depth <= limit { Ok(()) } else { Err(JsonError { index: self.index, kind: ErrorKind::TooDeep { limit } }) }
    }

    /// Fails where anything but white space is left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.skip_space();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(JsonError { index: self.index, kind: ErrorKind::Trailing }),
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.index).copied()
    }

    #[inline]
    fn rest(&self) -> &'j [u8] {
        self.text.as_bytes().get(self.index..).unwrap_or_default()
    }

    #[cold]
    fn fail<T>(&self, why: &'static str) -> Result<T> {
        Err(JsonError { index: self.index, kind: ErrorKind::Syntax(why) })
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.index += 1;
        }
    }

    fn read_word(&mut self, word: &str) -> Result<()> {
        if !self.text.as_bytes()[self.index..].starts_with(word.as_bytes()) {
            return self.fail("a value is expected");
        }
        self.index += word.len();
        Ok(())
    }

    fn read_digits(&mut self) -> Result<()> {
        let start = self.index;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.index += 1;
        }
        if self.index == start { self.fail("a digit is expected") } else { Ok(()) }
    }

    /// Reads on to a quote or a backslash.
    #[inline]
    fn read_plain(&mut self) -> Result<()> {
        self.index += plain_length(self.rest());
        match self.byte() {
            Some(b'"' | b'\\') => Ok(()),
            Some(_) => self.fail("a string has a control character"),
            None => self.fail("the text ends within a string"),
        }
    }

    /// Reads an escape, from its backslash on.
    fn read_escape(&mut self) -> Result<char> {
        self.index += 1;
        let character = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.index += 1;
                return self.read_code_point();
            }
            _ => return self.fail("a string has an unknown escape"),
        };
        self.index += 1;
        Ok(character)
    }

    /// Reads four hexadecimal digits, and the escape after them where the two are one character.
    fn read_code_point(&mut self) -> Result<char> {
        let first = self.read_hex()?;
        let mut code = first;
        if (0xD800..0xDC00).contains(&first) && self.text.as_bytes()[self.index..].starts_with(b"\\u") {
            self.index += 2;
            let second = self.read_hex()?;
            if (0xDC00..0xE000).contains(&second) {
                code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            }
        }
        // A surrogate without its other half is no character.
        match char::from_u32(code) {
            Some(character) => Ok(character),
            None => self.fail("a string has half a surrogate pair"),
        }
    }

    fn read_hex(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.index..self.index + 4).unwrap_or_default();
        let digits = digits.iter().map(|byte| char::from(*byte).to_digit(16)).collect::<Option<Vec<_>>>();
        match digits {
            Some(digits) if digits.len() == 4 => {
                self.index += 4;
                Ok(digits.iter().fold(0, |code, digit| code * 16 + digit))
            }
            _ => self.fail("a string has an escape without four hexadecimal digits"),
        }
    }
}

#[cfg(test)]
mod tests;
