//! `millrace stream`: creates, shows, changes and deletes streams.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Subcommand;
use millrace_client::proto::{CreateStreamRequest, OverQuota, ShardQuota, Stream, StreamMode, UpdateStreamRequest};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::copy::{self, CopyArgs};
use super::limit::Limit;
use super::output::{
    NamedArgs, OutputArgs, bytes, bytes_per_second, count, duration, facts, records_per_second, table, time,
};
use super::reshard::{self, MergeArgs, ModeArg, ShardView, SplitArgs};
use super::stream_keys::{EncryptionView, RewrapView, rewrapped_text};
use super::{Endpoint, Failure, Result};

/// Create, show, change and delete streams.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace stream create flights --shards 2 --retention 168h
  millrace stream update flights --in-bytes-per-second 4MiB --burst 5s --over-quota delay
  millrace stream update flights --stored-size-max 20GiB
  millrace stream update flights --encryption on
  millrace stream rotate-key flights
  millrace stream shred flights                          nobody can read what was encrypted any more
  millrace stream update flights --shards 4              reshards while puts, reads and deliveries go on
  millrace stream update flights --mode on-demand        the load decides the number of shards
  millrace stream split flights 0
  millrace stream merge flights 4 5
  millrace stream copy flights trial --from 6h           each record once, also over crashes
  millrace stream describe flights --output json
  millrace shards calc --help               how many shards a load needs")]
