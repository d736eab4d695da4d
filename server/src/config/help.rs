//! The list of all settings for `millrace serve --help`: key, environment name, default and meaning.

use std::fmt::Write;

use serde_json::Value;

#[cfg(test)]
use super::layers::leaves;
use super::layers::{environment_name, tree_of_defaults};

/// What each setting means. A test holds this list to the settings that exist.
const MEANINGS: &[(&str, &str)] = &[
    ("data_dir", "everything the process keeps on this machine's disk; one process a folder"),
    ("grpc_listen", "where gRPC listens; port 0 takes a free one"),
    ("http_listen", "where /healthz, /readyz, /metrics and the AWS protocols are served; port 0 takes a free one"),
    ("kinesis_listen", "where the AWS protocols are served alone, beside http_listen; nowhere when not set"),
    ("auth", "on: only principals may call, and only what they are granted; off: everybody may do everything"),
    ("auth_off_anywhere", "whether ports may be open to other machines although auth is off"),
    ("connections_max", "the most gRPC connections at a time; one more is refused"),
    ("drain_timeout", "the most time that calls in flight get to finish at shutdown"),
    ("failpoint", "a place, NAME or NAME:HITS, where the process dies, for crash tests; releases have none"),
    ("logging.format", "text or json"),
    ("logging.level", "error, warn, info, debug, trace, or directives such as info,millrace_server::streams=debug"),
    ("http.connections_max", "the most HTTP connections at a time; one more is refused"),
    (
        "http.header_timeout",
        "how long a connection may take until the headers of its next request are there, idle time included",
    ),
    ("http.body_timeout", "how long a request's body may take"),
    ("http.metrics", "open: whoever reaches the port may read /metrics; closed: principals with the action metrics"),
    ("tls.cert_path", "a certificate chain in PEM; with it both ports speak TLS and nothing else"),
    ("tls.key_path", "the certificate's private key in PEM"),
    ("tls.check_interval", "time between two looks at whether these files changed; SIGHUP looks at once"),
    ("principals.count_max", "the most principals"),
    ("principals.grants_max", "the most grants of one principal"),
    ("principals.metric_principals_max", "the most principals that metrics tell apart"),
    ("sigv4.region", "the region that signatures must name; any, when not set"),
    ("sigv4.clock_skew_max", "the most that a client's clock may be off; older signatures are refused"),
    ("sigv4.presigned_life_max", "the longest life of a presigned URL"),
    ("sigv4.allow_unsigned_payload", "whether a request may leave its body out of the signature"),
    ("audit.path", "a file of JSON lines that tells changes and denials; none when not set"),
    ("audit.bytes_max", "the most bytes of that file; past it a new one is begun"),
    ("audit.files_max", "how many older ones are kept"),
    (
        "store.url",
        "file:///absolute/folder, s3://bucket/prefix or memory:///; the folder `lake` of data_dir when not set",
    ),
    ("store.endpoint", "the S3-compatible service's URL; AWS when not set"),
    ("store.region", "the S3 region; AWS_REGION is read too"),
    ("store.access_key_id", "the S3 access key's id; AWS_ACCESS_KEY_ID is read too"),
    ("store.secret_access_key", "the S3 access key's secret; AWS_SECRET_ACCESS_KEY is read too"),
    ("store.allow_http", "whether the endpoint may be http://"),
    (
        "store.encryption",
        "server-side encryption of objects: sse-s3, sse-kms, dsse-kms or sse-c; the bucket's own when not set",
    ),
    ("store.kms_key_id", "the KMS key of sse-kms and dsse-kms; the account's default when not set"),
    (
        "store.bucket_key",
        "whether sse-kms uses a bucket key, which spares calls to KMS; the bucket's own setting when not set",
    ),
    ("store.customer_key", "the key of sse-c: 32 bytes in base64; the store keeps no copy of it"),
    (
        "backup.url",
        "where `millrace backup take` writes: file:///folder or s3://bucket/prefix, reached as the store is; the folder \
         `backups` of data_dir when not set",
    ),
    (
        "encryption.master_key_file",
        "a file of master keys, 32 bytes in base64 each; the first wraps, older ones follow it",
    ),
    ("encryption.allow_spill", "whether queries may spill rows to disk, in the clear, although there is a master key"),
    ("encryption.master_key", "the same text as such a file's, for an environment that holds secrets"),
    ("encryption.vault_url", "a Vault or OpenBao server, whose transit engine then has the master key"),
    ("encryption.vault_mount", "where the transit engine is mounted"),
    ("encryption.vault_key", "the transit key's name; of type aes256-gcm96"),
    ("encryption.vault_namespace", "the Vault namespace, where there are any"),
    ("encryption.vault_token", "the token that Vault is called with"),
    ("encryption.vault_token_file", "a file with that token, read for each call"),
    ("log.tail_cache_bytes_max", "memory for the newest records, which readers of the tail are served from"),
    ("log.queue_bytes_max", "bytes of records that wait to be durable; a put past it waits"),
    ("log.group_bytes_max", "bytes that one write and sync to disk takes"),
    ("log.block_bytes_max", "bytes of one block on disk; a larger record is a block of its own"),
    ("log.write_buffer_bytes", "blocks gathered in memory before they get a file of their own"),
    ("log.producers_max", "producers whose puts are known again and stored once, counted once for each shard"),
    ("log.producer_sequences_max", "puts of one producer that a shard knows again"),
    ("log.producer_idle_max", "how long a producer is known that puts nothing"),
    ("disk.free_bytes_min", "free space on the data folder's disk below which puts are refused; 0 is no limit"),
    ("disk.free_percent_min", "the same as a part of the disk, in percent; the larger of both counts"),
    ("disk.check_interval", "time between two looks at the free space"),
    ("streams.count_max", "the most streams"),
    ("streams.shard_count_max", "the most open shards of one stream"),
    ("streams.shards_max", "the most shards of all streams, closed ones that are kept among them"),
    ("streams.on_demand_shards_min", "the least open shards that a stream on demand merges down to"),
    ("streams.on_demand_shards_max", "the most open shards that a stream on demand splits up to"),
    ("streams.on_demand_interval", "time between two looks at the load of streams on demand"),
    ("streams.on_demand_split_after", "how long a shard must take 80 % of its quota before it splits"),
    ("streams.on_demand_merge_after", "how long two neighbours must take 40 % of one quota or less before they merge"),
    ("streams.shard_count_default", "the shards of a stream that is created without a number"),
    ("streams.retention_default", "how long a stream keeps records that is created without a retention"),
    ("streams.retention_min", "the shortest retention"),
    ("streams.retention_max", "the longest retention"),
    ("streams.retention_interval", "time between two passes that trim what is past its retention"),
    ("streams.record_bytes_default", "the most a record holds (data plus key) in a stream created without that limit"),
    ("streams.record_bytes_max", "the most that a stream may allow its records"),
    ("streams.partition_key_chars_max", "the most characters of a partition key"),
    ("streams.in_bytes_per_second", "default quota of each shard; 0 is no limit"),
    ("streams.in_records_per_second", "default quota of each shard; 0 is no limit"),
    ("streams.out_bytes_per_second", "default quota of each shard; 0 is no limit"),
    ("streams.quota_burst_default", "how much of its quotas an idle shard saves up, as time at their rates"),
    ("streams.quota_burst_max", "the most that a stream may let its shards save up"),
    ("streams.delay_time_max", "the longest that a put over quota waits, in streams that delay such puts"),
    ("streams.delay_bytes_max", "the most bytes of puts that wait for quota, of all streams together"),
    (
        "streams.stored_bytes_max_default",
        "the most bytes that a stream holds that is created without that limit; 0 is none",
    ),
    ("streams.put_records_max", "the most records of one put"),
    ("streams.put_bytes_max", "the most bytes of one put: data plus keys"),
    ("streams.put_in_flight_bytes_max", "the most bytes of all puts not yet durable; more are refused or wait"),
    ("streams.stream_in_flight_bytes_max", "the most bytes of one stream's puts not yet durable"),
    ("streams.put_stream_requests_max", "the most puts in flight on one PutStream"),
    ("streams.put_stream_bytes_max", "the most bytes in flight on one PutStream; one put is always let in"),
    ("streams.get_records_max", "the most records of one answer to a reader"),
    ("streams.get_bytes_max", "the most bytes of one answer to a reader; one record is always given"),
    ("streams.get_wait_max", "the longest that a read may wait for a record"),
    ("streams.consumers_max", "the most names that a stream is read under at a time, each with its own out quota"),
    ("streams.subscribe_bytes_max", "the most bytes of one message to a subscriber; one record is always given"),
    ("streams.subscribe_messages_max", "the most messages that wait for one subscriber"),
    ("streams.metric_streams_max", "the most streams that metrics tell apart"),
    ("streams.metric_shards_max", "the most shards of a stream that metrics tell apart"),
    ("streams.metric_shards_total_max", "the most shards of all streams together that metrics tell apart"),
    ("groups.stream_groups_max", "the most consumer groups of one stream"),
    ("groups.members_max", "the most members of one group"),
    ("groups.lease_ttl", "a group's member that is silent for so long loses its shards to others; at least 100ms"),
    ("groups.hand_over_timeout", "how long a member may finish its work on a shard that is to move to another"),
    ("transform.decompressed_bytes_max", "the most bytes that `decompress` makes of one record"),
    ("transform.jq_steps_max", "the most steps of a jq filter for one record"),
    ("transform.jq_outputs_max", "the most outputs of a jq filter for one record"),
    (
        "transform.jq_output_bytes_max",
        "the most bytes that a jq filter makes of one record, and of any value on the way",
    ),
    ("transform.wasm_fuel_max", "the most fuel of one call of a module, about one for each of its instructions"),
    ("transform.wasm_memory_bytes_max", "the most memory of one call of a module"),
    ("transform.wasm_output_bytes_max", "the most bytes that one call of a module may give"),
    ("transform.wasm_call_records_max", "the most records of one call of a module"),
    (
        "transform.wasm_call_bytes_max",
        "the most bytes of the records of one call of a module; one record is always let in",
    ),
    ("transform.wasm_attempts_max", "how often a record that fails alone in a module is tried"),
    ("transform.wasm_calls_max", "calls of modules that run at once; 0 is the number of cores"),
    ("transform.module_bytes_max", "the most bytes of a module that is pushed"),
    ("transform.modules_max", "the most modules"),
    ("transform.module_versions_max", "the most versions of a module; past it the oldest that nothing uses goes"),
    (
        "delivery.memory_bytes_max",
        "memory for converted records of all deliveries that are not committed; at least 16 MiB",
    ),
    ("delivery.conversions_max", "conversions at once, over all deliveries; 0 is the number of cores"),
    ("delivery.retry_delay_max", "the longest pause between two attempts of a failing step"),
    (
        "delivery.corrupt_blocks",
        "at a block that the disk lost: hold that shard and tell so, or skip it and count its records as lost",
    ),
    ("delivery.replaced_files_kept", "how long files that a rebuild replaced are kept for readers of the old snapshot"),
    ("delivery.drain_timeout", "the most time that batches being written get to finish at shutdown"),
    (
        "import.sources",
        "the folders that imports may read, as URLs with commas between; not set: with auth off the tables' own store, with auth \
         on nothing. S3 is reached as the tables' store is, but for imports that name another store",
    ),
    ("import.count_max", "the most imports"),
    ("import.concurrent_max", "runs of imports at a time; more wait"),
    ("import.objects_max", "the most objects below the prefix of one import"),
    ("import.chunk_rows_max", "rows that an import puts together"),
    ("import.chunk_bytes_max", "bytes that an import puts together; one row is always let in"),
    ("import.runs_kept", "runs that the history of an import keeps"),
    ("import.gone_objects_kept", "how long it is known that an object was imported which is not there any more"),
    ("import.retry_delay_max", "the longest pause between two attempts of a failing step of an import"),
    ("query.memory_bytes_max", "memory that the operators of all queries hold together; past it they spill to disk"),
    ("query.spill_bytes_max", "bytes that all queries spill together, in the folder `spill` of data_dir; 0 is none"),
    ("query.concurrent_max", "queries that run at a time; more wait"),
    ("query.wait_max", "how long a query waits for its turn before it is refused"),
    ("query.timeout", "how long a query may take, with the time that its reader takes"),
    ("query.partitions", "partitions that a query is split into; not set: the number of cores"),
    ("query.sql_bytes_max", "the most bytes of one statement"),
    ("query.sql_operators_max", "the most operators and keywords of one statement"),
    ("aws.region", "the region in ARNs"),
    ("aws.account_id", "the account in ARNs: 12 digits"),
    ("aws.request_bytes_max", "the most bytes of one AWS request"),
    ("aws.request_in_flight_bytes_max", "the most bytes of all AWS requests in memory; one more waits"),
    ("aws.request_timeout", "how long an AWS request may take to arrive"),
    (
        "aws.control_rates_multiple",
        "how many times AWS' own rates control-plane calls may come, such as 5 CreateStream a second; 0 is no limit",
    ),
    (
        "aws.cloudwatch_period",
        "what one value of the metrics under CloudWatch's names covers, such as 60s; 0 is none of them",
    ),
    ("kinesis.token_lifetime", "how long a shard iterator or a page's token is good"),
    ("kinesis.get_records_per_second", "GetRecords calls a second for each shard; 0 is no limit"),
    ("kinesis.shard_iterators_per_second", "GetShardIterator calls a second for each shard; 0 is no limit"),
    ("kinesis.consumers_max", "registered consumers of one stream"),
    ("kinesis.tags_max", "tags of one stream or consumer"),
    ("kinesis.shard_count_updates_per_day", "UpdateShardCount calls for one stream within 24 hours"),
    ("kinesis.on_demand_shard_count", "the shards that an ON_DEMAND stream begins with where none are named"),
    ("kinesis.subscription_time_max", "how long one SubscribeToShard lasts"),
    ("kinesis.takeover_after", "how old a subscription must be before another of the same consumer takes it over"),
    ("kinesis.heartbeat_interval", "time between two events of a subscription that has no records to give"),
    ("firehose.folder", "the folder of the store that buckets are folders of"),
    ("firehose.delivery_streams_max", "delivery streams"),
    (
        "firehose.in_bytes_per_second",
        "bytes a second into each delivery stream that takes records directly; 0 is no limit",
    ),
    ("firehose.in_records_per_second", "records a second into each; 0 is no limit"),
    ("firehose.put_requests_per_second", "PutRecord and PutRecordBatch calls a second for each; 0 is no limit"),
    ("firehose.tags_max", "tags of one delivery stream"),
    ("firehose.delete_flush_timeout", "how long a deletion waits for what is buffered to be delivered"),
];

