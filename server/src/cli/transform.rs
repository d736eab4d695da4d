//! `millrace transform`: pushes transform modules, says which version runs, and tries them out.

use std::io::Read;

use bytes::Bytes;
use clap::Subcommand;
use millrace_client::proto::test_transform_request::Chain;
use millrace_client::proto::{TestTransformRequest, TestedOutput, TestedRecord, Transform};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::input::{named, read_text};
use super::output::{OutputArgs, bytes, facts, table, time};
use super::{Endpoint, Failure, Result};

/// The most bytes that are read of a module; the server's own limit is told by the server.
const MODULE_BYTES_MAX: u64 = 1 << 30;
/// What is shown of a record's bytes for people.
const SHOWN_BYTES_MAX: usize = 2_000;

/// Push and steer transform modules: WebAssembly components that deliveries call.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace transform push enrich enrich.wasm               a new version; batches begun from now on run it
  millrace transform push enrich enrich.wasm --canary 10   in one of ten batches at first
  millrace transform canary enrich 100                     in all
  millrace transform rollback enrich
  millrace transform test enrich --input records.jsonl     before and after, nothing is delivered
  millrace transform test --delivery flights --stream flights --count 5

A delivery calls it by transforms = [{ type = \"wasm\", module = \"enrich\" }].")]
pub(super) struct TransformArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a version of a module.
    Push {
        /// The module's name.
        name: String,
        /// A component of the world millrace:transform/transformer, or a core module with its ABI.
        file: String,
        /// Run it in so many of 100 batches at first.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..100))]
        canary: Option<u32>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List modules.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a module: versions, which of them run, and the deliveries that call it.
    #[command(visible_alias = "versions")]
    Describe(Named),
    /// End a canary; without one, make an older version the current one.
    Rollback {
        /// The module's name.
        name: String,
        /// The version to go back to; left out, the one before.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        to: Option<u32>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Give a canary another share of the batches; with 100 it becomes the current version.
    Canary {
        /// The module's name.
        name: String,
        /// So many of 100 batches.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
        percent: u32,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove a module with all its versions; refused while a delivery uses it.
    Delete {
        /// The module's name.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The module's name.
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Run a module, or a whole chain, on records and show before and after; nothing is delivered.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct TestArgs {
    /// The module; left out where a delivery or a file of steps is tested.
    #[arg(required_unless_present_any = ["delivery", "steps"], conflicts_with_all = ["delivery", "steps"])]
    name: Option<String>,
    /// The module's version; left out, the current one.
    #[arg(long, requires = "name", value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    module_version: Option<u32>,
    /// Test all steps of this delivery.
    #[arg(long, conflicts_with = "steps")]
    delivery: Option<String>,
    /// Test the steps of this file: transforms = ["split", …].
    #[arg(long, value_name = "FILE")]
    steps: Option<String>,
    /// A file with a record a line; - is stdin.
    #[arg(long, required_unless_present = "stream", conflicts_with = "stream")]
    input: Option<String>,
    /// All of the input is one record.
    #[arg(long, requires = "input")]
    whole: bool,
    /// Take the newest records of this stream.
    #[arg(long)]
    stream: Option<String>,
    /// So many of them.
    #[arg(long, requires = "stream", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: TransformArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    let (transform, output) = match args.command {
        Command::List { output } => {
            let all: Vec<_> = admin.list_transforms().await?.into_iter().map(TransformView::of).collect();
            return output.write(&all, |all| listed(all));
        }
        Command::Delete { name, confirm: flags } => {
            confirm(flags, &format!("delete module {name} with all its versions"))?;
            return Ok(admin.delete_transform(&name).await?);
        }
        Command::Test(args) => {
            let output = args.output;
            let tested = admin.test_transform(request(args)?).await?;
            let tested: Vec<_> = tested.into_iter().map(TestedView::of).collect();
            return output.write(&tested, |tested| shown(tested));
        }
        Command::Push { name, file, canary, output } => {
            let module = read_module(&file)?;
            let pushed = admin.push_transform(&name, module, canary.unwrap_or(0)).await?;
            (pushed.transform.ok_or_else(|| Failure::new("the server did not say what it has now"))?, output)
        }
        Command::Describe(Named { name, output }) => (admin.describe_transform(&name).await?, output),
        Command::Rollback { name, to, output } => (admin.roll_back_transform(&name, to.unwrap_or(0)).await?, output),
        Command::Canary { name, percent, output } => (admin.set_transform_canary(&name, percent).await?, output),
    };
    output.write(&TransformView::of(transform), described)
}

fn read_module(path: &str) -> Result<Bytes> {
    let failed = |error| Failure::new(format!("cannot read {}: {error}", named(path)));
    let mut module = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MODULE_BYTES_MAX).read_to_end(&mut module).map_err(failed)?;
    Ok(module.into())
}

fn request(args: TestArgs) -> Result<TestTransformRequest> {
    let chain = match (args.name, args.delivery, args.steps) {
        (Some(name), ..) => Chain::Module(name),
        (None, Some(delivery), _) => Chain::Delivery(delivery),
        (None, None, Some(file)) => Chain::TransformsToml(read_text(&file)?),
        (None, None, None) => return Err(Failure::usage("name a module, --delivery or --steps")),
    };
    let records = match &args.input {
        Some(path) => read_records(path, args.whole)?,
        None => Vec::new(),
    };
    Ok(TestTransformRequest {
        chain: Some(chain),
        version: args.module_version.unwrap_or(0),
        records,
        stream: args.stream.unwrap_or_default(),
        count: args.count,
    })
}

fn read_records(path: &str, whole: bool) -> Result<Vec<Bytes>> {
    let mut data = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().take(MODULE_BYTES_MAX).read_to_end(&mut data)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MODULE_BYTES_MAX).read_to_end(&mut data))
    };
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", named(path))))?;
    let data = Bytes::from(data);
    if whole {
        return Ok(vec![data]);
    }
    let lines = data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(|line| data.slice_ref(line)).collect())
}

