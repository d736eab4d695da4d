//! Apache Kafka, one KRaft node, with `flush.messages=1`; the load is `ProducerPerformance`, its own tool.

use std::io;
use std::path::Path;
use std::process::Command;

use futures::future::try_join_all;

use super::{Process, free_port, installed, output, write};
use crate::load::Producers;

const TOPIC: &str = "bench";
const PARTITIONS: u32 = 4;

/// A Kafka node.
#[derive(Debug)]
pub struct Kafka {
    _process: Process,
    server: String,
}

fn java(main: &str, heap: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap}")).arg("-cp").arg(installed("kafka").join("*")).arg(main);
    command
}

impl Kafka {
    /// Starts one below `folder`; `None` where it or Java is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(folder: &Path) -> io::Result<Option<Self>> {
        if !installed("kafka").is_dir() {
            return Ok(None);
        }
        let (port, controller) = (free_port()?, free_port()?);
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\n\
             log.flush.interval.messages=1\nnum.partitions={PARTITIONS}\noffsets.topic.replication.factor=1\n\
             message.max.bytes=8388608\nauto.create.topics.enable=true\n",
            folder.join("kafka").display()
        );
        let settings = write(folder, "kafka.properties", &settings)?;
        let mut format = java("kafka.tools.StorageTool", "256m");
        format.args(["format", "--standalone", "-t", "bWlsbHJhY2UtYmVuY2gtMQ", "-c"]).arg(&settings);
        output(format).await?;
        let mut command = java("kafka.Kafka", "1g");
        command.arg(&settings);
        let Some(mut process) = Process::start(&mut command)? else { return Ok(None) };
        process.listening(port)?;
        Ok(Some(Self { _process: process, server: format!("127.0.0.1:{port}") }))
    }

    /// Each producer sends `records`; gives the sum of their rates in records a second.
    ///
    /// # Errors
    /// When a tool fails or prints something else than expected.
    pub async fn run(&self, workload: Producers, records: usize) -> io::Result<f64> {
        let batch_bytes = workload.batch_records * (workload.record_bytes + 32);
        let producers = (0..workload.producers).map(|_| {
            let mut command = java("org.apache.kafka.tools.ProducerPerformance", "256m");
            command.args(["--topic", TOPIC, "--throughput", "-1", "--num-records", &records.to_string()]);
            command.args(["--record-size", &workload.record_bytes.to_string(), "--producer-props"]);
            command.arg(format!("bootstrap.servers={}", self.server)).args(["acks=all", "linger.ms=5"]);
            command.arg(format!("batch.size={batch_bytes}")).arg("max.in.flight.requests.per.connection=2");
            command.arg("max.request.size=8388608");
            output(command)
        });
        let mut total = 0.0;
        for text in try_join_all(producers).await? {
            let rate = rate(&text);
            total += rate.ok_or_else(|| io::Error::other(format!("ProducerPerformance printed no rate: {text}")))?;
        }
        Ok(total)
    }
}

/// The last "1234.5 records/sec", which is of the whole run.
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().rfind(|line| line.contains(" records/sec"))?;
    line.split(" records/sec").next()?.rsplit(' ').next()?.parse().ok()
}
