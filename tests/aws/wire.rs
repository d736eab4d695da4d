//! What lies below the SDKs: headers, both formats, and what is no request at all.

use millrace_tests::python;

use crate::site::Site;

#[test]
fn both_formats_and_what_is_no_request() {
    let site = Site::with(&[]);
    let told = python::run("aws/boto/wire.py", &[site.http()]);
    assert!(told["checked"].as_u64() >= Some(40), "{told}");
    site.stop_and_verify();
}
