//! The settings of queries. Composed into the process's settings by `config`.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

const STACK_BYTES_MIN: usize = 4 << 20;
/// Measured without optimisation, where frames are largest.
const STACK_BYTES_PER_OPERATOR: usize = 128 << 10;

/// What queries may use. All of it is shared by the queries that run at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuerySettings {
    /// Bytes of memory that the operators of all queries may hold together; they spill to disk past it. Default 256 MiB.
    pub memory_bytes_max: ByteSize,
    /// Bytes that all queries may spill to disk together, below `<data-dir>/spill`; 0 is none. Default 10 GiB.
    pub spill_bytes_max: ByteSize,
    /// Queries that run at a time; more wait for `wait_max`. Default 16.
    pub concurrent_max: NonZeroUsize,
    /// How long a query waits for its turn before it is refused. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub wait_max: Duration,
    /// How long a query may take, with the time that its reader takes. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Partitions that a query is split into. Default: the number of cores.
    pub partitions: Option<NonZeroUsize>,
    /// Bytes of one SQL statement. Default 1 MiB.
    pub sql_bytes_max: ByteSize,
    /// Operators and keywords of one SQL statement, at most 65,535. Default 1,000. Each may nest an expression one deeper, and
    /// plans are walked by recursion: every query thread has a stack of 128 KiB for each of them, of which only the part
    /// that is used takes memory.
    pub sql_operators_max: NonZeroU16,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: ByteSize::mib(256),
            spill_bytes_max: ByteSize::gib(10),
            concurrent_max: NonZeroUsize::new(16).expect("16 is not zero"),
            wait_max: Duration::from_secs(10),
            timeout: Duration::from_secs(600),
            partitions: None,
            sql_bytes_max: ByteSize::mib(1),
            sql_operators_max: NonZeroU16::new(1000).expect("1000 is not zero"),
        }
    }
}

impl QuerySettings {
    /// How many partitions a query is split into.
    #[must_use]
    pub fn target_partitions(&self) -> usize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.partitions.unwrap_or_else(cores).get()
    }

    /// The stack of a query thread.
    pub(super) fn stack_bytes(&self) -> usize {
        STACK_BYTES_MIN + usize::from(self.sql_operators_max.get()) * STACK_BYTES_PER_OPERATOR
    }
}
