//! A signed request: the first line is the query, each other one a header.
#![no_main]

use http::{HeaderName, HeaderValue, Request, Uri};
use libfuzzer_sys::fuzz_target;
use millrace_server::auth::fuzz;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let query = lines.next().unwrap_or_default();
    let Ok(uri) = Uri::try_from([b"/?", query].concat()) else { return };
    let (mut parts, ()) = Request::post(uri).body(()).expect("a URI makes a request").into_parts();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            parts.headers.append(name, value);
        }
    }
    let _ = fuzz::verify(&parts, b"{}");
});
