//! Replay: records that were set aside become a batch of their own, by the declaration of now.
//!
//! The batch has a number and an intent as every other, so that after a crash it is done again with the same records. Its
//! commit marks the objects that it took up; each is taken up once, and what fails again lies in an object of the new
//! batch. So a record is never in the table twice. A session must not run meanwhile: there is one batch in flight.

use std::sync::Arc;

use millrace_storage::lake::set_aside::{self, RawDataOf, SetAsideLine};
use millrace_storage::log::{Offset, Record, ShardId};
use millrace_storage::meta::keys::batch::{self, BatchKey, BatchObject, BatchValue};
use millrace_storage::meta::keys::intent::ReplayedObject;
use millrace_storage::meta::keys::rebuild::{RebuildKey, RebuildState};
use millrace_storage::meta::keys::{self, Stored};
use millrace_storage::meta::{Condition, Write};

use super::chunk::Chunk;
use super::flight::{self, Batch, Landed};
use super::position::{self, Position};
use super::progress::ReplayAim;
use super::reader::{Converting, Reader, Transformed};
use super::{Begun, Worker};
use crate::delivery::Parts;
use crate::delivery::declared::Declared;
use crate::error::{Error, Kind, Result};
use crate::transform::{Input, PartitionKeys, Pins};

/// A replay takes up objects until they have so many bytes, or one that has more.
const BYTES_MAX: u64 = 8 << 20;
/// And no more than so many.
const OBJECTS_MAX: usize = 1_000;

/// Objects of one batch that are taken up.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    key: BatchKey,
    entry: Stored<BatchValue>,
    /// Their places among the batch's objects.
    indexes: Vec<usize>,
}

impl Taken {
    pub(super) fn objects(&self) -> impl Iterator<Item = ReplayedObject> {
        self.indexes.iter().map(|index| ReplayedObject { batch: self.key.batch, index: *index as u32 })
    }

    fn listed(&self) -> impl Iterator<Item = &BatchObject> {
        self.indexes.iter().filter_map(|index| self.entry.value.all_set_aside().nth(*index))
    }

    /// What the commit of batch `number` asks for and writes, so that nobody takes them up again.
    pub(super) fn take_up(&self, number: u64) -> (Condition, Write) {
        let mut value = self.entry.value.clone();
        for index in &self.indexes {
            if let Some(object) = value.set_aside_mut(*index) {
                object.taken_up_by = number;
            }
        }
        (keys::unchanged(&self.key, &self.entry), keys::put(&self.key, &value))
    }
}

