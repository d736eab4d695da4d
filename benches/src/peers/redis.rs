//! Redis Streams with `appendfsync always`, for comparison: the server from the system, the load on its own wire.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Process, free_port};
use crate::load::{Acknowledged, Producers};

/// A Redis server on a free port.
#[derive(Debug)]
pub struct Redis {
    _process: Process,
    port: u16,
}

impl Redis {
    /// Starts one below `folder`; `None` where Redis is not installed.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(folder: &Path) -> io::Result<Option<Self>> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--dir"]).arg(folder);
        let Some(mut process) = Process::start(&mut command)? else { return Ok(None) };
        process.listening(port)?;
        Ok(Some(Self { _process: process, port }))
    }

    /// Each producer adds a batch of entries at a time, one batch in flight more than the one that is being answered.
    ///
    /// # Errors
    /// When a connection breaks or an entry is refused.
    pub async fn run(&self, workload: Producers, duration: Duration) -> io::Result<Acknowledged> {
        let start = Instant::now();
        let until = start + duration;
        let tasks: Vec<_> = (0..workload.producers)
            .map(|number| {
                tokio::spawn(produce(self.port, number, workload.batch_records, workload.record_bytes, until))
            })
            .collect();
        let mut total = Acknowledged::default();
        for task in tasks {
            total.records += task.await.map_err(io::Error::other)??;
        }
        total.bytes = total.records * workload.record_bytes as u64;
        total.elapsed = start.elapsed();
        Ok(total)
    }
}

async fn produce(port: u16, number: usize, records: usize, record_bytes: usize, until: Instant) -> io::Result<u64> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let (reading, mut writing) = socket.into_split();
    let mut answers = BufReader::new(reading);
    let key = format!("stream-{number}");
    let data = crate::load::noise(1, 1, record_bytes).remove(0).remove(0).data;
    let mut batch = Vec::new();
    for _ in 0..records {
        let head = format!("*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n$1\r\nd\r\n${record_bytes}\r\n", key.len());
        batch.extend_from_slice(head.as_bytes());
        batch.extend_from_slice(&data);
        batch.extend_from_slice(b"\r\n");
    }
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut line = String::new();
    loop {
        while Instant::now() < until && sent - answered < 2 * records as u64 {
            writing.write_all(&batch).await?;
            sent += records as u64;
        }
        if answered == sent {
            return Ok(answered);
        }
        for _ in 0..records {
            // "$15\r\n" and the entry's id.
            for _ in 0..2 {
                line.clear();
                answers.read_line(&mut line).await?;
                if line.starts_with('-') || line.is_empty() {
                    return Err(io::Error::other(format!("redis refused an entry: {line:?}")));
                }
            }
            answered += 1;
        }
    }
}
