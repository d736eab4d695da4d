//! Compatibility suite: what other engines read from the files alone.

mod flights;
mod formats;
mod inputs;
mod partitions;
