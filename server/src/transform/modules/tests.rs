//! Modules: versions, roll-back, canaries, what a restart finds, and what is refused.

use bytes::Bytes;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::transform::{TransformCompiledKey, TransformPartKey, TransformVersionKey};

use super::*;
use crate::transform::{Input, Outcome};

/// A core module that gives each record this text.
fn saying(text: &str) -> Bytes {
    let wat = format!(
        r#"(module
          (memory (export "memory") 4)
          (data (i32.const 16) "{text}")
          (global $next (mut i32) (i32.const 1024))
          (func $alloc (param $bytes i32) (result i32) (local $at i32)
            (local.set $at (global.get $next))
            (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7)) (i32.const -8)))
            (local.get $at))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
          (func (export "transform") (param $records i32) (param $len i32) (result i32)
            (local $answer i32) (local $outcomes i32) (local $output i32) (local $index i32)
            (local.set $answer (call $alloc (i32.const 8)))
            (local.set $outcomes (call $alloc (i32.mul (local.get $len) (i32.const 12))))
            (local.set $output (call $alloc (i32.const 16)))
            (i32.store (local.get $output) (i32.const 16))
            (i32.store offset=4 (local.get $output) (i32.const {bytes}))
            (block $done (loop $each
              (br_if $done (i32.ge_u (local.get $index) (local.get $len)))
              (i32.store offset=4 (i32.add (local.get $outcomes) (i32.mul (local.get $index) (i32.const 12))) (local.get $output))
              (i32.store offset=8 (i32.add (local.get $outcomes) (i32.mul (local.get $index) (i32.const 12))) (i32.const 1))
              (local.set $index (i32.add (local.get $index) (i32.const 1)))
              (br $each)))
            (i32.store (local.get $answer) (local.get $outcomes))
            (i32.store offset=4 (local.get $answer) (local.get $len))
            (local.get $answer)))"#,
        bytes = text.len(),
    );
    wat::parse_str(wat).unwrap().into()
}

/// What stays when a process ends.
struct Site {
    meta: Arc<dyn MetaStore>,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self { meta: Arc::new(MemoryMeta::new()), folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self, settings: TransformSettings) -> (Transforms, Metrics) {
        let metrics = Metrics::new();
        let opened =
            Transforms::open(Arc::clone(&self.meta), self.folder.path(), settings, Registry::new(), &metrics).await;
        (opened.unwrap(), metrics)
    }

    async fn start(&self) -> Transforms {
        self.open(TransformSettings::default()).await.0
    }
}

fn name() -> ModuleName {
    "say".parse().unwrap()
}

async fn push(transforms: &Transforms, text: &str, canary: u32) -> Result<u32> {
    let options = PushOptions { canary_percent: (canary > 0).then_some(canary) };
    Ok(transforms.push(&name(), saying(text), options, &[]).await?.0)
}

fn specs(version: Option<u32>) -> Vec<TransformSpec> {
    vec![TransformSpec::Wasm(WasmSpec { module: name(), version, grant: Default::default() })]
}

/// What a batch of this number says.
async fn said(transforms: &Transforms, version: Option<u32>, batch: u64) -> Result<String> {
    let specs = specs(version);
    let pins = transforms.pins(&specs, batch)?;
    said_by(transforms, &specs, &pins).await
}

