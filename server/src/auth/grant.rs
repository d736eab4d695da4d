//! A grant: some actions, on the resources whose names match a pattern. What no grant allows is denied.
//!
//! A pattern is a kind and a name in which `*` stands for any run of characters, `/` and `.` among them, as in AWS policies:
//! `stream/flights-*`, `table/default.*`, `group/flights/*`, `server`; `*` alone is every resource of every kind.

use std::fmt;
use std::str::FromStr;

use super::action::{Action, Resource, ResourceKind};
use crate::error::{Error, Result};

/// The most characters of a pattern.
const PATTERN_CHARS_MAX: usize = 512;
/// The most `*` in a pattern.
const STARS_MAX: usize = 8;

/// Some actions on some resources. Its text is `put,get on stream/flights-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `None` is all of them, those of later versions too.
    actions: Option<Vec<Action>>,
    resource: Pattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// `None` is every kind.
    kind: Option<ResourceKind>,
    name: String,
}

impl Grant {
    /// A grant of its words: actions, or `*`, and a pattern of resources.
    ///
    /// # Errors
    /// Where a word is no action, the pattern names no kind, or an action can never be about the pattern's kind.
    pub fn parse<'a>(actions: impl IntoIterator<Item = &'a str>, resource: &str) -> Result<Self> {
        let resource = Pattern::parse(resource)?;
        let mut named = Vec::new();
        let mut is_all = false;
        for word in actions {
            match word {
                "*" => is_all = true,
                word => named.push(word.parse::<Action>()?),
            }
        }
        if named.is_empty() && !is_all {
            return Err(Error::invalid("a grant names no action").in_field("grants"));
        }
        if let (Some(kind), Some(wrong)) = (resource.kind, named.iter().find(|action| !resource.can_be(**action))) {
            let message =
                format!("{wrong} is about {}s, so that no {} can match it", wrong.kind().as_str(), kind.as_str());
            return Err(Error::invalid(message).in_field("grants"));
        }
        named.sort_unstable();
        named.dedup();
        Ok(Self { actions: (!is_all).then_some(named), resource })
    }

    /// Everything.
    #[must_use]
    pub fn administrator() -> Self {
        Self { actions: None, resource: Pattern { kind: None, name: "*".to_owned() } }
    }

    /// Whether it is everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        *self == Self::administrator()
    }

    /// Whether it allows an action on a resource.
    #[must_use]
    pub fn allows(&self, action: Action, resource: &Resource) -> bool {
        self.has(action) && self.resource.matches(resource)
    }

    /// Whether it allows an action on any resource of a kind at all.
    pub(super) fn allows_some(&self, action: Action, kind: ResourceKind) -> bool {
        self.has(action) && self.resource.kind.is_none_or(|own| own == kind)
    }

    fn has(&self, action: Action) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.contains(&action))
    }

    /// Its actions' words.
    #[must_use]
    pub fn actions(&self) -> Vec<String> {
        match &self.actions {
            None => vec!["*".to_owned()],
            Some(actions) => actions.iter().map(|action| action.as_str().to_owned()).collect(),
        }
    }

    /// Its pattern.
    #[must_use]
    pub fn resource(&self) -> String {
        self.resource.to_string()
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.actions().join(","), self.resource)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid(format_args!("the resource pattern {shown:?} {why}")).in_field("grants")
        };
        if text.len() > PATTERN_CHARS_MAX {
            return Err(invalid(&format!("has {} bytes, and may have {PATTERN_CHARS_MAX}", text.len())));
        }
        if text.bytes().filter(|byte| *byte == b'*').count() > STARS_MAX {
            return Err(invalid(&format!("has more than {STARS_MAX} *")));
        }
        if !text.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(invalid("may hold no spaces and only ASCII"));
        }
        match text.split_once('/') {
            None if text == "*" => Ok(Self { kind: None, name: "*".to_owned() }),
            None if text == "server" => Ok(Self { kind: Some(ResourceKind::Server), name: String::new() }),
            Some((kind, name)) if !name.is_empty() => {
                let kind = kind.parse().map_err(|()| invalid("begins with no kind of resource"))?;
                match kind {
                    ResourceKind::Server => Err(invalid("gives the server a name, and it has none")),
                    kind => Ok(Self { kind: Some(kind), name: name.to_owned() }),
                }
            }
            _ => Err(invalid("is neither KIND/NAME, with * for any characters, nor server nor *")),
        }
    }

    fn can_be(&self, action: Action) -> bool {
        self.kind.is_none_or(|kind| action.is_about(kind))
    }

    fn matches(&self, resource: &Resource) -> bool {
        self.kind.is_none_or(|kind| kind == resource.kind()) && matches(&self.name, resource.name())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            None => f.write_str("*"),
            Some(ResourceKind::Server) => f.write_str("server"),
            Some(kind) => write!(f, "{}/{}", kind.as_str(), self.name),
        }
    }
}

