//! What clients bring back: tokens, sequence numbers, shards' ids and ARNs as text, and a shard iterator's payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_server::api::aws::fuzz;

fuzz_target!(|input: &[u8]| {
    fuzz::token(&String::from_utf8_lossy(input));
    fuzz::iterator(input);
});
