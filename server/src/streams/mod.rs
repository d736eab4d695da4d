//! Streams: their shards, quotas and retention, and the way of records into and out of the log.
