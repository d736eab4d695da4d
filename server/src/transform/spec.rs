//! How a pipeline file declares a step: by its name alone, such as `"split"`, or as a table such as
//! `{ type = "jq", query = ".detail" }`.
//!
//! A step is written back in its shortest form, so that two declarations that mean the same are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::FieldsSpec;
use super::jq;
use super::modules::name::ModuleName;

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
    /// Takes records apart.
    Split {
        /// Into what.
        by: SplitBy,
    },
    /// Takes aggregates of the Kinesis Producer Library apart into their user records. Only first in a chain, as it is whole
    /// records that may be aggregates.
    Deaggregate,
    /// Decompresses records.
    Decompress {
        /// From what.
        format: Compressed,
        /// What becomes of an envelope of CloudWatch Logs.
        extract: Extract,
    },
    /// Runs a jq filter.
    Jq {
        /// The filter.
        query: String,
        /// What its outputs are.
        to: JqTarget,
    },
    /// Changes the top-level fields of JSON objects.
    Fields(FieldsSpec),
    /// Calls a WebAssembly module that was pushed.
    Wasm(WasmSpec),
    /// Calls a transform that the embedding program registered.
    Registered {
        /// The name that it was registered under.
        name: String,
    },
}

/// What `split` takes records apart into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// JSON values, one after the other, in lines or in arrays.
    #[default]
    Json,
    /// Lines, whatever they hold.
    Lines,
}

/// What `decompress` expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compressed {
    /// gzip or Zstandard, by the first bytes; anything else passes as it is.
    #[default]
    Auto,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// What CloudWatch Logs sends: an envelope with log events, in gzip or plain.
    CloudwatchLogs,
}

/// What an envelope of CloudWatch Logs becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extract {
    /// An object for each log event, with the log's names.
    #[default]
    Events,
    /// The messages alone.
    Messages,
}

/// What the outputs of a jq filter are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JqTarget {
    /// The record's outputs, one for each; none drops the record.
    #[default]
    Data,
    /// Partition keys: one object, whose fields are text, numbers or booleans. The data stays as it is.
    PartitionKeys,
}

/// A step that calls a WebAssembly module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmSpec {
    /// The name that it was pushed under.
    pub module: ModuleName,
    /// The version; the current one where none is declared.
    pub version: Option<u32>,
    /// What the module may reach beyond its records.
    pub grant: BTreeSet<Grant>,
}

/// What a module may reach beyond its records. Whoever grants it takes upon himself that a batch that is done again may come
/// out otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The system's clocks; without it, it is always the beginning of 1970.
    Clock,
    /// Random numbers; without it, they are the same ones in each call.
    Random,
}

const DELIMITER_DEFAULT: &str = "\n";
const KNOWN: &str = "deaggregate, decompress, fields, jq, newline, registered, split, wasm";

/// The long form, with the fields of all steps.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delimiter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<SplitBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Compressed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extract: Option<Extract>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<JqTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flatten: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<BTreeSet<Grant>>,
    // Tables come after plain values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rename: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cast: Option<BTreeMap<String, super::fields::Cast>>,
}

