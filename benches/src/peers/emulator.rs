//! Emulators of Kinesis, in memory, on the AWS wire: kinesalite and moto.

use std::io;
use std::process::Command;

use super::{Process, free_port, installed};
use crate::aws::Kinesis;

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    _process: Process,
    /// Its endpoint.
    pub kinesis: Kinesis,
}

impl Emulator {
    /// Starts kinesalite, without the delays that it adds to calls; `None` where it or Node.js is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kinesalite() -> io::Result<Option<Self>> {
        let program = installed("kinesalite/node_modules/kinesalite/cli.js");
        let arguments = ["--createStreamMs", "0", "--shardLimit", "1000", "--port"];
        Self::start(Command::new("node").arg(&program).args(arguments), program.is_file())
    }

    /// Starts moto's server; `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn moto() -> io::Result<Option<Self>> {
        let program = installed("moto/bin/moto_server");
        Self::start(Command::new(&program).args(["-H", "127.0.0.1", "-p"]), program.is_file())
    }

    /// The port is the last argument.
    fn start(command: &mut Command, is_installed: bool) -> io::Result<Option<Self>> {
        let port = free_port()?;
        if !is_installed {
            return Ok(None);
        }
        let Some(mut process) = Process::start(command.arg(port.to_string()))? else { return Ok(None) };
        process.listening(port)?;
        let kinesis = Kinesis::new(&format!("http://127.0.0.1:{port}"), "bench", "bench");
        Ok(Some(Self { _process: process, kinesis }))
    }
}
