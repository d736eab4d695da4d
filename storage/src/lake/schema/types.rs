//! The types of declared columns, by their Iceberg names.

use std::sync::Arc;

use iceberg::spec::{ListType, NestedField, PrimitiveType, StructType, Type};

use super::is_reserved;
use crate::lake::{Error, Result};

/// The longest name of a column, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

const ALLOWED: &str = "allowed are boolean, int, long, float, double, decimal(P,S), string, date, time, timestamp, \
                       timestamptz, uuid, binary, list<TYPE> and struct<NAME: TYPE, ...>";

/// A column that the table's owner declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The column's name: the JSON field's, exactly.
    pub name: String,
    /// Its type. The ids of nested fields mean nothing yet.
    pub column_type: Type,
}

impl ColumnSpec {
    /// Reads a declared column; `column_type` as [`parse_type`] has it.
    pub fn parse(name: &str, column_type: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), column_type: parse_type(column_type)? })
    }
}

/// Checks the name of a declared column.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Invalid("a column needs a name".into()));
    }
    if name.len() > NAME_BYTES_MAX {
        let length = name.len();
        return Err(Error::Invalid(format!("a column's name is {length} bytes long; the limit is {NAME_BYTES_MAX}")));
    }
    if is_reserved(name) {
        return Err(Error::Invalid(format!("the column name {name:?} is reserved for the system")));
    }
    Ok(())
}

/// Reads a type by its Iceberg name, such as `long`, `decimal(9,2)`, `list<string>` or `struct<a: long, b: list<double>>`.
pub fn parse_type(text: &str) -> Result<Type> {
    let mut rest = text.trim();
    let parsed = read_type(&mut rest, 0).filter(|_| rest.trim().is_empty());
    parsed.ok_or_else(|| Error::Invalid(format!("the column type {text:?} is unknown; {ALLOWED}")))
}

/// How deep declared types may nest.
const DEPTH_MAX: u32 = 32;

fn read_type(rest: &mut &str, depth: u32) -> Option<Type> {
    if depth > DEPTH_MAX {
        return None;
    }
    if eat(rest, "list<") {
        let element = read_type(rest, depth + 1)?;
        return eat(rest, ">").then(|| list_of(element));
    }
    if eat(rest, "struct<") {
        let mut fields = Vec::new();
        loop {
            let (name, after) = rest.split_once(':')?;
            let name = name.trim();
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['<', '>', ',']) {
                return None;
            }
            *rest = after;
            fields.push(Arc::new(NestedField::optional(0, name, read_type(rest, depth + 1)?)));
            if eat(rest, ">") {
                break;
            }
            if !eat(rest, ",") {
                return None;
            }
        }
        let mut names: Vec<_> = fields.iter().map(|field| field.name.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        return (names.len() == fields.len()).then(|| Type::Struct(StructType::new(fields)));
    }
    if eat(rest, "decimal(") {
        let (precision, after) = rest.split_once(',')?;
        let (scale, after) = after.split_once(')')?;
        let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse::<u32>().ok()?);
        *rest = after;
        return Type::decimal(precision, scale).ok().filter(|_| scale <= precision);
    }
    let text = rest.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let primitive = match &text[..end] {
        "boolean" => PrimitiveType::Boolean,
        "int" => PrimitiveType::Int,
        "long" => PrimitiveType::Long,
        "float" => PrimitiveType::Float,
        "double" => PrimitiveType::Double,
        "string" => PrimitiveType::String,
        "date" => PrimitiveType::Date,
        "time" => PrimitiveType::Time,
        "timestamp" => PrimitiveType::Timestamp,
        "timestamptz" => PrimitiveType::Timestamptz,
        "uuid" => PrimitiveType::Uuid,
        "binary" => PrimitiveType::Binary,
        _ => return None,
    };
    *rest = &text[end..];
    Some(primitive.into())
}

fn eat(rest: &mut &str, token: &str) -> bool {
    match rest.trim_start().strip_prefix(token) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn list_of(element: Type) -> Type {
    Type::List(ListType::new(Arc::new(NestedField::list_element(0, element, false))))
}

/// The same type with new ids for all fields within it, after `last_id`.
pub(crate) fn with_fresh_ids(field_type: Type, last_id: &mut i32) -> Type {
    match field_type {
        Type::Struct(fields) => {
            let fields = fields.fields().iter().map(|field| {
                let nested = with_fresh_ids((*field.field_type).clone(), last_id);
                *last_id += 1;
                Arc::new(NestedField::optional(*last_id, &field.name, nested))
            });
            Type::Struct(StructType::new(fields.collect()))
        }
        Type::List(list) => {
            let element = with_fresh_ids((*list.element_field.field_type).clone(), last_id);
            *last_id += 1;
            Type::List(ListType::new(Arc::new(NestedField::list_element(*last_id, element, false))))
        }
        // Maps cannot be declared.
        other => other,
    }
}