impl FromStr for ResourceKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(())
    }
}

/// Whether a name is as the pattern says, from its first byte to its last. `*` is any run of bytes, and nothing else is
/// special. Takes at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The earliest place leaves the most for the parts after it.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_and_nothing_else_is_special() {
        for (pattern, name, wanted) in [
            ("*", "", true),
            ("*", "a/b.c", true),
            ("flights", "flights", true),
            ("flights", "flights2", false),
            ("flights", "xflights", false),
            ("flights-*", "flights-", true),
            ("flights-*", "flights-eu", true),
            ("flights-*", "flight", false),
            ("*-raw", "a-raw", true),
            ("*-raw", "a-raw-b", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a?c", "abc", false),
            ("a.c", "abc", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    proptest! {
        /// Against the definition, written as recursion.
        #[test]
        fn matching_is_as_defined(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
            fn defined(pattern: &[u8], name: &[u8]) -> bool {
                match pattern.split_first() {
                    None => name.is_empty(),
                    Some((b'*', rest)) => (0..=name.len()).any(|at| defined(rest, &name[at..])),
                    Some((byte, rest)) => name.first() == Some(byte) && defined(rest, &name[1..]),
                }
            }
            prop_assert_eq!(matches(&pattern, &name), defined(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn a_grant_allows_its_actions_on_its_resources_and_no_other() {
        let grant = Grant::parse(["put", "describe_stream"], "stream/flights-*").unwrap();
        assert!(grant.allows(Action::Put, &Resource::stream("flights-eu")));
        assert!(!grant.allows(Action::Get, &Resource::stream("flights-eu")));
        assert!(!grant.allows(Action::Put, &Resource::stream("payments")));
        assert!(!grant.allows(Action::Put, &Resource::delivery("flights-eu")), "another kind of the same name");
        assert!(grant.allows_some(Action::Put, ResourceKind::Stream));
        assert!(!grant.allows_some(Action::Put, ResourceKind::Delivery));
        let all = Grant::administrator();
        assert!(Action::ALL.iter().all(|action| all.allows(*action, &Resource::server())));
        assert!(all.allows(Action::Query, &Resource::table("system", "streams")));
        let streams = Grant::parse(["*"], "stream/*").unwrap();
        assert!(streams.allows(Action::DeleteStream, &Resource::stream("x")) && !streams.is_administrator());
        assert!(!streams.allows(Action::Admin, &Resource::server()));
    }

    #[test]
    fn what_is_no_grant_is_refused_in_words() {
        for (actions, resource, words) in [
            (vec!["put"], "streams/x", "begins with no kind"),
            (vec!["put"], "stream", "neither KIND/NAME"),
            (vec!["put"], "stream/", "neither KIND/NAME"),
            (vec!["put"], "server/x", "it has none"),
            (vec!["put"], "stream/a b", "only ASCII"),
            (vec!["put"], "stream/*********", "more than 8 *"),
            (vec!["fly"], "stream/x", "\"fly\" is no action"),
            (vec![], "stream/x", "names no action"),
            (vec!["query"], "stream/x", "query is about tables"),
        ] {
            let error = Grant::parse(actions.clone(), resource).unwrap_err().to_string();
            assert!(error.contains(words), "{actions:?} {resource}: {error}");
        }
        assert!(Grant::parse(["put"], &format!("stream/{}", "x".repeat(505))).is_ok());
        assert!(Grant::parse(["put"], &format!("stream/{}", "x".repeat(506))).is_err());
    }

    #[test]
    fn a_grant_comes_back_from_its_words() {
        for (actions, resource) in [
            (vec!["*"], "*"),
            (vec!["put"], "delivery/*"),
            (vec!["get", "put"], "stream/x*y"),
            (vec!["admin"], "server"),
        ] {
            let grant = Grant::parse(actions, resource).unwrap();
            let words = grant.actions();
            assert_eq!(Grant::parse(words.iter().map(String::as_str), &grant.resource()).unwrap(), grant);
        }
    }
}
