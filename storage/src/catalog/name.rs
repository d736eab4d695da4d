//! Names of tables: `namespace.name`, or `name` alone in the default namespace.

use std::fmt;
use std::str::FromStr;

use iceberg::{NamespaceIdent, TableIdent};

use super::{Error, Result};
use crate::meta::keys::table::TableKey;

/// The namespace of a table that is named without one.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The most bytes that a namespace or a name may have.
const PART_BYTES_MAX: usize = 128;

/// The name of a table. Both parts are 1 to 128 ASCII letters, digits, `_` and `-`, and do not begin with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    namespace: String,
    name: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(namespace: &str, name: &str) -> Result<Self> {
        for part in [namespace, name] {
            let refuse = |reason| Err(Error::Name { name: format!("{namespace}.{name}"), reason });
            if part.is_empty() {
                return refuse("a part of it is empty");
            }
            if part.len() > PART_BYTES_MAX {
                return refuse("a part of it is longer than 128 bytes");
            }
            if part.starts_with('-') {
                return refuse("a part of it begins with '-'");
            }
            if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
                return refuse("it may hold ASCII letters, digits, '_', '-' and one '.' before the table's own name");
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The table's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of the table's pointer in the meta store.
    #[must_use]
    pub fn key(&self) -> TableKey {
        TableKey { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The table's folder below the store's root.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn from_key(key: TableKey) -> Result<Self> {
        Self::new(&key.namespace, &key.name)
    }

    pub(super) fn ident(&self) -> TableIdent {
        TableIdent::new(NamespaceIdent::new(self.namespace.clone()), self.name.clone())
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, name) = text.split_once('.').unwrap_or((DEFAULT_NAMESPACE, text));
        Self::new(namespace, name)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_refused() {
        for (text, expected) in [
            ("t", Some("default.t")),
            ("ns.t", Some("ns.t")),
            ("Flights_2013-01", Some("default.Flights_2013-01")),
            (&"a".repeat(128), Some(&*format!("default.{}", "a".repeat(128)))),
            (&"a".repeat(129), None),
            ("", None),
            (".t", None),
            ("ns.", None),
            ("a.b.c", None),
            ("a/b", None),
            ("..", None),
            ("-t", None),
            ("straße", None),
            ("a b", None),
        ] {
            let parsed = text.parse::<TableName>();
            assert_eq!(parsed.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text:?}");
            if let Ok(name) = parsed {
                assert_eq!(TableName::from_key(name.key()).unwrap(), name);
            }
        }
    }
}
