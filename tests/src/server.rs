//! The real program as a process: started, found, killed, stopped, started again on the same folder.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::wait;

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
///
/// `cargo build` puts it into the folder of programs, `target/<profile>`, tests lie one below it in `deps`;
/// `MILLRACE_TEST_BIN` names another one.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("MILLRACE_TEST_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a running binary has a path");
    let candidates = own.ancestors().skip(1).take(2).map(|folder| folder.join("millrace"));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no millrace near {}: run ./tests/run.sh, or cargo build first", own.display()))
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Environment variables on top of the harness's own.
    pub env: Vec<(String, String)>,
    /// A shell prefix that runs the program, for example a limit: `ulimit -f 1000;`.
    pub shell_prefix: Option<String>,
}

impl ServerSettings {
    /// A server on `data_dir`, its tables below `<data_dir>/../lake` on disk.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_path_buf(), env: Vec::new(), shell_prefix: None }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Listens for gRPC at one port over all restarts, so that clients find the server again.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn on_fixed_port(self) -> Self {
        // Below the ports that the system hands out, so that none of the clients' connections takes it meanwhile.
        let ports = std::iter::repeat_with(|| rand::random_range(20_000..30_000_u16)).take(1000);
        let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = ports.into_iter().find(free).expect("a free port");
        self.env("MILLRACE_GRPC_LISTEN", format!("127.0.0.1:{port}"))
    }

    fn command(&self) -> Command {
        let mut command = match &self.shell_prefix {
            None => Command::new(program()),
            Some(prefix) => {
                let mut shell = Command::new("bash");
                shell.arg("-c").arg(format!("{prefix} exec \"$0\" \"$@\"")).arg(program());
                shell
            }
        };
        command.arg("serve").arg("--data-dir").arg(&self.data_dir);
        command.env("MILLRACE_GRPC_LISTEN", "127.0.0.1:0").env("MILLRACE_HTTP_LISTEN", "127.0.0.1:0");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program to its end, for starts that must be refused.
    ///
    /// # Panics
    /// When it is still running after the deadline.
    #[must_use]
    pub fn run_refused(&self) -> (ExitStatus, String) {
        let mut child =
            self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let status = wait_exit(&mut child, START_DEADLINE, "the refused server to exit");
        let mut said = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut said).expect("its output is text");
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("its output is text");
        (status, said)
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    process: Process,
    grpc: String,
    http: String,
}

/// A process that does not outlive its owner, however the owner ends.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    /// Starts the program and waits until it is ready.
    ///
    /// # Panics
    /// When it exits or is not ready within the deadline; its log is printed.
    #[must_use]
    pub fn start(settings: &ServerSettings) -> Self {
        let (process, grpc, http) = spawn(settings);
        Self { settings: settings.clone(), process, grpc, http }
    }

    /// The gRPC endpoint as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.grpc.clone()
    }

    /// The HTTP listener as a URL.
    #[must_use]
    pub fn http_endpoint(&self) -> &str {
        &self.http
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Kills the process with SIGKILL: no code of it runs any more.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn kill(&mut self) {
        self.process.0.kill().expect("the process is ours");
        self.process.0.wait().expect("the process is ours");
    }

    /// Starts it again on the same folder, after [`Self::kill`] or [`Self::stop`].
    pub fn restart(&mut self) {
        (self.process, self.grpc, self.http) = spawn(&self.settings);
    }

    /// Starts it again with other settings.
    pub fn restart_with(&mut self, settings: &ServerSettings) {
        self.settings = settings.clone();
        self.restart();
    }

    /// As [`Self::restart_with`], for a server that may die while it starts; false when it did. One whose disk fails by then
    /// is alive and never ready.
    #[must_use]
    pub fn try_restart_with(&mut self, settings: &ServerSettings) -> bool {
        self.settings = settings.clone();
        let started = try_spawn(settings, "/healthz");
        if let Ok(started) = started {
            (self.process, self.grpc, self.http) = started;
            return true;
        }
        false
    }

    /// Waits until the process ended by itself or `enough` says so; false when neither came before the deadline.
    ///
    /// # Panics
    /// When its state cannot be asked for.
    #[must_use]
    pub fn dies_before(&mut self, deadline: Instant, enough: impl Fn(&Self) -> bool) -> bool {
        while self.process.0.try_wait().expect("the process is ours").is_none() {
            if enough(self) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Sends SIGTERM and waits for the drained exit.
    ///
    /// # Panics
    /// When it does not exit within the deadline.
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.process.0.id(), "TERM");
        wait_exit(&mut self.process.0, STOP_DEADLINE, "the server to drain")
    }

    /// Fetches a path of the HTTP listener: status code and body.
    ///
    /// # Panics
    /// When the listener does not answer.
    #[must_use]
    pub fn http_get(&self, path: &str) -> (u16, String) {
        http_get(&self.http, path).expect("the HTTP listener answers")
    }

    /// What the server has logged since its data folder was made.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(&self.settings.data_dir)).unwrap_or_default()
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.0.id())
    }
}

/// A process's resident memory in bytes; zero when it is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the server's last words ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Sends a signal by name.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("bash").arg("-c").arg(format!("kill -{name} {pid}")).status().expect("bash runs");
    assert!(status.success(), "signal {name} could not be sent to process {pid}");
}

fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

fn spawn(settings: &ServerSettings) -> (Process, String, String) {
    try_spawn(settings, "/readyz").unwrap_or_else(|status| {
        let log = fs::read_to_string(log_path(&settings.data_dir)).unwrap_or_default();
        panic!("the server exited at start with {status}:\n{log}");
    })
}

/// Waits until `probe` is answered well; or gives the status of a server that did not come up.
fn try_spawn(settings: &ServerSettings, probe: &str) -> Result<(Process, String, String), ExitStatus> {
    fs::create_dir_all(&settings.data_dir).expect("the data folder can be made");
    let endpoints = settings.data_dir.join("endpoints.json");
    // The file of an earlier, killed run names ports that are gone.
    drop(fs::remove_file(&endpoints));
    let log =
        File::options().create(true).append(true).open(log_path(&settings.data_dir)).expect("the log can be made");
    let child = settings
        .command()
        .stdout(log.try_clone().expect("a file handle can be cloned"))
        .stderr(log)
        .spawn()
        .expect("the program starts");
    let mut process = Process(child);
    let (grpc, http) = wait::until("the server to be ready", START_DEADLINE, || {
        if let Some(status) = process.0.try_wait().expect("the process is ours") {
            return Some(Err(status));
        }
        let (grpc, http) = read_endpoints(&endpoints)?;
        is_up(&http, probe).then_some(Ok((grpc, http)))
    })?;
    Ok((process, grpc, http))
}

fn read_endpoints(path: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(path).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some((value["grpc"].as_str()?.to_owned(), value["http"].as_str()?.to_owned()))
}

/// Whether the probe is answered well. Over TLS, whose certificates are the test's own affair, that somebody listens is enough.
fn is_up(endpoint: &str, probe: &str) -> bool {
    match endpoint.strip_prefix("https://") {
        Some(address) => TcpStream::connect(address).is_ok(),
        None => http_get(endpoint, probe).is_some_and(|(code, _)| code == 200),
    }
}

fn http_get(endpoint: &str, path: &str) -> Option<(u16, String)> {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let code = answer.split_whitespace().nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((code, body))
}

fn wait_exit(child: &mut Child, deadline: Duration, what: &str) -> ExitStatus {
    wait::until(what, deadline, || child.try_wait().expect("the process is ours"))
}
