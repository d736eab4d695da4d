//! A request's body in JSON, to every operation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_server::api::aws::fuzz;

fuzz_target!(|body: &[u8]| fuzz::request(false, body));