async fn said_by(transforms: &Transforms, specs: &[TransformSpec], pins: &Pins) -> Result<String> {
    let chain = transforms.chain("d", specs, pins).await?;
    match chain.apply(&[Input::default()]).remove(0) {
        Outcome::One(output) => Ok(String::from_utf8(output.data.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn versions_are_pushed_used_and_rolled_back() {
    let site = Site::new();
    let transforms = site.start().await;
    let mut changed = transforms.watch();
    assert_eq!(push(&transforms, "one", 0).await.unwrap(), 1);
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    assert_eq!(push(&transforms, "one", 0).await.unwrap(), 1, "the same bytes change nothing");
    assert!(!changed.has_changed().unwrap());
    assert_eq!(push(&transforms, "two", 0).await.unwrap(), 2);
    assert_eq!(push(&transforms, "three", 0).await.unwrap(), 3);
    assert_eq!(said(&transforms, None, 0).await.unwrap(), "three");
    assert_eq!(said(&transforms, Some(1), 0).await.unwrap(), "one");
    transforms.roll_back(&name(), None).await.unwrap();
    assert_eq!(said(&transforms, None, 0).await.unwrap(), "two");
    transforms.roll_back(&name(), Some(1)).await.unwrap();
    assert_eq!(said(&transforms, None, 0).await.unwrap(), "one");
    assert_eq!(*transforms.roll_back(&name(), Some(9)).await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert_eq!(push(&transforms, "four", 0).await.unwrap(), 4, "numbers go on");
    let restarted = site.start().await;
    assert_eq!(restarted.list(), transforms.list());
    assert_eq!(said(&restarted, None, 0).await.unwrap(), "four");
}

#[tokio::test]
async fn a_batch_that_is_done_again_runs_the_version_of_its_intent() {
    let site = Site::new();
    let transforms = site.start().await;
    push(&transforms, "old", 0).await.unwrap();
    let stored = transforms.pins(&specs(None), 7).unwrap().store();
    push(&transforms, "new", 0).await.unwrap();
    let restarted = site.start().await;
    let pins = Pins::load(&stored).unwrap();
    assert_eq!(said_by(&restarted, &specs(None), &pins).await.unwrap(), "old");
    assert_eq!(said(&restarted, None, 8).await.unwrap(), "new");
}

#[tokio::test]
async fn a_canary_runs_in_its_share_of_batches() {
    let site = Site::new();
    let transforms = site.start().await;
    assert_eq!(push(&transforms, "old", 30).await.unwrap(), 1, "the first version runs in all");
    assert_eq!(said(&transforms, None, 9).await.unwrap(), "old");
    push(&transforms, "new", 10).await.unwrap();
    let shares = |transforms: &Transforms| {
        let canaries =
            (0..100).filter(|batch| transforms.pins(&specs(None), *batch).unwrap().iter().any(|pin| pin.version == 2));
        canaries.count()
    };
    assert_eq!(shares(&transforms), 10);
    assert_eq!(said(&transforms, None, 8).await.unwrap(), "old");
    assert_eq!(said(&transforms, None, 9).await.unwrap(), "new");
    transforms.set_canary(&name(), 50).await.unwrap();
    assert_eq!(shares(&site.start().await), 50, "a restart knows of it");
    transforms.roll_back(&name(), None).await.unwrap();
    assert_eq!(shares(&transforms), 0);
    assert_eq!(*transforms.set_canary(&name(), 50).await.unwrap_err().kind(), Kind::FailedPrecondition);
    push(&transforms, "newer", 10).await.unwrap();
    let module = transforms.set_canary(&name(), 100).await.unwrap();
    assert_eq!((module.value.current, module.value.canary), (3, 0));
    assert_eq!(said(&transforms, None, 0).await.unwrap(), "newer");
    assert!(transforms.set_canary(&name(), 101).await.is_err());
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let site = Site::new();
    let module = saying("one");
    let settings = TransformSettings {
        module_bytes_max: bytesize::ByteSize(module.len() as u64),
        modules_max: 1,
        ..TransformSettings::default()
    };
    let (transforms, _) = site.open(settings).await;
    let push = async |name: &str, module: Bytes| {
        transforms.push(&name.parse().unwrap(), module, PushOptions::default(), &[]).await
    };
    for bad in [Bytes::from_static(b"text"), Bytes::from_static(b"\0asm\x01\0\0\0"), Bytes::new()] {
        assert_eq!(*push("say", bad).await.unwrap_err().kind(), Kind::Invalid);
    }
    push("say", module.clone()).await.unwrap();
    let larger = Bytes::from([module.as_ref(), b"\0"].concat());
    let error = push("say", larger).await.unwrap_err().to_string();
    assert!(error.contains("past the limit"), "{error}");
    assert_eq!(*push("other", module).await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert_eq!(transforms.list().len(), 1);
    assert_eq!(transforms.describe(&name()).unwrap().value.newest, 1);
    for unknown in [specs(Some(2)), vec![TransformSpec::Registered { name: "none".to_owned() }]] {
        assert_eq!(*transforms.check(&unknown).unwrap_err().kind(), Kind::NotFound);
    }
    assert!(transforms.check(&specs(None)).is_ok());
}

#[tokio::test]
async fn compiled_code_is_kept_and_never_trusted_blindly() {
    let site = Site::new();
    push(&site.start().await, "one", 0).await.unwrap();
    let loads = async |site: &Site| {
        let (transforms, metrics) = site.open(TransformSettings::default()).await;
        assert_eq!(said(&transforms, None, 0).await.unwrap(), "one");
        let text = metrics.text();
        let of = |from: &str| text.contains(&format!("millrace_transform_wasm_loads_total{{from=\"{from}\"}} 1"));
        (of("disk"), of("compiler"))
    };
    assert_eq!(loads(&site).await, (true, false));
    let file = std::fs::read_dir(site.folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut code = std::fs::read(&file).unwrap();
    *code.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &code).unwrap();
    assert_eq!(loads(&site).await, (false, true), "somebody changed it");
    assert_eq!(loads(&site).await, (true, false), "and it was written anew");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(loads(&site).await, (false, true));
    let compiled = keys::scan::<TransformCompiledKey>(&*site.meta).await.unwrap();
    site.meta.commit(vec![], vec![keys::delete(&compiled[0].0)]).await.unwrap();
    assert_eq!(loads(&site).await, (false, true), "a file that nothing vouches for");
}

#[tokio::test]
async fn bytes_that_are_not_what_was_pushed_are_told() {
    let site = Site::new();
    push(&site.start().await, "one", 0).await.unwrap();
    let parts = keys::scan::<TransformPartKey>(&*site.meta).await.unwrap();
    site.meta.commit(vec![], vec![keys::delete(&parts[0].0)]).await.unwrap();
    std::fs::remove_dir_all(site.folder.path()).unwrap();
    let error = said(&site.start().await, None, 0).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::DataLoss);
}

#[tokio::test]
async fn old_versions_go_and_what_they_leave_with_them() {
    let site = Site::new();
    let settings = TransformSettings { module_versions_max: 3, ..TransformSettings::default() };
    let (transforms, _) = site.open(settings).await;
    for (version, text) in (1..).zip(["a", "b", "a", "c"]) {
        let used = [(name(), 2)];
        let pushed = transforms.push(&name(), saying(text), PushOptions::default(), &used).await.unwrap();
        assert_eq!(pushed.0, version);
    }
    let versions = || transforms.describe(&name()).unwrap().versions.keys().copied().collect::<Vec<_>>();
    assert_eq!(versions(), [2, 3, 4], "the oldest that nothing uses went");
    assert_eq!(said(&transforms, Some(3), 0).await.unwrap(), "a", "the bytes are version 3's too");
    transforms.push(&name(), saying("d"), PushOptions::default(), &[(name(), 2), (name(), 3)]).await.unwrap();
    assert_eq!(versions(), [2, 3, 4, 5], "all are used, by deliveries or to go back to");
    let count = async || keys::scan::<TransformPartKey>(&*site.meta).await.unwrap().len();
    assert_eq!(count().await, 4);
    transforms.delete(&name()).await.unwrap();
    assert_eq!(count().await, 0);
    assert!(keys::scan::<TransformVersionKey>(&*site.meta).await.unwrap().is_empty());
    assert!(transforms.list().is_empty() && site.start().await.list().is_empty());
    assert_eq!(*transforms.delete(&name()).await.unwrap_err().kind(), Kind::NotFound);
    let left = std::fs::read_dir(site.folder.path()).unwrap().count();
    assert_eq!(left, 0, "compiled code goes too");
}
