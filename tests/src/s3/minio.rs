//! MinIO as a process: the store that many sites run. `tests/run.sh` builds it from source, as no program is published any
//! more, into `tools/bin` of `MILLRACE_CACHE`; one on the `PATH` serves too.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, as_store};
use crate::server::ServerSettings;
use crate::wait;

/// A running MinIO; dropping it kills it.
#[derive(Debug)]
pub struct Minio {
    child: Child,
    endpoint: String,
}

impl Minio {
    /// Starts one over `folder`, with one empty bucket.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let program = program().expect("MinIO is installed: tests/run.sh does it where there is go");
        std::fs::create_dir_all(folder.join(BUCKET)).expect("the bucket's folder can be made");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = port.expect("a port is free").to_string();
        let mut command = Command::new(program);
        command.arg("server").arg(folder).args(["--quiet", "--address", &address]);
        command.env("MINIO_ROOT_USER", ACCESS_KEY_ID).env("MINIO_ROOT_PASSWORD", SECRET_ACCESS_KEY);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let minio = Self { child, endpoint: format!("http://{address}") };
        wait::until("MinIO to listen", Duration::from_secs(30), || TcpStream::connect(&address).ok());
        minio
    }

    /// `settings` with its bucket as the store.
    #[must_use]
    pub fn as_store(&self, settings: ServerSettings) -> ServerSettings {
        as_store(&self.endpoint, settings)
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("MILLRACE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/millrace")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("tools/bin")));
    let mut programs = folders.map(|folder| folder.join("minio"));
    programs.find(|program| program.is_file())
}
