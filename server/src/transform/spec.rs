//! How a pipeline file declares a transform: `"deaggregate"`, `"split"`, or `{ type = "newline", delimiter = "\r\n" }`.

use std::fmt;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes that a delimiter may have.
pub(super) const DELIMITER_BYTES_MAX: usize = 16;

/// One declared transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransformSpec {
    /// Ends each record with the delimiter.
    Newline {
        /// 1 to 16 bytes; a line feed unless declared.
        delimiter: Bytes,
    },
    /// Takes records apart into JSON values.
    Split,
    /// Takes aggregates of the Kinesis Producer Library apart into their user records. Only first in a chain, as it is whole
    /// records that may be aggregates.
    Deaggregate,
}

const DELIMITER_DEFAULT: &str = "\n";
const KNOWN: &str = "deaggregate, newline, split";

/// The long form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delimiter: Option<String>,
}

impl TransformSpec {
    fn build(name: &str, delimiter: Option<String>) -> Result<Self, String> {
        match (name, delimiter) {
            ("newline", delimiter) => {
                let delimiter = delimiter.unwrap_or_else(|| DELIMITER_DEFAULT.to_owned());
                if delimiter.is_empty() || delimiter.len() > DELIMITER_BYTES_MAX {
                    let bytes = delimiter.len();
                    return Err(format!(
                        "transform newline: a delimiter of {bytes} bytes is outside 1 to {DELIMITER_BYTES_MAX}"
                    ));
                }
                Ok(Self::Newline { delimiter: Bytes::from(delimiter) })
            }
            ("split", None) => Ok(Self::Split),
            ("deaggregate", None) => Ok(Self::Deaggregate),
            ("split" | "deaggregate", Some(_)) => Err(format!("transform {name} takes no delimiter")),
            (other, _) => Err(format!("transform {other:?} is not known; known are {KNOWN}")),
        }
    }
}

impl<'de> Deserialize<'de> for TransformSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TransformSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of a transform ({KNOWN}) or a table with a type")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                TransformSpec::build(name, None).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                TransformSpec::build(&table.r#type, table.delimiter).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Serialize for TransformSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Split => serializer.serialize_str("split"),
            Self::Deaggregate => serializer.serialize_str("deaggregate"),
            Self::Newline { delimiter } if delimiter.as_ref() == DELIMITER_DEFAULT.as_bytes() => {
                serializer.serialize_str("newline")
            }
            Self::Newline { delimiter } => {
                let delimiter = Some(String::from_utf8_lossy(delimiter).into_owned());
                Table { r#type: "newline".to_owned(), delimiter }.serialize(serializer)
            }
        }
    }
}
