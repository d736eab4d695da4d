//! Certificates from files: what is wrong with them is said, and a change is taken in.

use tempfile::TempDir;

use super::*;

struct Files {
    folder: TempDir,
    settings: TlsSettings,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert_path, key_path) = (Some(folder.path().join("cert.pem")), Some(folder.path().join("key.pem")));
        let files = Self { settings: TlsSettings { cert_path, key_path, ..TlsSettings::default() }, folder };
        let (cert, key) = made();
        files.write("cert.pem", &cert);
        files.write("key.pem", &key);
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn open(&self) -> Result<Option<Ports>> {
        Ports::open(&self.settings, &Metrics::new())
    }

    fn refused(&self, words: &str) {
        let error = self.open().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn without_paths_there_is_no_tls_and_one_needs_the_other() {
    assert!(Ports::open(&TlsSettings::default(), &Metrics::new()).unwrap().is_none());
    let mut files = Files::new();
    files.settings.key_path = None;
    files.refused("tls.cert_path needs tls.key_path");
    files.settings.key_path = files.settings.cert_path.take();
    files.refused("tls.key_path needs tls.cert_path");
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let files = Files::new();
    assert!(files.open().unwrap().is_some());
    let (cert, key) = made();
    files.write("key.pem", &key);
    files.refused("is not that of the first certificate");
    files.write("key.pem", &cert);
    files.refused("key.pem: it has no PRIVATE KEY");
    files.write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    files.refused("is no RSA, ECDSA");
    files.write("key.pem", &key);
    files.write("cert.pem", "hello");
    files.refused("cert.pem has no CERTIFICATE");
    files.write("cert.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    files.refused("cert.pem is no PEM");
    std::fs::remove_file(files.folder.path().join("cert.pem")).unwrap();
    files.refused("cert.pem cannot be read");
}

#[test]
fn a_change_is_taken_in_and_a_wrong_one_is_not() {
    let files = Files::new();
    let ports = files.open().unwrap().unwrap();
    let used = || ports.certificate.current.read().key.cert[0].clone();
    let first = used();
    ports.certificate.check();
    assert_eq!(used(), first);
    let (cert, key) = made();
    files.write("cert.pem", &cert);
    ports.certificate.check();
    assert_eq!(used(), first, "half of a change is none");
    files.write("key.pem", &key);
    ports.certificate.check();
    assert_ne!(used(), first);
    let outcomes = ["ok", "failed"].map(|outcome| ports.certificate.reloads.with_label_values(&[outcome]).get());
    assert_eq!(outcomes, [1, 1]);
}