impl Worker {
    /// Takes up the next of what is wanted, or says that there is nothing left.
    pub(super) async fn replay(&self, declared: &Arc<Declared>, position: Position, aim: ReplayAim) -> Begun {
        let rebuild = self.retry.forever("read the rebuild", || rebuild_of(&self.parts, &self.retry.delivery)).await;
        let (guard, is_open) = rebuild;
        if is_open {
            let words = "a rebuild of what the delivery wrote is under way; replay when it has ended";
            self.answer(aim, Some(Error::new(Kind::FailedPrecondition, words)));
            return Begun::Again;
        }
        let open = || open_objects(&self.parts, &self.retry.delivery, aim.upto);
        let taken = self.retry.forever("read the ledger", open).await;
        if taken.is_empty() {
            self.answer(aim, None);
            return Begun::Again;
        }
        // An object that cannot be read holds up the replay alone: the delivery goes on.
        let lines = match read_lines(&self.parts, &taken).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::warn!(delivery = self.retry.delivery, %error, "a replay was given up");
                self.answer(aim, Some(error));
                return Begun::Again;
            }
        };
        let (transforms, specs) = (&self.parts.transforms, &declared.spec.transforms);
        let pins = match transforms.pins(specs, position.checkpoint.value.next_batch) {
            Ok(pins) => pins,
            Err(error) => {
                self.answer(aim, Some(error));
                return Begun::Again;
            }
        };
        match self.fly_replay(declared, position, taken, lines, vec![guard], pins).await {
            Some(landed) => self.retry.progress.send_modify(|progress| progress.replays += landed.totals),
            None => tokio::time::sleep(super::SESSION_DELAY).await,
        }
        Begun::Again
    }

    /// Tells that no more is to be done for requests up to this one.
    fn answer(&self, aim: ReplayAim, failure: Option<Error>) {
        self.retry.progress.send_modify(|progress| {
            progress.replay_answered = aim.request;
            progress.replay_failure = failure;
        });
    }

    /// Writes the batch of an open intent of a replay again.
    pub(super) async fn finish_replay(&self, declared: &Arc<Declared>, position: Position) -> Option<Position> {
        let intent = position.intent.as_ref()?;
        let wanted = intent.value.replayed.clone();
        let read = || taken_objects(&self.parts, &self.retry.delivery, &wanted);
        let taken = self.retry.forever("read the ledger", read).await;
        let lines = self.retry.forever("read what was set aside", || read_lines(&self.parts, &taken)).await;
        let pins = Pins::load(&intent.value.modules).unwrap_or_default();
        Some(self.fly_replay(declared, position.clone(), taken, lines, Vec::new(), pins).await?.position)
    }

    async fn fly_replay(
        &self,
        declared: &Arc<Declared>,
        position: Position,
        taken: Vec<Taken>,
        lines: Arc<Vec<SetAsideLine>>,
        guard: Vec<Condition>,
        pins: Pins,
    ) -> Option<Landed> {
        let (transforms, specs) = (&self.parts.transforms, &declared.spec.transforms);
        let load = || transforms.chain(&self.retry.delivery, specs, &pins);
        let chain = self.retry.forever("load the transforms", load).await;
        let reader = Arc::new(self.parts.reader(declared, chain, self.retry.metrics.clone()));
        let mut streak = self.retry.streak("replay what was set aside");
        let (converting, chunk) = loop {
            let converting = position::converting(&self.parts, &self.retry, declared).await;
            match Arc::clone(&reader).read_lines(converting, lines.clone()).await {
                Ok(read) => break read,
                Err(error) => tokio::time::sleep(streak.failed(&error)).await,
            }
        };
        drop(streak);
        let batch = Batch::replay(declared, position, vec![Arc::new(chunk)], converting.schema(), taken, guard, pins);
        flight::fly(Arc::clone(&self.parts), self.retry.clone(), batch).await
    }
}

/// The condition that a delivery's rebuild stays as it is, and whether it is open.
async fn rebuild_of(parts: &Parts, delivery: &str) -> Result<(Condition, bool)> {
    let key = RebuildKey { delivery: delivery.to_owned() };
    let found = keys::get(&*parts.meta, &key).await?;
    let is_open = found.as_ref().is_some_and(|found| found.value.state() == RebuildState::Open);
    Ok((keys::as_found(&key, found.as_ref()), is_open))
}

/// The first open objects of batches before `upto`, as many as make a batch.
async fn open_objects(parts: &Parts, delivery: &str, upto: u64) -> Result<Vec<Taken>> {
    let ledger = batch::scan_delivery(&*parts.meta, delivery).await?;
    let (mut taken, mut bytes, mut count) = (Vec::new(), 0, 0);
    for (key, entry) in ledger.into_iter().filter(|(key, _)| key.batch < upto) {
        let mut indexes = Vec::new();
        for (index, object) in entry.value.all_set_aside().enumerate() {
            let fits = count == 0 || (bytes + object.bytes <= BYTES_MAX && count < OBJECTS_MAX);
            if object.taken_up_by == 0 && fits {
                (bytes, count) = (bytes + object.bytes, count + 1);
                indexes.push(index);
            }
        }
        if !indexes.is_empty() {
            taken.push(Taken { key, entry, indexes });
        }
    }
    Ok(taken)
}