impl Table {
    fn named(name: &str) -> Self {
        Self { r#type: name.to_owned(), ..Self::default() }
    }

    /// The fields that are there and that the step of this type does not take.
    fn stray(&self) -> Option<&'static str> {
        let takes: &[&str] = match self.r#type.as_str() {
            "newline" => &["delimiter"],
            "split" => &["by"],
            "decompress" => &["format", "extract"],
            "jq" => &["query", "to"],
            "fields" => &["flatten", "drop", "rename", "cast"],
            "wasm" => &["module", "version", "grant"],
            "registered" => &["name"],
            _ => &[],
        };
        let present = [
            ("delimiter", self.delimiter.is_some()),
            ("by", self.by.is_some()),
            ("format", self.format.is_some()),
            ("extract", self.extract.is_some()),
            ("query", self.query.is_some()),
            ("to", self.to.is_some()),
            ("flatten", self.flatten.is_some()),
            ("drop", self.drop.is_some()),
            ("name", self.name.is_some()),
            ("module", self.module.is_some()),
            ("version", self.version.is_some()),
            ("grant", self.grant.is_some()),
            ("rename", self.rename.is_some()),
            ("cast", self.cast.is_some()),
        ];
        present.into_iter().find(|(field, there)| *there && !takes.contains(field)).map(|(field, _)| field)
    }

    fn build(self) -> Result<TransformSpec, String> {
        if let Some(field) = self.stray() {
            return Err(format!("transform {} takes no {field}", self.r#type));
        }
        match self.r#type.as_str() {
            "newline" => newline(self.delimiter),
            "split" => Ok(TransformSpec::Split { by: self.by.unwrap_or_default() }),
            "deaggregate" => Ok(TransformSpec::Deaggregate),
            "decompress" => decompress(self.format.unwrap_or_default(), self.extract),
            "jq" => {
                let query = self.query.ok_or("transform jq: it needs a query")?;
                jq::check(&query).map_err(|reason| format!("transform jq: {reason}"))?;
                Ok(TransformSpec::Jq { query, to: self.to.unwrap_or_default() })
            }
            "fields" => {
                let spec = FieldsSpec {
                    flatten: self.flatten,
                    drop: self.drop.unwrap_or_default().into_iter().collect(),
                    rename: self.rename.unwrap_or_default(),
                    cast: self.cast.unwrap_or_default(),
                };
                spec.check().map_err(|reason| format!("transform fields: {reason}"))?;
                Ok(TransformSpec::Fields(spec))
            }
            "wasm" => {
                let module = self.module.ok_or("transform wasm: it needs a module")?;
                let module = module.parse().map_err(|error| format!("transform wasm: {error}"))?;
                if self.version == Some(0) {
                    return Err("transform wasm: version 0 is not one; they begin with 1".to_owned());
                }
                Ok(TransformSpec::Wasm(WasmSpec {
                    module,
                    version: self.version,
                    grant: self.grant.unwrap_or_default(),
                }))
            }
            "registered" => {
                let name = self.name.ok_or("transform registered: it needs a name")?;
                Ok(TransformSpec::Registered { name })
            }
            other => Err(format!("transform {other:?} is not known; known are {KNOWN}")),
        }
    }
}

fn newline(delimiter: Option<String>) -> Result<TransformSpec, String> {
    let delimiter = delimiter.unwrap_or_else(|| DELIMITER_DEFAULT.to_owned());
    if delimiter.is_empty() || delimiter.len() > DELIMITER_BYTES_MAX {
        let bytes = delimiter.len();
        return Err(format!("transform newline: a delimiter of {bytes} bytes is outside 1 to {DELIMITER_BYTES_MAX}"));
    }
    Ok(TransformSpec::Newline { delimiter: Bytes::from(delimiter) })
}

fn decompress(format: Compressed, extract: Option<Extract>) -> Result<TransformSpec, String> {
    if extract.is_some() && format != Compressed::CloudwatchLogs {
        return Err("transform decompress takes extract only with the format cloudwatch_logs".to_owned());
    }
    Ok(TransformSpec::Decompress { format, extract: extract.unwrap_or_default() })
}

