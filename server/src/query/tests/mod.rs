//! Queries against a real catalog, a real store in memory and real Parquet files.

mod fixture;
mod scan;
mod union;
mod limits;
mod statements;
