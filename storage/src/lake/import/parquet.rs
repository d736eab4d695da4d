//! Parquet: each row a JSON object of the columns' names. Columns are read page by page, so that a file takes the memory of its
//! pages and never that of a row group.
//!
//! Numbers keep their digits (decimals too); times are in RFC 3339's form; bytes are in hexadecimal; a float that is no number
//! is `"NaN"`, `"Infinity"` or `"-Infinity"`, as JSON has none; a null leaves its field out.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder};
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::chunk::{Chunk, Chunker, Row};
use super::field::scalar;
use super::ranged::Ranged;
use super::{ImportCause, Mark, ReadOptions};

/// Rows that are made JSON at once.
const BATCH_ROWS: usize = 512;
/// What is read at least, in bytes; pages are larger as a rule, their headers much smaller.
const BLOCK_BYTES: u64 = 128 << 10;
/// Blocks that are kept, for the columns that are read side by side.
const BLOCKS_MAX: usize = 64;

/// Reads rows from a place on until `emit` says no.
pub(super) fn read(
    ranged: &Ranged,
    options: &ReadOptions,
    from: Mark,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> Result<bool, String> {
    let words = |error: &dyn std::fmt::Display| format!("it cannot be read as Parquet: {error}");
    let file = Blocks { ranged: ranged.clone(), held: Arc::default() };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| words(&error))?;
    let skipped = usize::try_from(from.rows).map_err(|error| words(&error))?;
    let reader = builder.with_batch_size(BATCH_ROWS).with_offset(skipped).build().map_err(|error| words(&error))?;
    for batch in reader {
        let batch = batch.map_err(|error| words(&error))?;
        let lines = Bytes::from(json(&batch).map_err(|error| words(&error))?);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let row = row(lines.slice_ref(line), options);
            if let Some(chunk) = chunker.push(row, 0)
                && !emit(chunk)
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn row(data: Bytes, options: &ReadOptions) -> Row {
    let partition_key = match &options.partition_key {
        None => None,
        Some(field) => {
            let text = String::from_utf8_lossy(&data);
            match scalar(&text, Some(field)) {
                Ok(found) => found,
                Err(_) => {
                    let message = "the row is nested too deep for JSON".to_owned();
                    return Row::bad(ImportCause::InvalidJson, message, data);
                }
            }
        }
    };
    // A copy, so that a record does not hold its whole batch.
    Row::Record { partition_key, data: Bytes::copy_from_slice(&data) }
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let builder = WriterBuilder::new().with_encoder_factory(Arc::new(Floats));
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Writes floats that are no numbers as text, where the writer would write null.
#[derive(Debug)]
struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 if has_odd(array.as_primitive::<Float64Type>(), f64::is_finite) => {
                Box::new(OddFloats(array.as_primitive::<Float64Type>()))
            }
            DataType::Float32 if has_odd(array.as_primitive::<Float32Type>(), f32::is_finite) => {
                Box::new(OddFloats(array.as_primitive::<Float32Type>()))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

fn has_odd<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, is_finite: fn(T::Native) -> bool) -> bool {
    !array.values().iter().all(|value| is_finite(*value))
}

struct OddFloats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for OddFloats<'_, T>
where
    T::Native: Into<f64> + std::fmt::Display,
{
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let native = self.0.value(index);
        let value: f64 = native.into();
        let text = if value.is_nan() {
            "\"NaN\"".to_owned()
        } else if value.is_infinite() {
            if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned()
        } else {
            native.to_string()
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// The file by aligned blocks, the last few kept.
struct Blocks {
    ranged: Ranged,
    held: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl Blocks {
    /// The block that holds a byte, and where it begins.
    fn block(&self, at: u64) -> std::io::Result<(u64, Bytes)> {
        let start = at - at % BLOCK_BYTES;
        let mut held = self.held.lock();
        if let Some(place) = held.iter().position(|(begin, _)| *begin == start) {
            let found = held.remove(place).expect("a place that was found");
            held.push_back(found.clone());
            return Ok(found);
        }
        let fetched = self.ranged.fetch(start..self.ranged.size().min(start + BLOCK_BYTES))?;
        if held.len() >= BLOCKS_MAX {
            held.pop_front();
        }
        held.push_back((start, fetched.clone()));
        Ok((start, fetched))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.ranged.size()
    }
}

impl ChunkReader for Blocks {
    type T = BlockReader;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let file = Self { ranged: self.ranged.clone(), held: Arc::clone(&self.held) };
        Ok(BlockReader { file, at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.ranged.size());
        let end = end.ok_or_else(|| ParquetError::EOF("the file ends before what its footer tells of".to_owned()))?;
        let (begin, block) = self.block(start)?;
        if end <= begin + block.len() as u64 {
            let offset = usize::try_from(start - begin).expect("within a block");
            return Ok(block.slice(offset..offset + length));
        }
        Ok(self.ranged.fetch(start..end)?)
    }
}

/// The file from a place on.
struct BlockReader {
    file: Blocks,
    at: u64,
}

impl Read for BlockReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.file.ranged.size() {
            return Ok(0);
        }
        let (begin, mut block) = self.file.block(self.at)?;
        block.advance(usize::try_from(self.at - begin).expect("within a block"));
        let count = into.len().min(block.len());
        into[..count].copy_from_slice(&block[..count]);
        self.at += count as u64;
        Ok(count)
    }
}
