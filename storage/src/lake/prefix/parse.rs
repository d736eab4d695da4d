//! The text of a prefix into its parts.

use chrono_tz::Tz;

use super::pattern::TimeField;
use super::{KeyName, PREFIX_BYTES_MAX, Part, Prefix, Use};
use crate::lake::{Error, Result};

const ALLOWED: &str = "allowed are !{timestamp:PATTERN} with the letters y M d D H h a m s S E, separators and 'quoted text'; \
     !{partitionKeyFromQuery:NAME}, !{partitionKeyFromTransform:NAME}, !{millrace:random-string}; and for errors \
     !{millrace:error-output-type}";
/// The most partition keys of one prefix.
const KEYS_MAX: usize = 50;
/// The longest name of a partition key, in bytes.
const KEY_NAME_BYTES_MAX: usize = 100;

impl Prefix {
    pub(super) fn parse(text: &str, used: Use) -> Result<Self> {
        let bad = |why: String| Error::Invalid(format!("the prefix {text:?} {why}"));
        if text.len() > PREFIX_BYTES_MAX {
            return Err(bad(format!("is {} bytes long; the limit is {PREFIX_BYTES_MAX}", text.len())));
        }
        let mut parsed = Parsed { used, parts: Vec::new(), keys: Vec::new() };
        let mut rest = text;
        while let Some(start) = rest.find("!{") {
            parsed.literal(&rest[..start]);
            let end = rest[start..].find('}').ok_or_else(|| bad(format!("has an expression without }}; {ALLOWED}")))?;
            parsed.expression(&rest[start + 2..start + end]).map_err(bad)?;
            rest = &rest[start + end + 1..];
        }
        parsed.literal(rest);
        let Parsed { parts, keys, .. } = parsed;
        let literals = parts.iter().filter_map(|part| if let Part::Literal(text) = part { Some(text) } else { None });
        // Each by itself: nothing that is filled in later could make it good.
        for literal in literals {
            if literal.chars().any(char::is_control) {
                return Err(bad("has a control character".into()));
            }
        }
        let prefix = Self { text: text.to_owned(), parts, keys, zone: Tz::UTC };
        prefix.check_keys(&[]).map_err(bad)?;
        Ok(prefix)
    }
}

struct Parsed {
    used: Use,
    parts: Vec<Part>,
    keys: Vec<KeyName>,
}

impl Parsed {
    fn literal(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Literal(last)) => last.push_str(text),
            _ => self.parts.push(Part::Literal(text.to_owned())),
        }
    }

    fn expression(&mut self, expression: &str) -> Result<(), String> {
        let unknown = || format!("has the unknown expression !{{{expression}}}; {ALLOWED}");
        let (kind, value) = expression.split_once(':').ok_or_else(unknown)?;
        match (kind, value) {
            ("timestamp", pattern) if !pattern.is_empty() => self.timestamp(expression, pattern),
            ("millrace" | "firehose", "random-string") => {
                self.parts.push(Part::Random);
                Ok(())
            }
            ("millrace" | "firehose", "error-output-type") if self.used == Use::Errors => {
                self.parts.push(Part::ErrorType { of_firehose: kind == "firehose" });
                Ok(())
            }
            ("millrace" | "firehose", "error-output-type") => {
                Err(format!("has !{{{expression}}}, which only the prefix of errors may have"))
            }
            ("partitionKeyFromQuery", name) => self.key(name, KeyName::Query),
            ("partitionKeyFromTransform" | "partitionKeyFromLambda", name) => self.key(name, KeyName::Transform),
            _ => Err(unknown()),
        }
    }

    fn key(&mut self, name: &str, of: fn(String) -> KeyName) -> Result<(), String> {
        if self.used == Use::Errors {
            return Err("has a partition key, which a record that was set aside may not have".into());
        }
        if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX {
            let bytes = name.len();
            return Err(format!(
                "has a partition key whose name has {bytes} bytes; allowed are 1 to {KEY_NAME_BYTES_MAX}"
            ));
        }
        let key = of(name.to_owned());
        let index = self.keys.iter().position(|known| *known == key).unwrap_or(self.keys.len());
        if index == self.keys.len() {
            self.keys.push(key);
        }
        if self.keys.len() > KEYS_MAX {
            return Err(format!("has more than {KEYS_MAX} partition keys"));
        }
        self.parts.push(Part::Key(index));
        Ok(())
    }

    /// A pattern of Java's `DateTimeFormatter`.
    fn timestamp(&mut self, expression: &str, pattern: &str) -> Result<(), String> {
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let quoted = &rest[1..];
                let end =
                    quoted.find('\'').ok_or_else(|| format!("has an open quote in !{{{expression}}}; {ALLOWED}"))?;
                // Two quotes are one, as in Java's patterns.
                self.literal(if end == 0 { "'" } else { &quoted[..end] });
                rest = &quoted[end + 1..];
            } else if first.is_ascii_alphabetic() {
                let run = rest.find(|c| c != first).unwrap_or(rest.len());
                let letters = &rest[..run];
                let field = TimeField::of_letters(letters);
                let field = field
                    .ok_or_else(|| format!("has the unknown pattern {letters:?} in !{{{expression}}}; {ALLOWED}"))?;
                self.parts.push(Part::Time(field));
                rest = &rest[run..];
            } else {
                self.literal(&rest[..first.len_utf8()]);
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(())
    }
}