/// The objects that an intent names.
async fn taken_objects(parts: &Parts, delivery: &str, wanted: &[ReplayedObject]) -> Result<Vec<Taken>> {
    let mut taken: Vec<Taken> = Vec::new();
    for object in wanted {
        let index = object.index as usize;
        if let Some(last) = taken.last_mut().filter(|last| last.key.batch == object.batch) {
            last.indexes.push(index);
            continue;
        }
        let key = BatchKey { delivery: delivery.to_owned(), batch: object.batch };
        let entry = keys::get(&*parts.meta, &key).await?;
        let gone =
            || Error::new(Kind::DataLoss, format_args!("batch {} of {delivery} is not in the ledger", key.batch));
        let entry = entry.ok_or_else(gone)?;
        taken.push(Taken { key, entry, indexes: vec![index] });
    }
    Ok(taken)
}

async fn read_lines(parts: &Parts, taken: &[Taken]) -> Result<Arc<Vec<SetAsideLine>>> {
    let mut lines = Vec::new();
    for object in taken.iter().flat_map(Taken::listed) {
        let read = read_object(parts, object).await?;
        if read.len() as u64 != object.rows {
            let (url, found, rows) = (&object.url, read.len(), object.rows);
            let words = format_args!("{url} has {found} lines, and the ledger says {rows}");
            return Err(Error::new(Kind::DataLoss, words));
        }
        lines.extend(read);
    }
    Ok(Arc::new(lines))
}

/// The lines of an object of records that were set aside.
pub(crate) async fn read_object(parts: &Parts, object: &BatchObject) -> Result<Vec<SetAsideLine>> {
    let of_store = |error| Error::new(Kind::Unavailable, error);
    let path = parts.store.path_of_url(&object.url).map_err(of_store)?;
    let file = parts.store.get(&path).await.map_err(of_store)?;
    set_aside::read(&object.url, &file).map_err(|error| Error::new(Kind::DataLoss, error))
}

impl Reader {
    /// Transforms and converts records that were set aside: a record goes through the transform chain, an output of the
    /// chain does not.
    async fn read_lines(
        self: Arc<Self>,
        converting: Converting,
        lines: Arc<Vec<SetAsideLine>>,
    ) -> Result<(Converting, Chunk)> {
        let bytes: u64 = lines.iter().map(|line| line.raw_data.len() as u64).sum();
        // At once: a replay that waited for what others hold would hold up its delivery, and it is small.
        let reservation = self.budget.take(bytes);
        let _turn = self.conversions.acquire(1, self.priority).await;
        let converted = tokio::task::spawn_blocking(move || {
            let made = self.transform_lines(&lines)?;
            let (converting, converted) = self.convert_rows(converting, made, None);
            converted.map(|converted| (converting, converted))
        });
        let converted = converted.await;
        let panicked = |panic| Error::new(Kind::Internal, format_args!("a replay panicked: {panic}"));
        let (converting, converted) = converted.map_err(panicked)??;
        // Of no range of the stream: its records stand where they stood.
        let nowhere = Offset::ZERO..Offset::ZERO;
        Ok((converting, converted.into_chunk(ShardId(0), nowhere, reservation)))
    }

    fn transform_lines(&self, lines: &[SetAsideLine]) -> Result<Transformed> {
        let mut made = Transformed::default();
        let (mut inputs, mut subs) = (Vec::new(), Vec::new());
        let mut outputs = Vec::new();
        for line in lines {
            let row = line.to_row().map_err(|error| Error::new(Kind::DataLoss, error))?;
            if line.raw_data_of == RawDataOf::Output {
                outputs.push(row);
                continue;
            }
            let record = Record {
                offset: row.offset,
                arrival_time: row.arrival_time,
                partition_key: row.partition_key,
                data: row.data,
            };
            let record_number = subs.len();
            let of_record = self.chain.inputs(row.shard, &[record]).into_iter();
            inputs.extend(of_record.map(|input| Input { record: record_number, ..input }));
            subs.push(row.sub);
        }
        made.run(&self.chain, self.layout.keys(&self.input), inputs, &subs);
        let mut keys = self.layout.keys(&self.input);
        for row in outputs {
            made.output(row, &PartitionKeys::default(), &mut keys);
        }
        made.totals.replayed = lines.len() as u64;
        Ok(made)
    }
}