/// The settings as text: a line for the key and its environment name and default, a line for its meaning.
#[must_use]
pub fn settings_help() -> String {
    let tree = tree_of_defaults();
    let mut text = String::from(
        "Settings, each in millrace.toml (sections before the dot), in the environment, or with --set KEY=VALUE:\n",
    );
    for (key, meaning) in MEANINGS {
        let pointer = format!("/{}", key.replace('.', "/"));
        let default = match tree.pointer(&pointer) {
            None | Some(Value::Null) => "not set".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {key}  {}  [{default}]\n      {meaning}", environment_name(key));
    }
    text.push_str(
        "\n\nFurther stores that imports may read have a section [stores.NAME] in the file, with the keys of [store]; what is below \
         its url may be read. The environment may give the rest of it: MILLRACE_STORES_NAME_SECRET_ACCESS_KEY.",
    );
    text.push_str(
        "\n\nSizes take units (64MiB), times too (90s, 24h). The environment goes before the file, flags before both.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_explained_once() {
        let mut keys = leaves(&tree_of_defaults());
        let mut explained: Vec<String> = MEANINGS.iter().map(|(key, _)| (*key).to_owned()).collect();
        keys.sort();
        explained.sort();
        assert_eq!(explained, keys, "config/help.rs and the settings structs must name the same keys");
        assert!(settings_help().contains("MILLRACE_STREAMS_RETENTION_DEFAULT  [1day]"), "{}", settings_help());
    }
}
