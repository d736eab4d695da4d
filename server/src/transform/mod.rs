//! The transform chain: what happens to a record between the log and the lake.