impl TransformSpec {
    /// The word of its type.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Newline { .. } => "newline",
            Self::Split { .. } => "split",
            Self::Deaggregate => "deaggregate",
            Self::Decompress { .. } => "decompress",
            Self::Jq { .. } => "jq",
            Self::Fields(_) => "fields",
            Self::Wasm(_) => "wasm",
            Self::Registered { .. } => "registered",
        }
    }

    /// The long form, with what is not the default.
    fn table(&self) -> Table {
        let named = Table::named(self.name());
        match self.clone() {
            Self::Newline { delimiter } => {
                let text = String::from_utf8_lossy(&delimiter).into_owned();
                Table { delimiter: (text != DELIMITER_DEFAULT).then_some(text), ..named }
            }
            Self::Split { by } => Table { by: (by != SplitBy::default()).then_some(by), ..named },
            Self::Deaggregate => named,
            Self::Decompress { format, extract } => Table {
                format: (format != Compressed::default()).then_some(format),
                extract: (extract != Extract::default()).then_some(extract),
                ..named
            },
            Self::Jq { query, to } => {
                Table { query: Some(query), to: (to != JqTarget::default()).then_some(to), ..named }
            }
            Self::Fields(spec) => Table {
                flatten: spec.flatten,
                drop: (!spec.drop.is_empty()).then(|| spec.drop.into_iter().collect()),
                rename: (!spec.rename.is_empty()).then_some(spec.rename),
                cast: (!spec.cast.is_empty()).then_some(spec.cast),
                ..named
            },
            Self::Wasm(WasmSpec { module, version, grant }) => Table {
                module: Some(module.to_string()),
                version,
                grant: (!grant.is_empty()).then_some(grant),
                ..named
            },
            Self::Registered { name } => Table { name: Some(name), ..named },
        }
    }

    /// Whether its name says all.
    fn is_plain(&self) -> bool {
        match self {
            Self::Newline { delimiter } => delimiter.as_ref() == DELIMITER_DEFAULT.as_bytes(),
            Self::Split { by } => *by == SplitBy::default(),
            Self::Deaggregate => true,
            Self::Decompress { format, .. } => *format == Compressed::default(),
            Self::Jq { .. } | Self::Fields(_) | Self::Wasm(_) | Self::Registered { .. } => false,
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
                Table::named(name).build().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map))?.build().map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Serialize for TransformSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_plain() { serializer.serialize_str(self.name()) } else { self.table().serialize(serializer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Chain {
        transforms: Vec<TransformSpec>,
    }

    fn read(text: &str) -> Result<Chain, String> {
        toml::from_str(&format!("transforms = [{text}]")).map_err(|error: toml::de::Error| error.to_string())
    }

    #[test]
    fn a_step_comes_back_from_its_shortest_form() {
        let check = |text: &str, written: &str| {
            let chain = read(text).unwrap();
            let toml = toml::to_string(&chain).unwrap();
            assert!(toml.contains(written), "{text} was written as {toml}");
            assert_eq!(toml::from_str::<Chain>(&toml).unwrap(), chain, "{toml}");
        };
        check("'newline'", "transforms = [\"newline\"]");
        check("{ type = 'newline', delimiter = \"\\n\" }", "[\"newline\"]");
        check("{ type = 'newline', delimiter = '|' }", "delimiter = \"|\"");
        check("{ type = 'split', by = 'json' }, 'deaggregate'", "[\"split\", \"deaggregate\"]");
        check("{ type = 'split', by = 'lines' }", "by = \"lines\"");
        check("{ type = 'decompress' }", "[\"decompress\"]");
        check("{ type = 'decompress', format = 'cloudwatch_logs', extract = 'messages' }", "extract = \"messages\"");
        check("{ type = 'jq', query = '.a' }", "query = \".a\"");
        check("{ type = 'jq', query = '{a}', to = 'partition_keys' }", "to = \"partition_keys\"");
        check("{ type = 'fields', drop = ['x'], rename = { a = 'b' }, cast = { b = 'long' } }", "drop = [\"x\"]");
        check("{ type = 'fields', flatten = '_' }", "flatten = \"_\"");
        check("{ type = 'wasm', module = 'enrich' }", "module = \"enrich\"");
        check(
            "{ type = 'wasm', module = 'enrich', version = 3, grant = ['random', 'clock'] }",
            "\"clock\", \"random\"",
        );
        check("{ type = 'registered', name = 'mine' }", "name = \"mine\"");
    }

    #[test]
    fn a_wrong_step_is_told_with_what_it_takes() {
        let check = |text: &str, words: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        };
        check("'upper'", "known are deaggregate");
        check("'jq'", "needs a query");
        check("'wasm'", "needs a module");
        check("'registered'", "needs a name");
        check("{ type = 'jq', query = '.a |' }", "transform jq");
        check("{ type = 'jq', query = '.', delimiter = 'x' }", "jq takes no delimiter");
        check("{ type = 'split', query = '.' }", "split takes no query");
        check("{ type = 'decompress', extract = 'messages' }", "only with the format cloudwatch_logs");
        check("{ type = 'fields' }", "transform fields");
        check("{ type = 'wasm', module = 'a/b' }", "a/b");
        check("{ type = 'wasm', module = 'a', version = 0 }", "begin with 1");
        check("{ type = 'wasm', module = 'a', grant = ['network'] }", "network");
        check("{ type = 'newline', delimiter = '12345678901234567' }", "17 bytes");
    }
}
