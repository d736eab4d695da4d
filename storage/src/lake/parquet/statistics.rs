//! A Parquet file's own statistics as those of an Iceberg manifest (<https://iceberg.apache.org/spec/#data-file-fields>).
//!
//! Bounds must hold: a lower bound is never above a value of the column, an upper one never below. Long texts are cut, as
//! Iceberg's `truncate(16)` metrics do; a bound that cannot be cut upwards is left out.

use std::collections::HashMap;

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use crate::lake::Result;
use crate::lake::schema::invalid;

/// How many characters or bytes of a long bound are kept.
const BOUND_LENGTH: usize = 16;

/// By field id.
#[derive(Debug, Default)]
pub(super) struct FileStatistics {
    pub(super) column_sizes: HashMap<i32, u64>,
    pub(super) value_counts: HashMap<i32, u64>,
    pub(super) null_value_counts: HashMap<i32, u64>,
    pub(super) lower_bounds: HashMap<i32, Datum>,
    pub(super) upper_bounds: HashMap<i32, Datum>,
}

/// Collects the statistics of all row groups.
pub(super) fn collect(schema: &Schema, metadata: &ParquetMetaData) -> Result<FileStatistics> {
    let mut statistics = FileStatistics::default();
    let mut unbounded = Vec::new();
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let info = chunk.column_descr().self_type().get_basic_info();
        if !info.has_id() {
            continue;
        }
        let id = info.id();
        *statistics.column_sizes.entry(id).or_default() += u64::try_from(chunk.compressed_size()).unwrap_or_default();
        *statistics.value_counts.entry(id).or_default() += u64::try_from(chunk.num_values()).unwrap_or_default();
        let Some(of_chunk) = chunk.statistics() else {
            unbounded.push(id);
            continue;
        };
        if let Some(nulls) = of_chunk.null_count_opt() {
            *statistics.null_value_counts.entry(id).or_default() += nulls;
        }
        let primitive = match schema.field_by_id(id).map(|field| &*field.field_type) {
            // Elements of lists have no bounds: no engine prunes by them.
            Some(Type::Primitive(primitive)) if chunk.column_descr().max_rep_level() == 0 => primitive,
            _ => continue,
        };
        if of_chunk.null_count_opt() == Some(u64::try_from(chunk.num_values()).unwrap_or_default()) {
            continue;
        }
        let lower = of_chunk.min_bytes_opt().map(|bytes| bound(chunk, primitive, bytes, false)).transpose()?.flatten();
        let upper = of_chunk.max_bytes_opt().map(|bytes| bound(chunk, primitive, bytes, true)).transpose()?.flatten();
        let (Some(lower), Some(upper)) = (lower, upper) else {
            unbounded.push(id);
            continue;
        };
        keep(&mut statistics.lower_bounds, id, lower, |known, new| new < known);
        keep(&mut statistics.upper_bounds, id, upper, |known, new| new > known);
    }
    // A bound holds for all row groups or not at all.
    for id in unbounded {
        statistics.lower_bounds.remove(&id);
        statistics.upper_bounds.remove(&id);
    }
    Ok(statistics)
}

fn keep(bounds: &mut HashMap<i32, Datum>, id: i32, new: Datum, is_wider: fn(&Datum, &Datum) -> bool) {
    match bounds.get(&id) {
        Some(known) if !is_wider(known, &new) => {}
        _ => {
            bounds.insert(id, new);
        }
    }
}

/// The bound in Iceberg's form from Parquet's bytes; `None` where it has none.
fn bound(
    chunk: &ColumnChunkMetaData,
    primitive: &PrimitiveType,
    bytes: &[u8],
    is_upper: bool,
) -> Result<Option<Datum>> {
    let bytes = match primitive {
        PrimitiveType::String => match std::str::from_utf8(bytes).ok().and_then(|text| cut_text(text, is_upper)) {
            Some(text) => text.into_bytes(),
            None => return Ok(None),
        },
        PrimitiveType::Binary => match cut_bytes(bytes, is_upper) {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
        // Iceberg has decimals big-endian; Parquet has small ones as little-endian integers.
        PrimitiveType::Decimal { .. } if chunk.column_type() != PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            bytes.iter().rev().copied().collect()
        }
        _ => bytes.to_vec(),
    };
    Datum::try_from_bytes(&bytes, primitive.clone()).map(Some).map_err(invalid)
}

fn cut_text(text: &str, is_upper: bool) -> Option<String> {
    let Some((end, _)) = text.char_indices().nth(BOUND_LENGTH) else { return Some(text.to_owned()) };
    if !is_upper {
        return Some(text[..end].to_owned());
    }
    let mut characters: Vec<char> = text[..end].chars().collect();
    while let Some(last) = characters.pop() {
        // Surrogates are no characters: the one after U+D7FF is U+E000.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn cut_bytes(bytes: &[u8], is_upper: bool) -> Option<Vec<u8>> {
    if bytes.len() <= BOUND_LENGTH {
        return Some(bytes.to_vec());
    }
    let mut cut = bytes[..BOUND_LENGTH].to_vec();
    if !is_upper {
        return Some(cut);
    }
    while let Some(last) = cut.pop() {
        if let Some(next) = last.checked_add(1) {
            cut.push(next);
            return Some(cut);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bounds_are_cut_so_that_they_hold() {
        assert_eq!(cut_text("short", true).unwrap(), "short");
        assert_eq!(cut_text(&"ü".repeat(17), false).unwrap(), "ü".repeat(16));
        assert_eq!(cut_text(&"a".repeat(17), true).unwrap(), format!("{}b", "a".repeat(15)));
        assert_eq!(cut_text(&format!("a{}", "\u{10FFFF}".repeat(17)), true).unwrap(), "b");
        assert_eq!(cut_text(&"\u{10FFFF}".repeat(17), true), None);
        assert_eq!(cut_text(&"\u{D7FF}".repeat(17), true).unwrap().chars().last(), Some('\u{E000}'));
        assert_eq!(cut_bytes(&[7; 17], true).unwrap(), [[7; 15].as_slice(), &[8]].concat());
        assert_eq!(cut_bytes(&[255; 17], true), None);
    }
}
