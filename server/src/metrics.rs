//! The registry of the process's metrics. Each module registers its own beside its code; this file only gives the shapes.
//!
//! Names are `millrace_<module>_<what>_<unit>`, with labels from bounded sets (stream, shard, delivery, table).