#[derive(Serialize)]
struct TransformView {
    name: String,
    current_version: u32,
    canary_version: u32,
    canary_percent: u32,
    created_at: String,
    versions: Vec<VersionView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deliveries: Vec<String>,
}

#[derive(Serialize)]
struct VersionView {
    version: u32,
    sha256: String,
    bytes: u64,
    created_at: String,
}

impl TransformView {
    fn of(transform: Transform) -> Self {
        let versions = transform.versions.into_iter().map(|version| VersionView {
            version: version.version,
            sha256: version.sha256,
            bytes: version.bytes,
            created_at: time(version.created_at_ms),
        });
        Self {
            name: transform.name,
            current_version: transform.current_version,
            canary_version: transform.canary_version,
            canary_percent: transform.canary_percent,
            created_at: time(transform.created_at_ms),
            versions: versions.collect(),
            deliveries: transform.deliveries,
        }
    }

    fn canary(&self) -> String {
        match self.canary_version {
            0 => String::new(),
            version => format!("{version} in {} %", self.canary_percent),
        }
    }
}

fn listed(all: &[TransformView]) -> String {
    let row = |view: &TransformView| {
        let newest = view.versions.last().map_or(String::new(), |version| version.created_at.clone());
        [view.name.clone(), view.current_version.to_string(), view.canary(), view.versions.len().to_string(), newest]
    };
    table(["NAME", "VERSION", "CANARY", "VERSIONS", "NEWEST"], all.iter().map(row))
}

fn described(view: &TransformView) -> String {
    let facts = facts([
        ("name", view.name.clone()),
        ("version", view.current_version.to_string()),
        ("canary", view.canary()),
        ("created", view.created_at.clone()),
        ("deliveries", view.deliveries.join(", ")),
    ]);
    let row = |version: &VersionView| {
        let runs = match version.version {
            number if number == view.current_version => "current",
            number if number == view.canary_version => "canary",
            _ => "",
        };
        [
            version.version.to_string(),
            runs.to_owned(),
            bytes(version.bytes),
            version.created_at.clone(),
            version.sha256.clone(),
        ]
    };
    format!("{facts}\n{}", table(["VERSION", "", "SIZE", "PUSHED", "SHA-256"], view.versions.iter().map(row)))
}

#[derive(Serialize)]
struct TestedView {
    id: String,
    before: String,
    after: Vec<OutputView>,
    dropped: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    failure: String,
}

#[derive(Serialize)]
struct OutputView {
    data: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    partition_keys: std::collections::BTreeMap<String, String>,
}

impl TestedView {
    fn of(tested: TestedRecord) -> Self {
        let output = |output: TestedOutput| OutputView {
            data: text(&output.data),
            partition_keys: output.partition_keys.into_iter().collect(),
        };
        Self {
            id: tested.id,
            before: text(&tested.before),
            after: tested.after.into_iter().map(output).collect(),
            dropped: tested.dropped,
            failure: tested.failure,
        }
    }
}

/// Text as it is, and of anything else what it is.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn shown(tested: &[TestedView]) -> String {
    let short = |text: &str| -> String {
        text.replace('\n', "\\n").replace('\r', "\\r").chars().take(SHOWN_BYTES_MAX).collect()
    };
    let mut lines = Vec::new();
    for record in tested {
        lines.push(format!("{}  {}", record.id, short(&record.before)));
        for output in &record.after {
            let keys = output.partition_keys.iter().map(|(name, value)| format!("  {name}={}", short(value)));
            lines.push(format!("  ok       {}{}", short(&output.data), keys.collect::<String>()));
        }
        if record.dropped {
            lines.push("  dropped".to_owned());
        }
        if !record.failure.is_empty() {
            lines.push(format!("  failed   {}", short(&record.failure)));
        }
    }
    lines.join("\n")
}
