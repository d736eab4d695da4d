//! The type of a field that is seen for the first time.

use std::sync::Arc;

use iceberg::spec::{ListType, NestedField, PrimitiveType, StructType, Type};

use super::read::State;
use super::scalar;
use crate::lake::json::{Json, JsonError, Peek};
use crate::lake::schema::{NAME_BYTES_MAX, is_reserved};

/// What a JSON value can become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Long,
    Double,
    Text,
    Struct(Vec<(String, Shape)>),
    List(Box<Shape>),
}

/// Reads a value for its shape. `None` where it has none yet (null, an empty object or list, nothing but these within) or can
/// have none (elements of differing types, a number that no column takes without loss).
pub(super) fn infer(json: &mut Json<'_>, peek: Peek, depth: usize, limit: usize) -> Result<Option<Shape>, JsonError> {
    match peek {
        Peek::Null => json.read_null().map(|()| None),
        Peek::Bool => json.read_bool().map(|_| Some(Shape::Bool)),
        Peek::String => json.read_string().map(|_| Some(Shape::Text)),
        Peek::Array => infer_list(json, depth + 1, limit),
        Peek::Object => infer_struct(json, depth + 1, limit),
        Peek::Number => {
            let number = json.read_number()?;
            if scalar::is_fractional(number) {
                return Ok(scalar::read_double(number).map(|_| Shape::Double));
            }
            Ok(number.parse::<i64>().ok().map(|_| Shape::Long))
        }
    }
}

fn infer_list(json: &mut Json<'_>, depth: usize, limit: usize) -> Result<Option<Shape>, JsonError> {
    json.check_depth(depth, limit)?;
    let mut element: Option<Shape> = None;
    let mut is_mixed = false;
    let mut next = json.first_element()?;
    while let Some(peek) = next {
        if let Some(shape) = infer(json, peek, depth, limit)? {
            element = match element.take() {
                None => Some(shape),
                Some(known) => unify(known, shape),
            };
            is_mixed |= element.is_none();
        }
        next = json.next_element()?;
    }
    Ok(element.filter(|_| !is_mixed).map(|element| Shape::List(Box::new(element))))
}

fn infer_struct(json: &mut Json<'_>, depth: usize, limit: usize) -> Result<Option<Shape>, JsonError> {
    json.check_depth(depth, limit)?;
    let mut fields: Vec<(String, Shape)> = Vec::new();
    let mut key = json.first_key()?.map(str::to_owned);
    while let Some(name) = key {
        let peek = json.peek()?;
        if let Some(shape) = infer(json, peek, depth, limit)? {
            fields.push((name, shape));
        }
        key = json.next_key()?.map(str::to_owned);
    }
    Ok((!fields.is_empty()).then_some(Shape::Struct(fields)))
}

/// The shape that takes the values of both; `None` where there is none.
fn unify(one: Shape, other: Shape) -> Option<Shape> {
    match (one, other) {
        (Shape::Long | Shape::Double, Shape::Double) | (Shape::Double, Shape::Long) => Some(Shape::Double),
        (Shape::List(one), Shape::List(other)) => unify(*one, *other).map(|element| Shape::List(Box::new(element))),
        (Shape::Struct(mut fields), Shape::Struct(others)) => {
            for (name, shape) in others {
                match fields.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = unify(known.clone(), shape)?,
                    None => fields.push((name, shape)),
                }
            }
            Some(Shape::Struct(fields))
        }
        (one, other) if one == other => Some(one),
        _ => None,
    }
}

/// How many fields a shape adds to the schema, itself included.
pub(super) fn field_count(shape: &Shape) -> usize {
    match shape {
        Shape::Struct(fields) => 1 + fields.iter().map(|(_, shape)| field_count(shape)).sum::<usize>(),
        Shape::List(element) => 1 + field_count(element),
        _ => 1,
    }
}

/// Gives a new field its place in the schema: an id for it and all below. `None` where its name cannot be a column's, or
/// where nothing is left below it.
pub(super) fn place(state: &mut State, above: &str, name: &str, shape: Shape) -> Option<NestedField> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || (above.is_empty() && is_reserved(name)) {
        return None;
    }
    let path = format!("{above}{}", name.to_lowercase());
    if state.paths.contains(&path) {
        return None;
    }
    let field_type = place_type(state, &path, shape)?;
    state.paths.insert(path);
    Some(NestedField::optional(next_id(state), name, field_type))
}

fn place_type(state: &mut State, path: &str, shape: Shape) -> Option<Type> {
    let below = format!("{path}.");
    Some(match shape {
        Shape::Bool => PrimitiveType::Boolean.into(),
        Shape::Long => PrimitiveType::Long.into(),
        Shape::Double => PrimitiveType::Double.into(),
        Shape::Text => PrimitiveType::String.into(),
        Shape::Struct(fields) => {
            let placed = fields.into_iter().filter_map(|(name, shape)| place(state, &below, &name, shape));
            let placed: Vec<_> = placed.map(Arc::new).collect();
            if placed.is_empty() {
                return None;
            }
            Type::Struct(StructType::new(placed))
        }
        Shape::List(element) => {
            let element_path = format!("{below}element");
            if state.paths.contains(&element_path) {
                return None;
            }
            let element = place_type(state, &element_path, *element)?;
            state.paths.insert(element_path);
            Type::List(ListType::new(Arc::new(NestedField::list_element(next_id(state), element, false))))
        }
    })
}

fn next_id(state: &mut State) -> i32 {
    state.last_id += 1;
    state.column_count += 1;
    state.last_id
}
