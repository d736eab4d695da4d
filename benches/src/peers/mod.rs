//! Logs of others, on the same disk, with the same records, batches and clients, each syncing before it acknowledges.
//!
//! `benches/peers.sh` installs what the system's packages do not have. A peer that is not installed is left out aloud.

pub mod redis;
pub mod nats;
pub mod kafka;
pub mod emulator;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A peer's server process; dropping it kills it.
#[derive(Debug)]
struct Process(Child);

impl Process {
    /// Starts it without output; `None` where the program is not installed.
    fn start(command: &mut Command) -> io::Result<Option<Self>> {
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the process listens.
    fn listening(&mut self, port: u16) -> io::Result<()> {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(io::Error::other(format!("the peer ended with {status} before it listened")));
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(io::Error::other(format!("the peer does not listen on port {port} after a minute")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Where `benches/peers.sh` puts what it installs.
fn installed(name: &str) -> PathBuf {
    let cache = std::env::var_os("MILLRACE_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/millrace");
    cache.unwrap_or_else(home).join("peers").join(name)
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs a load tool to its end and gives what it printed.
async fn output(command: Command) -> io::Result<String> {
    let mut command = command;
    let done = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let done = done.await.map_err(io::Error::other)??;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let error = String::from_utf8_lossy(&done.stderr);
        return Err(io::Error::other(format!("the load tool ended with {}: {text}{error}", done.status)));
    }
    Ok(text)
}

fn write(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
