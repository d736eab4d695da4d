//! Vault's transit engine over HTTP as far as a server calls it, to be made to fail: what it wraps is what it was given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::{Value, json};

const PREFIX: &str = "vault:v1:";

/// The engine. Its thread ends with the process.
pub(crate) struct Transit {
    addr: SocketAddr,
    status: Arc<AtomicU16>,
}

impl Transit {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let status = Arc::new(AtomicU16::new(200));
        let answered = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away has its own reasons.
                let _ = answer(stream, answered.load(Relaxed));
            }
        });
        Self { addr, status }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The status of every answer from now on.
    pub(crate) fn answer_with(&self, status: u16) {
        self.status.store(status, Relaxed);
    }
}

fn answer(stream: TcpStream, status: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        let header = line.to_ascii_lowercase();
        length = header.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).unwrap_or(length);
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked: Value = serde_json::from_slice(&body)?;
    let text = |key: &str| asked[key].as_str().map(str::to_owned);
    let told = match (status, text("plaintext"), text("ciphertext")) {
        (200, Some(plain), _) => json!({"data": {"ciphertext": format!("{PREFIX}{plain}")}}),
        (200, None, Some(wrapped)) => json!({"data": {"plaintext": wrapped.trim_start_matches(PREFIX)}}),
        _ => json!({"errors": ["it is made to fail"]}),
    }
    .to_string();
    let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", told.len());
    (&stream).write_all(&[head.as_bytes(), told.as_bytes()].concat())
}
