//! The data folder: one process holds it at a time, and others find that process's addresses in it.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use millrace_storage::backup::RESTORING;

use crate::error::{Error, Kind, Result};

/// The file that the process holds locked; it tells the process's id.
const LOCK: &str = "LOCK";
/// Where the addresses stand while the process serves.
const ENDPOINTS: &str = "endpoints.json";

/// A data folder that this process holds. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self> {
        let failed = |what: &str, error: &std::io::Error| {
            Error::unavailable(format_args!("cannot {what} the data folder {}: {error}", path.display()))
        };
        fs::create_dir_all(path).map_err(|error| failed("make", &error))?;
        let path = path.canonicalize().map_err(|error| failed("find", &error))?;
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(|error| failed("write to", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&path, lock)),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &error)),
        }
        let write =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        write.map_err(|error| failed("write to", &error))?;
        if path.join(RESTORING).exists() {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format_args!("the restore into {} did not end; run `millrace restore` again", path.display()),
            ));
        }
        let held = Self { path, _lock: lock };
        // A process that was killed left its addresses, and nobody listens there now.
        held.remove_endpoints();
        Ok(held)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says where this process listens, so that tools on the same machine find it.
    pub(super) fn write_endpoints(
        &self,
        grpc: SocketAddr,
        http: SocketAddr,
        kinesis: Option<SocketAddr>,
        is_tls: bool,
    ) -> Result<()> {
        let scheme = if is_tls { "https" } else { "http" };
        let url = |addr: SocketAddr| format!("{scheme}://{addr}");
        let mut text = serde_json::json!({ "grpc": url(grpc), "http": url(http) });
        if let Some(kinesis) = kinesis {
            text["kinesis"] = url(kinesis).into();
        }
        let (new, path) = (self.path.join("endpoints.json.new"), self.path.join(ENDPOINTS));
        // Renamed, so that a reader never sees half of it.
        fs::write(&new, format!("{text}\n"))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| Error::unavailable(format_args!("cannot write {}: {error}", path.display())))
    }

    /// Nobody listens any more.
    pub(super) fn remove_endpoints(&self) {
        match fs::remove_file(self.path.join(ENDPOINTS)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove {ENDPOINTS}");
            }
            _ => {}
        }
    }
}

fn in_use(path: &Path, mut lock: File) -> Error {
    let mut pid = String::new();
    let process = match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    };
    let path = path.display();
    Error::new(
        Kind::FailedPrecondition,
        format_args!("the data folder {path} is in use by {process}; stop it first or choose another --data-dir"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let held = DataDir::lock(&path).unwrap();
        let error = DataDir::lock(&path).unwrap_err();
        assert_eq!(*error.kind(), Kind::FailedPrecondition);
        let holder = format!("in use by process {}", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(held);
        assert!(DataDir::lock(&path).is_ok());
    }

    /// A test harness that reads the file of a killed process would call nobody.
    #[test]
    fn addresses_of_a_killed_process_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let addr = "127.0.0.1:1".parse().unwrap();
        DataDir::lock(folder.path()).unwrap().write_endpoints(addr, addr, None, false).unwrap();
        assert!(folder.path().join(ENDPOINTS).exists());
        let _held = DataDir::lock(folder.path()).unwrap();
        assert!(!folder.path().join(ENDPOINTS).exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDir::lock(&file.join("data")).unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }
}