pub(super) struct StreamArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a stream.
    Create {
        /// The stream's name.
        name: String,
        /// Shards: what the stream takes and gives in parallel. `millrace shards calc` tells how many.
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        shards: u32,
        /// Who decides the number of shards from then on. The default is "provisioned".
        #[arg(long, value_enum)]
        mode: Option<ModeArg>,
        #[command(flatten)]
        settings: SettingArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List streams.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a stream with its shards.
    Describe(NamedArgs),
    /// Change a stream; what is not named stays.
    #[command(arg_required_else_help = true)]
    Update {
        /// The stream's name.
        name: String,
        /// Splits and merges shards until they are so many and equal.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        shards: Option<u32>,
        /// Who decides the number of shards.
        #[arg(long, value_enum)]
        mode: Option<ModeArg>,
        #[command(flatten)]
        settings: SettingArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    Copy(CopyArgs),
    Split(SplitArgs),
    Merge(MergeArgs),
    /// Give an encrypted stream a new data key.
    ///
    /// New records are sealed with it; older ones stay readable. Keys that no readable record needs any more are destroyed.
    RotateKey(NamedArgs),
    /// Destroy the data keys of a stream, and keep the stream.
    ///
    /// No record that was encrypted can be read again, from this server or from a copy of its log: reads fail and tell where
    /// they may go on. Where the stream is encrypted, new records get a new key. Not reached: records stored before
    /// encryption was switched on, tables and exports, and backups, which hold the wrapped keys.
    Shred {
        /// The stream's name.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Wrap the data keys of all streams by the server's present master key.
    ///
    /// Put a new master key first in the server's master key file, the old one below it; restart; run this; then the old one
    /// can go. Records are not touched.
    RewrapKeys {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete a stream and its records; the data keys of an encrypted one are destroyed.
    Delete {
        /// The stream's name.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

#[derive(Debug, clap::Args)]
struct SettingArgs {
    /// How long a record is kept: 1h to 8760h. The server's default is 24h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    retention: Option<Duration>,
    /// The most that one record may hold, partition key included: to 10MiB. The server's default is 1MiB.
    #[arg(long, value_name = "SIZE")]
    record_size_max: Option<ByteSize>,
    /// What each shard takes a second; "off" for no limit. The server's default is 1MiB.
    #[arg(long, value_name = "SIZE")]
    in_bytes_per_second: Option<Limit<ByteSize>>,
    /// Records that each shard takes a second; "off" for no limit. The server's default is 1000.
    #[arg(long, value_name = "COUNT")]
    in_records_per_second: Option<Limit<u64>>,
    /// What each shard gives a second; "off" for no limit. The server's default is 2MiB.
    #[arg(long, value_name = "SIZE")]
    out_bytes_per_second: Option<Limit<ByteSize>>,
    /// How much of its quotas an idle shard saves up, as time at their rates: 1ms to 1m. The server's default is 1s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    burst: Option<Duration>,
    /// What becomes of a put over quota: "reject" refuses it and says when to retry, "delay" lets it wait its turn, within
    /// the server's bounds. The default is "reject".
    #[arg(long, value_name = "CHOICE", value_enum)]
    over_quota: Option<OverQuotaArg>,
    /// The most that the stream holds on the server's disk; "off" for no limit. Puts past it are refused.
    #[arg(long, value_name = "SIZE")]
    stored_size_max: Option<Limit<ByteSize>>,
    /// Whether records past their retention are kept until every delivery has committed them. With "false" they go, and a
    /// delivery counts what it missed as lost. The default is "true".
    #[arg(long, value_name = "BOOL")]
    hold_for_deliveries: Option<bool>,
    /// Whether new records are encrypted at rest; needs a server with a master key. What is stored stays as it is.
    #[arg(long, value_name = "ON|OFF")]
    encryption: Option<Encryption>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Encryption {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OverQuotaArg {
    Reject,
    Delay,
}

impl OverQuotaArg {
    fn on_wire(self) -> i32 {
        match self {
            Self::Reject => OverQuota::Reject.into(),
            Self::Delay => OverQuota::Delay.into(),
        }
    }
}

pub(super) async fn run(args: StreamArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    match args.command {
        Command::Create { name, shards, mode, settings, output } => {
            let request = CreateStreamRequest { mode: ModeArg::on_wire(mode), ..settings.create(name, shards) };
            output.write(&StreamView::of(admin.create_stream(request).await?), described)
        }
        Command::List { output } => {
            let streams: Vec<_> = admin.list_streams().await?.into_iter().map(StreamView::of).collect();
            output.write(&streams, |streams| listed(streams))
        }
        Command::Describe(NamedArgs { name, output }) => {
            output.write(&StreamView::of(admin.describe_stream(&name).await?), described)
        }
        Command::Update { name, shards, mode, settings, output } => {
            let request = UpdateStreamRequest { mode: ModeArg::on_wire(mode), ..settings.update(name.clone()) };
            let mut stream = admin.update_stream(request).await?;
            if let Some(shards) = shards {
                stream = admin.update_shard_count(&name, shards).await?;
            }
            output.write(&StreamView::of(stream), described)
        }
        Command::RotateKey(NamedArgs { name, output }) => {
            output.write(&StreamView::of(admin.rotate_stream_key(&name).await?), described)
        }
        Command::Shred { name, confirm: flags, output } => {
            confirm(
                flags,
                &format!(
                    "destroy the data keys of stream {name}, so that none of its encrypted records can be read again"
                ),
            )?;
            output.write(&StreamView::of(admin.shred_stream(&name).await?), described)
        }
        Command::RewrapKeys { output } => {
            let rewrapped = RewrapView::of(admin.rewrap_stream_keys().await?);
            output.write(&rewrapped, rewrapped_text)?;
            match rewrapped.failures.len() {
                0 => Ok(()),
                failed => Err(Failure::new(format!("{failed} data keys could not be unwrapped"))),
            }
        }
        Command::Copy(args) => copy::run(args, endpoint).await,
        Command::Split(args) => reshard::split(args, endpoint).await,
        Command::Merge(args) => reshard::merge(args, endpoint).await,
        Command::Delete { name, confirm: flags } => {
            confirm(flags, &format!("delete stream {name} with all its records"))?;
            Ok(admin.delete_stream(&name).await?)
        }
    }
}

impl SettingArgs {
    fn create(self, name: String, shard_count: u32) -> CreateStreamRequest {
        CreateStreamRequest {
            name,
            shard_count,
            retention_ms: self.retention_ms(),
            record_bytes_max: self.record_size_max.map(|size| size.as_u64()),
            in_bytes_per_second: self.in_bytes_per_second.map(Limit::on_wire),
            in_records_per_second: self.in_records_per_second.map(Limit::on_wire),
            out_bytes_per_second: self.out_bytes_per_second.map(Limit::on_wire),
            mode: 0,
            burst_ms: self.burst_ms(),
            over_quota: self.over_quota.map(OverQuotaArg::on_wire),
            stored_bytes_max: self.stored_size_max.map(Limit::on_wire),
            hold_for_deliveries: self.hold_for_deliveries,
            encryption: self.encryption.map(|encryption| encryption == Encryption::On),
        }
    }

    fn update(self, name: String) -> UpdateStreamRequest {
        UpdateStreamRequest {
            name,
            retention_ms: self.retention_ms(),
            record_bytes_max: self.record_size_max.map(|size| size.as_u64()),
            in_bytes_per_second: self.in_bytes_per_second.map(Limit::on_wire),
            in_records_per_second: self.in_records_per_second.map(Limit::on_wire),
            out_bytes_per_second: self.out_bytes_per_second.map(Limit::on_wire),
            mode: 0,
            burst_ms: self.burst_ms(),
            over_quota: self.over_quota.map(OverQuotaArg::on_wire),
            stored_bytes_max: self.stored_size_max.map(Limit::on_wire),
            hold_for_deliveries: self.hold_for_deliveries,
            encryption: self.encryption.map(|encryption| encryption == Encryption::On),
        }
    }

    fn retention_ms(&self) -> Option<u64> {
        self.retention.map(|retention| u64::try_from(retention.as_millis()).unwrap_or(u64::MAX))
    }

    fn burst_ms(&self) -> Option<u64> {
        self.burst.map(|burst| u64::try_from(burst.as_millis()).unwrap_or(u64::MAX))
    }
}

#[derive(Serialize)]
struct StreamView {
    name: String,
    retention_ms: u64,
    record_bytes_max: u64,
    quota: QuotaView,
    over_quota: &'static str,
    stored_bytes: u64,
    stored_bytes_max: u64,
    hold_for_deliveries: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<HeldView>,
    created_at: String,
    encryption: EncryptionView,
    mode: &'static str,
    open_shards: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<ShardView>,
}

/// Zero is no limit.
#[derive(Serialize)]
struct QuotaView {
    in_bytes_per_second: u64,
    in_records_per_second: u64,
    out_bytes_per_second: u64,
    burst_ms: u64,
}

/// What is kept past the retention, and for which delivery.
#[derive(Serialize)]
struct HeldView {
    delivery: String,
    records: u64,
    bytes: u64,
    since: String,
}

impl StreamView {
    fn of(stream: Stream) -> Self {
        let mode = if stream.mode() == StreamMode::OnDemand { "on_demand" } else { "provisioned" };
        let over_quota = if stream.over_quota() == OverQuota::Delay { "delay" } else { "reject" };
        let ShardQuota { in_bytes_per_second, in_records_per_second, out_bytes_per_second, burst_ms } =
            stream.quota.unwrap_or_default();
        let held = stream.held.into_iter().map(|held| HeldView {
            delivery: held.delivery,
            records: held.records,
            bytes: held.bytes,
            since: time(held.since_ms),
        });
        Self {
            name: stream.name,
            retention_ms: stream.retention_ms,
            record_bytes_max: stream.record_bytes_max,
            quota: QuotaView { in_bytes_per_second, in_records_per_second, out_bytes_per_second, burst_ms },
            over_quota,
            stored_bytes: stream.stored_bytes,
            stored_bytes_max: stream.stored_bytes_max,
            hold_for_deliveries: stream.hold_for_deliveries,
            held: held.collect(),
            created_at: time(stream.created_at_ms),
            encryption: EncryptionView::of(stream.encryption.unwrap_or_default()),
            mode,
            open_shards: stream.open_shard_count,
            shards: reshard::views(stream.shards),
        }
    }
}

fn listed(streams: &[StreamView]) -> String {
    let heading = ["NAME", "SHARDS", "RETENTION", "RECORD MAX", "IN/SHARD", "RECORDS IN/SHARD", "OUT/SHARD", "CREATED"];
    table(
        heading,
        streams.iter().map(|stream| {
            [
                stream.name.clone(),
                stream.open_shards.to_string(),
                duration(stream.retention_ms),
                bytes(stream.record_bytes_max),
                bytes_per_second(stream.quota.in_bytes_per_second),
                records_per_second(stream.quota.in_records_per_second),
                bytes_per_second(stream.quota.out_bytes_per_second),
                stream.created_at.clone(),
            ]
        }),
    )
}

fn stored(stream: &StreamView) -> String {
    match stream.stored_bytes_max {
        0 => bytes(stream.stored_bytes),
        max => format!("{} of at most {}", bytes(stream.stored_bytes), bytes(max)),
    }
}

fn held(stream: &StreamView) -> String {
    let held = stream.held.iter().map(|held| {
        let HeldView { delivery, records, bytes: held, since } = held;
        format!("{} records ({}) past the retention for {delivery}, since {since}", count(*records), bytes(*held))
    });
    match (stream.hold_for_deliveries, stream.held.is_empty()) {
        (false, _) => "no".to_owned(),
        (true, true) => "yes; nothing at present".to_owned(),
        (true, false) => held.collect::<Vec<_>>().join("; "),
    }
}

fn described(stream: &StreamView) -> String {
    let facts = facts([
        ("name", stream.name.clone()),
        ("retention", duration(stream.retention_ms)),
        ("record max", bytes(stream.record_bytes_max)),
        ("in, each shard", bytes_per_second(stream.quota.in_bytes_per_second)),
        ("records in, each shard", records_per_second(stream.quota.in_records_per_second)),
        ("out, each shard", bytes_per_second(stream.quota.out_bytes_per_second)),
        ("burst", duration(stream.quota.burst_ms)),
        ("over quota", stream.over_quota.to_owned()),
        ("stored", stored(stream)),
        ("held for deliveries", held(stream)),
        ("mode", stream.mode.to_owned()),
        ("created", stream.created_at.clone()),
        ("encryption", stream.encryption.text()),
    ]);
    let shards = reshard::listed(&stream.shards);
    format!("{facts}\n{shards}{}", stream.encryption.listed())
}
