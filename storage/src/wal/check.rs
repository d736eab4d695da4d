//! Decides whether the logs of a folder are as they were written, a torn end aside.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::framing::Framing;
use super::walk::{Found, Walk};
use super::{batch, live_logs};

/// A place in a log that is not as it was written, with records after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) file: PathBuf,
    /// Bytes from its beginning.
    pub(crate) at: u64,
    /// What was found there.
    pub(crate) reason: &'static str,
}

/// The first damage that hides acknowledged records, if there is any.
///
/// Reads every log that RocksDB would replay, once. See the module for what is a torn end.
pub(crate) fn check(folder: &Path, framing: Framing) -> io::Result<Option<Damage>> {
    match check_once(folder, framing) {
        // Whoever has the folder open writes, recycles and removes logs meanwhile; RocksDB says so in better words.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Some(damage)) => Ok(check_once(folder, framing)?.filter(|again| *again == damage)),
        found => found,
    }
}

fn check_once(folder: &Path, framing: Framing) -> io::Result<Option<Damage>> {
    let mut check = Check::default();
    for (number, file) in live_logs(folder)? {
        check.file = file;
        check.places_of_file();
        let opened = File::open(&check.file)?;
        Walk::new(framing, number, &mut |found| check.visit(&found)).run(opened)?;
        if check.proven.is_some() {
            break;
        }
    }
    Ok(check.proven)
}

#[derive(Debug, Default)]
struct Check {
    file: PathBuf,
    /// The first place that does not check, which the end of a log is too.
    suspicion: Option<Damage>,
    /// Padding that is none: it was written with the record that follows it.
    padding: Option<u64>,
    /// The sequence number that the next record begins with.
    next: Option<u64>,
    /// Damage with a record after it.
    proven: Option<Damage>,
}

impl Check {
    /// Places are of one file; what joins two files is the sequence alone. A suspicion of an earlier file is kept to be named.
    fn places_of_file(&mut self) {
        self.padding = None;
    }

    fn visit(&mut self, found: &Found<'_>) {
        if self.proven.is_some() {
            return;
        }
        match found {
            Found::Begins { at, head } => self.begins(*at, head),
            Found::Record { record, .. } => self.record(record),
            Found::Damaged { at, reason } => self.suspect(*at, reason),
            Found::Padding { at } => self.padding = Some(*at),
            Found::Suspect { .. } => {}
        }
    }

    fn suspect(&mut self, at: u64, reason: &'static str) {
        let is_of_file = self.suspicion.as_ref().is_some_and(|known| known.file == self.file);
        // The end of an earlier file is no damage if the sequence goes on; then this is the first of its own.
        if !is_of_file {
            self.suspicion = Some(Damage { file: self.file.clone(), at, reason });
        }
    }

    fn begins(&mut self, at: u64, head: &[u8]) {
        let sequence = batch::sequence(head).map(|(sequence, _)| sequence);
        if let Some(suspicion) = &self.suspicion
            && suspicion.file == self.file
        {
            // Bytes of a user that look like a record of this log would have to guess its sequence as well.
            if sequence.is_none_or(|sequence| self.next.is_none_or(|next| sequence >= next)) {
                self.proven = Some(suspicion.clone());
            }
            return;
        }
        if let (Some(sequence), Some(next)) = (sequence, self.next)
            && sequence > next
        {
            let missing = Damage { file: self.file.clone(), at, reason: "records before it are missing" };
            self.proven = Some(self.suspicion.take().unwrap_or(missing));
            return;
        }
        if let Some(at) = self.padding.take() {
            self.suspicion = Some(Damage { file: self.file.clone(), at, reason: "the end of its block is not zero" });
        }
    }

    fn record(&mut self, record: &[u8]) {
        if let Some((sequence, count)) = batch::sequence(record) {
            self.next = Some(sequence + u64::from(count));
        }
    }
}
