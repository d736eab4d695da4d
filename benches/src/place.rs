//! Where a bench runs: a folder on the disk to measure.
#![expect(clippy::print_stdout, reason = "a bench's result is its output, and begins with the machine")]

use std::io;
use std::path::PathBuf;

use crate::machine;

/// The argument that every bench has.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// A folder on the disk to measure.
    #[arg(long, default_value = "target/bench")]
    pub folder: PathBuf,
}

impl Place {
    /// Makes the folder and prints the machine.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        println!("{}", machine::describe(&self.folder));
        Ok(())
    }
}
