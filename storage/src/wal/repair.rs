//! Takes damage out of the logs of a folder that nobody has open, so that RocksDB replays what is whole around it.
//!
//! The damaged files are kept aside. A record that is lost leaves a filler with its sequence numbers, so that the logs check
//! again and a later damage is found as surely as the first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::framing::Framing;
use super::walk::{Found, Walk};
use super::{Damage, batch, live_logs};

/// What happens to the records after a damaged one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// They stay: each stands for itself.
    #[default]
    Keep,
    /// They go, so that the state is one that was there at some time.
    Drop,
}

/// What a repair does.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Each place that does not check.
    pub(crate) damages: Vec<Damage>,
    /// The damaged records, as far as they keep their lengths: bytes of a batch, of which some are wrong.
    pub(crate) suspects: Vec<Vec<u8>>,
    /// Records that go, damaged or after damage.
    pub(crate) records_lost: u64,
    /// The files anew.
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// Reads the logs and says what a repair would do. Changes nothing.
pub(crate) fn plan(folder: &Path, framing: Framing, after: After) -> io::Result<Plan> {
    let mut planner = Planner { after, ..Planner::default() };
    for (number, file) in live_logs(folder)? {
        let opened = File::open(&file)?;
        planner.begin(file);
        Walk::new(framing, number, &mut |found| planner.visit(framing, number, &found)).run(opened)?;
        planner.end();
    }
    Ok(planner.plan)
}

impl Plan {
    /// Writes the files anew and keeps the old ones in `aside`.
    pub(crate) fn apply(self, aside: &Path) -> io::Result<()> {
        fs::create_dir_all(aside)?;
        for (file, bytes) in self.files {
            let name = file.file_name().expect("a log file has a name").to_owned();
            fs::hard_link(&file, aside.join(&name)).or_else(|_| fs::copy(&file, aside.join(&name)).map(drop))?;
            let new = file.with_extension("log.new");
            let mut written = File::create(&new)?;
            written.write_all(&bytes)?;
            written.sync_all()?;
            fs::rename(&new, &file)?;
            let folder = file.parent().expect("a log file lies in a folder");
            File::open(folder)?.sync_all()?;
        }
        File::open(aside)?.sync_all()
    }
}

#[derive(Debug, Default)]
struct Planner {
    after: After,
    plan: Plan,
    /// The file at hand, its bytes anew, and whether they differ from what it holds.
    file: PathBuf,
    bytes: Vec<u8>,
    is_changed: bool,
    /// Damage that no whole record has followed yet: it may be a torn end.
    pending: Option<Damage>,
    suspects: Vec<Vec<u8>>,
    /// The sequence number that the next record begins with.
    next: Option<u64>,
    /// Everything from here on is dropped.
    is_cut: bool,
}

impl Planner {
    fn begin(&mut self, file: PathBuf) {
        self.file = file;
        self.is_changed = self.is_cut;
    }

    fn end(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.is_changed {
            self.plan.files.push((self.file.clone(), bytes));
        }
    }

    fn visit(&mut self, framing: Framing, number: u64, found: &Found<'_>) {
        match found {
            Found::Damaged { at, reason } => self.suspect(*at, reason),
            Found::Padding { at } => self.suspect(*at, "the end of its block is not zero"),
            Found::Suspect { record, .. } => self.suspects.push(record.to_vec()),
            Found::Begins { .. } => {}
            Found::Record { at, record } => self.record(framing, number, *at, record),
        }
    }

    fn suspect(&mut self, at: u64, reason: &'static str) {
        let file = &self.file;
        self.pending.get_or_insert_with(|| Damage { file: file.clone(), at, reason });
    }

    fn record(&mut self, framing: Framing, number: u64, at: u64, record: &[u8]) {
        let Some((sequence, count)) = batch::sequence(record) else { return };
        let next = *self.next.get_or_insert(sequence);
        // What is older than the record before it is of no log that was replayed.
        if sequence < next {
            return;
        }
        if sequence > next {
            let missing = Damage { file: self.file.clone(), at, reason: "records before it are missing" };
            let damage = self.pending.take().unwrap_or(missing);
            self.lost(framing, number, damage, next..sequence);
        } else if let Some(padding) = self.pending.take_if(|pending| pending.file == self.file) {
            // Nothing is lost but zeros; written anew, they are zero.
            self.plan.damages.push(padding);
            self.is_changed = true;
        }
        self.pending = None;
        self.suspects.clear();
        self.next = Some(sequence + u64::from(count));
        if self.is_cut {
            self.plan.records_lost += 1;
        } else {
            framing.append(&mut self.bytes, record, number);
        }
    }

    fn lost(&mut self, framing: Framing, number: u64, damage: Damage, sequences: std::ops::Range<u64>) {
        self.plan.damages.push(damage);
        self.plan.suspects.append(&mut self.suspects);
        self.plan.records_lost += 1;
        self.is_changed = true;
        match self.after {
            After::Drop => self.is_cut = true,
            After::Keep if !self.is_cut => framing.append(&mut self.bytes, &filler(sequences), number),
            After::Keep => {}
        }
    }
}

/// A batch that takes sequence numbers and changes nothing: it removes a key that nobody sets.
fn filler(sequences: std::ops::Range<u64>) -> Vec<u8> {
    let count = u32::try_from(sequences.end - sequences.start).unwrap_or(u32::MAX);
    let mut batch = sequences.start.to_le_bytes().to_vec();
    batch.extend_from_slice(&count.to_le_bytes());
    // Tag of a removal in the default column family, then the key: one zero byte.
    batch.extend([0, 1, 0].repeat(count as usize));
    batch
}
