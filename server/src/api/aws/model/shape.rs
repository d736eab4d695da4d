//! The vocabulary of the tables.

use std::sync::OnceLock;

use regex_lite::Regex;

/// A service and its operations.
#[derive(Debug)]
pub(in crate::api::aws) struct Service {
    /// As it stands in scopes and metrics: `kinesis`.
    pub(in crate::api::aws) name: &'static str,
    /// What stands before the dot of `X-Amz-Target`.
    pub(in crate::api::aws) target: &'static str,
    /// Sorted by name.
    pub(in crate::api::aws) operations: &'static [Operation],
}

/// An operation.
#[derive(Debug)]
pub(in crate::api::aws) struct Operation {
    /// Its name.
    pub(in crate::api::aws) name: &'static str,
    /// The structure that a request is.
    pub(in crate::api::aws) input: &'static Shape,
    /// The errors that it declares.
    pub(in crate::api::aws) errors: &'static [&'static str],
}

/// What a value must be.
#[derive(Debug)]
pub(in crate::api::aws) enum Shape {
    /// An object with these members; others are passed over.
    Structure(&'static [Member]),
    /// An array.
    List { member: &'static Shape, min: u64, max: u64 },
    /// An object with any keys.
    Map { key: &'static Shape, value: &'static Shape, min: u64, max: u64 },
    /// A string: its length in characters, its pattern, and where it is an enumeration its values.
    Text { min: u64, max: u64, pattern: Option<Pattern>, values: &'static [&'static str] },
    /// A number of 32 bits.
    Integer { min: i64, max: i64 },
    /// A number of 64 bits.
    #[expect(dead_code, reason = "a service's requests may have it, and those of this one have none")]
    Long { min: i64, max: i64 },
    /// A floating-point number.
    Double,
    /// Bytes: base64 in JSON.
    Blob { min: u64, max: u64 },
    /// True or false.
    Boolean,
    /// Seconds since the Unix epoch in JSON, milliseconds in CBOR.
    Timestamp,
}

/// A member of a structure.
#[derive(Debug)]
pub(in crate::api::aws) struct Member {
    pub(in crate::api::aws) name: &'static str,
    pub(in crate::api::aws) shape: &'static Shape,
    pub(in crate::api::aws) is_required: bool,
}

/// A regular expression that the whole of a string must match; compiled when it is first used.
#[derive(Debug)]
pub(in crate::api::aws) struct Pattern {
    text: &'static str,
    compiled: OnceLock<Compiled>,
}

/// A pattern in what the engine can do.
#[derive(Debug)]
struct Compiled {
    /// What must not match at the beginning: the models have such a condition there only.
    refused: Option<Regex>,
    regex: Regex,
}

/// Unicode's classes, which the engine does not have: all letters, digits and blanks of ASCII, and everything beyond it. What
/// is beyond and none of them is for the service to refuse.
const CLASSES: [(&str, &str); 3] = [(r"\p{L}", r"a-zA-Z\x{80}-\x{10FFFF}"), (r"\p{Z}", " "), (r"\p{N}", "0-9")];

impl Compiled {
    fn new(text: &str) -> Self {
        let text = CLASSES.iter().fold(text.to_owned(), |text, (class, chars)| text.replace(class, chars));
        let compile = |text: &str| Regex::new(text).expect("a test compiles every pattern of the tables");
        let condition = text.strip_prefix("^(?!").and_then(|rest| rest.split_once(')'));
        match condition {
            Some((refused, rest)) => {
                Self { refused: Some(compile(&format!("^(?s:{refused})"))), regex: compile(&format!("^(?s:{rest})$")) }
            }
            None => Self { refused: None, regex: compile(&format!("^(?s:{text})$")) },
        }
    }
}

impl Service {
    /// An operation by name.
    pub(in crate::api::aws) fn operation(&self, name: &str) -> Option<&'static Operation> {
        let operations = self.operations;
        operations.binary_search_by(|operation| operation.name.cmp(name)).ok().map(|index| &operations[index])
    }
}

impl Operation {
    /// Whether clients know an error of this operation by its code.
    pub(in crate::api::aws) fn declares(&self, code: &str) -> bool {
        self.errors.contains(&code)
    }
}

impl Pattern {
    pub(in crate::api::aws) const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// As the model has it.
    pub(in crate::api::aws) const fn text(&self) -> &'static str {
        self.text
    }

    /// Whether the whole of `text` matches. Classes such as `\d` are those of ASCII, as in Java.
    pub(in crate::api::aws) fn is_match(&self, text: &str) -> bool {
        let Compiled { refused, regex } = self.compiled.get_or_init(|| Compiled::new(self.text));
        regex.is_match(text) && !refused.as_ref().is_some_and(|refused| refused.is_match(text))
    }
}
