//! Where a delivery's objects lie: its prefixes, and where their partition keys come from.
//!
//! It must never let a value of a record decide about a folder by itself: keys are made safe, or the record is set aside.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_storage::lake::input::{CsvParser, Input};
use millrace_storage::lake::partition::{KeyQuery, safe_key};
use millrace_storage::lake::prefix::{DEFAULT_ERROR_PREFIX, DEFAULT_PREFIX, KeyName, Prefix};
use millrace_storage::lake::row::Cause;

use super::declaration::Declaration;
use super::spec::DeliverySpec;
use crate::error::Result;
use crate::transform::PartitionKeys;

/// The parsed prefixes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Of data.
    pub(crate) prefix: Prefix,
    /// Of records that were set aside.
    pub(crate) error_prefix: Prefix,
    /// Of backups of source records.
    pub(crate) backup_prefix: Prefix,
    /// One for each key of the prefix.
    keys: Vec<KeySource>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeySource {
    Query(String, KeyQuery),
    Transform(String),
}

/// The partition keys of rows, those that are equal only once in memory.
#[derive(Debug)]
pub(crate) struct Keys<'l> {
    layout: &'l Layout,
    input: &'l Input,
    /// For CSV, where a key is asked of its fields.
    csv: Option<CsvParser>,
    known: HashMap<Vec<String>, Result<Arc<[String]>, String>>,
}

impl Layout {
    /// Reads the prefixes and queries of a declaration. An error names delivery, field and value.
    pub(super) fn of(spec: &DeliverySpec) -> Result<Self> {
        let zoned = |prefix: Prefix| match &spec.time_zone {
            Some(zone) => prefix.in_zone(zone).map_err(|error| spec.invalid("time_zone", error)),
            None => Ok(prefix),
        };
        let prefix = spec.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        let prefix = zoned(prefix.parse().map_err(|error| spec.invalid("prefix", error))?)?;
        let error_prefix = spec.error_prefix.as_deref().unwrap_or(DEFAULT_ERROR_PREFIX);
        let error_prefix =
            zoned(Prefix::of_errors(error_prefix).map_err(|error| spec.invalid("error_prefix", error))?)?;
        let keys = prefix.keys().iter().map(|key| KeySource::of(key, spec)).collect::<Result<_>>()?;
        let is_used = |name: &String| prefix.keys().contains(&KeyName::Query(name.clone()));
        if let Some(unused) = spec.partition_keys.keys().find(|name| !is_used(name)) {
            let words = format_args!("{unused:?} is not used: the prefix has no !{{partitionKeyFromQuery:{unused}}}");
            return Err(spec.invalid("partition_keys", words));
        }
        let backup_prefix = spec.backup.as_ref().and_then(|backup| backup.prefix.as_deref()).unwrap_or(DEFAULT_PREFIX);
        let backup_prefix: Prefix = backup_prefix.parse().map_err(|error| spec.invalid("backup.prefix", error))?;
        if !backup_prefix.keys().is_empty() {
            return Err(spec.invalid("backup.prefix", "source records have no partition keys"));
        }
        Ok(Self { prefix, error_prefix, backup_prefix: zoned(backup_prefix)?, keys })
    }

    /// For the keys of rows that are written so.
    pub(crate) fn keys<'l>(&'l self, input: &'l Input) -> Keys<'l> {
        let csv = match input {
            Input::Csv(format) if self.queried().next().is_some() => Some(format.parser()),
            _ => None,
        };
        Keys { layout: self, input, csv, known: HashMap::new() }
    }

    /// The keys that are read from rows, each with the field that it is, where it is one of the row itself.
    pub(super) fn queried(&self) -> impl Iterator<Item = (&String, Option<&str>)> {
        self.keys.iter().filter_map(|key| match key {
            KeySource::Query(name, query) => Some((name, query.only_field())),
            KeySource::Transform(_) => None,
        })
    }
}

impl KeySource {
    fn of(key: &KeyName, spec: &DeliverySpec) -> Result<Self> {
        match key {
            KeyName::Transform(name) => Ok(Self::Transform(name.clone())),
            KeyName::Query(name) => {
                let words = || spec.invalid("prefix", format_args!("partition_keys has no query {name:?}"));
                let query = spec.partition_keys.get(name).ok_or_else(words)?;
                let query = query.parse().map_err(|error| spec.invalid("partition_keys", error))?;
                Ok(Self::Query(name.clone(), query))
            }
        }
    }

    fn read(&self, data: &[u8], told: &PartitionKeys, csv: Option<&CsvParser>) -> Result<String, (Cause, String)> {
        let unsafe_key = |message| (Cause::PartitionKey, message);
        match self {
            Self::Query(name, query) => {
                let value = match csv {
                    Some(csv) => field_of(csv, name, query)?,
                    None => query.read(name, data)?,
                };
                safe_key(name, &value).map_err(unsafe_key)
            }
            Self::Transform(name) => match told.get(name) {
                Some(value) => safe_key(name, value).map_err(unsafe_key),
                None => Err(unsafe_key(format!("the transform chain gave the record no partition key {name:?}"))),
            },
        }
    }
}

/// The key that is a field of the row that was read last.
fn field_of(csv: &CsvParser, name: &str, query: &KeyQuery) -> Result<String, (Cause, String)> {
    let place = query.only_field().and_then(|field| csv.columns().iter().position(|column| column == field));
    let value = place.and_then(|place| csv.value(place));
    let absent = || (Cause::PartitionKey, format!("the partition key {name:?}, {query}, is null in the record"));
    value.map(str::to_owned).ok_or_else(absent)
}

impl Keys<'_> {
    /// How rows are written.
    pub(crate) const fn input(&self) -> &Input {
        self.input
    }

    /// The keys of an output, safe for names; `None` where the prefix asks for none. Else why the output is set aside.
    pub(crate) fn of(&mut self, data: &[u8], told: &PartitionKeys) -> Result<Option<Arc<[String]>>, (Cause, String)> {
        if self.layout.keys.is_empty() {
            return Ok(None);
        }
        if let Some(csv) = &mut self.csv {
            csv.read(data).map_err(|message| (Cause::InvalidCsv, message))?;
        }
        let csv = self.csv.as_ref();
        let keys = self.layout.keys.iter().map(|key| key.read(data, told, csv)).collect::<Result<Vec<_>, _>>()?;
        if let Some(known) = self.known.get(&keys) {
            return known.clone().map(Some).map_err(|message| (Cause::PartitionKey, message));
        }
        let checked = match self.layout.prefix.check_keys(&keys) {
            Ok(()) => Ok(Arc::from(keys.as_slice())),
            Err(why) => Err(format!("with the record's partition keys the prefix {why}")),
        };
        self.known.insert(keys, checked.clone());
        checked.map(Some).map_err(|message| (Cause::PartitionKey, message))
    }
}
