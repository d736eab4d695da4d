//! Certificates of the tests' own.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes a certificate of this machine that signs itself, `cert.pem`, and its key, `key.pem`.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn write(folder: &Path) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.expect("a certificate can be made");
    let paths = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&paths[0], made.cert.pem()).expect("the test's folder can be written");
    fs::write(&paths[1], made.signing_key.serialize_pem()).expect("the test's folder can be written");
    paths
}
