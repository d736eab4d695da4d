//! Calls of a module that does what its records ask for, good and bad, and what that does to their neighbours.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::time::Timestamp;

use super::*;
use crate::metrics::Metrics;
use crate::transform::metrics::TransformMetrics;
use crate::transform::{Origin, Output, PartitionKeys};

/// A core module, by the first byte of each record:
/// `e` passes it, `d` drops it, `f` fails it with a reason, `k` gives it a partition key, `2` gives it twice,
/// `n` gives how many records this instance has seen, `i` gives its id, `o` gives no output;
/// `t` traps, `l` loops, `m` takes memory without end, `u` fails with what is not UTF-8, `b` gives 100 MiB, `c` answers one
/// outcome too few, `p` gives a pointer outside of its memory.
const ASKED: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 16) "no good")
  (data (i32.const 32) "colour")
  (data (i32.const 40) "\ff\fe")
  (global $next (mut i32) (i32.const 1024))
  (global $seen (mut i32) (i32.const 0))
  (func $alloc (param $bytes i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7)) (i32.const -8)))
    (block $fits (loop $grow
      (br_if $fits (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
      (br $grow)))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
  (func $text (param $outcome i32) (param $at i32) (param $len i32)
    (i32.store8 (local.get $outcome) (i32.const 2))
    (i32.store offset=4 (local.get $outcome) (local.get $at))
    (i32.store offset=8 (local.get $outcome) (local.get $len)))
  ;; One output of these bytes, so many times.
  (func $ok (param $outcome i32) (param $at i32) (param $len i32) (param $count i32) (result i32)
    (local $outputs i32) (local $index i32)
    (local.set $outputs (call $alloc (i32.mul (local.get $count) (i32.const 16))))
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
      (i32.store (i32.add (local.get $outputs) (i32.mul (local.get $index) (i32.const 16))) (local.get $at))
      (i32.store offset=4 (i32.add (local.get $outputs) (i32.mul (local.get $index) (i32.const 16))) (local.get $len))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $each)))
    (i32.store offset=4 (local.get $outcome) (local.get $outputs))
    (i32.store offset=8 (local.get $outcome) (local.get $count))
    (local.get $outputs))
  (func (export "transform") (param $records i32) (param $len i32) (result i32)
    (local $outcomes i32) (local $answer i32) (local $index i32) (local $record i32) (local $outcome i32)
    (local $data i32) (local $bytes i32) (local $what i32) (local $made i32)
    (local.set $outcomes (call $alloc (i32.mul (local.get $len) (i32.const 12))))
    (local.set $answer (call $alloc (i32.const 8)))
    (i32.store (local.get $answer) (local.get $outcomes))
    (i32.store offset=4 (local.get $answer) (local.get $len))
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $index) (local.get $len)))
      (local.set $record (i32.add (local.get $records) (i32.mul (local.get $index) (i32.const 40))))
      (local.set $outcome (i32.add (local.get $outcomes) (i32.mul (local.get $index) (i32.const 12))))
      (local.set $data (i32.load offset=24 (local.get $record)))
      (local.set $bytes (i32.load offset=28 (local.get $record)))
      (local.set $what (i32.load8_u (local.get $data)))
      (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
      (block $next
        (if (i32.eq (local.get $what) (i32.const 100)) (then
          (i32.store8 (local.get $outcome) (i32.const 1)) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 102)) (then
          (call $text (local.get $outcome) (i32.const 16) (i32.const 7)) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 117)) (then
          (call $text (local.get $outcome) (i32.const 40) (i32.const 2)) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 111)) (then
          (br $next)))
        (if (i32.eq (local.get $what) (i32.const 116)) (then (unreachable)))
        (if (i32.eq (local.get $what) (i32.const 108)) (then (loop $ever (br $ever))))
        (if (i32.eq (local.get $what) (i32.const 109)) (then (loop $ever
          (drop (call $alloc (i32.const 1048576))) (br $ever))))
        (if (i32.eq (local.get $what) (i32.const 99)) (then
          (i32.store offset=4 (local.get $answer) (i32.sub (local.get $len) (i32.const 1)))))
        (if (i32.eq (local.get $what) (i32.const 98)) (then
          (drop (call $ok (local.get $outcome) (i32.const 0) (i32.const 65536) (i32.const 1600))) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 112)) (then
          (drop (call $ok (local.get $outcome) (i32.const -8) (i32.const 64) (i32.const 1))) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 50)) (then
          (drop (call $ok (local.get $outcome) (local.get $data) (local.get $bytes) (i32.const 2))) (br $next)))
        (if (i32.eq (local.get $what) (i32.const 105)) (then
          (drop (call $ok (local.get $outcome) (i32.load (local.get $record)) (i32.load offset=4 (local.get $record)) (i32.const 1)))
          (br $next)))
        (if (i32.eq (local.get $what) (i32.const 110)) (then
          (i32.store8 (local.get $data) (i32.add (i32.const 48) (global.get $seen)))))
        (local.set $made (call $ok (local.get $outcome) (local.get $data) (local.get $bytes) (i32.const 1)))
        (if (i32.eq (local.get $what) (i32.const 107)) (then
          (i32.store offset=8 (local.get $made) (call $alloc (i32.const 16)))
          (i32.store offset=12 (local.get $made) (i32.const 1))
          (local.set $made (i32.load offset=8 (local.get $made)))
          (i32.store (local.get $made) (i32.const 32))
          (i32.store offset=4 (local.get $made) (i32.const 6))
          (i32.store offset=8 (local.get $made) (local.get $data))
          (i32.store offset=12 (local.get $made) (local.get $bytes)))))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $each)))
    (local.get $answer)))"#;

/// A core module of the packed world: ends each record with a line feed, in the room behind its data, and gives all of its memory;
/// of one that begins with `n`, the first byte becomes how many records this instance has seen.
const ENDED: &str = r#"(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 1024))
  (global $seen (mut i32) (i32.const 0))
  (func $alloc (param $bytes i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
  (func (export "transform-packed") (param $batch i32) (param $len i32) (result i32)
    (local $count i32) (local $outcome i32) (local $outcomes i32) (local $output i32) (local $record i32)
    (local $data i32) (local $bytes i32) (local $foot i32) (local $index i32)
    (local.set $count (i32.load (local.get $batch)))
    (local.set $record (i32.add (local.get $batch) (i32.const 8)))
    (local.set $outcomes (call $alloc (i32.mul (local.get $count) (i32.const 12))))
    (local.set $outcome (local.get $outcomes))
    (local.set $output (call $alloc (i32.mul (local.get $count) (i32.const 16))))
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
      (local.set $data (i32.add (local.get $batch) (i32.load offset=24 (local.get $record))))
      (local.set $bytes (i32.load offset=28 (local.get $record)))
      (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
      (if (i32.eq (i32.load8_u (local.get $data)) (i32.const 110)) (then
        (i32.store8 (local.get $data) (i32.add (i32.const 48) (global.get $seen)))))
      (i32.store8 (i32.add (local.get $data) (local.get $bytes)) (i32.const 10))
      (i32.store (local.get $output) (local.get $data))
      (i32.store offset=4 (local.get $output) (i32.add (local.get $bytes) (i32.const 1)))
      (i32.store offset=4 (local.get $outcome) (local.get $output))
      (i32.store offset=8 (local.get $outcome) (i32.const 1))
      (local.set $record (i32.add (local.get $record) (i32.const 40)))
      (local.set $outcome (i32.add (local.get $outcome) (i32.const 12)))
      (local.set $output (i32.add (local.get $output) (i32.const 16)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $each)))
    (local.set $foot (call $alloc (i32.const 12)))
    (i32.store offset=4 (local.get $foot) (local.get $outcomes))
    (i32.store offset=8 (local.get $foot) (local.get $count))
    (i32.store offset=20 (i32.const 0) (i32.add (local.get $foot) (i32.const 12)))
    (i32.const 16)))"#;

const LIMITS: CallLimits = CallLimits { fuel_max: 2_000_000, memory_bytes_max: 8 << 20, output_bytes_max: 8 << 20 };

fn engine() -> &'static WasmEngine {
    static ENGINE: OnceLock<WasmEngine> = OnceLock::new();
    ENGINE.get_or_init(|| WasmEngine::new().unwrap())
}

fn compiled(wat: &str) -> Result<Arc<Compiled>, String> {
    let component = componentize(wat::parse_str(wat).unwrap())?;
    let code = engine().compile(&component)?;
    engine().load(&code).map(Arc::new)
}

fn asked() -> Arc<Compiled> {
    static ASKED_COMPILED: OnceLock<Arc<Compiled>> = OnceLock::new();
    Arc::clone(ASKED_COMPILED.get_or_init(|| compiled(ASKED).unwrap()))
}

fn step(limits: CallLimits, call_records_max: usize) -> (Wasm, Metrics) {
    let metrics = Metrics::new();
    let own = TransformMetrics::new(&metrics);
    let wasm = Wasm {
        label: "asked@1".to_owned(),
        compiled: asked(),
        grant: Vec::new(),
        slots: Slots::new(1, own.calls.clone(), own.call_wait_seconds.clone()),
        limits,
        call_records_max,
        call_bytes_max: 1 << 20,
        attempts_max: 2,
        metrics: own.module("asked"),
        stop: Arc::default(),
    };
    (wasm, metrics)
}

fn inputs(data: &[&'static str]) -> Vec<Input> {
    let input = |(record, data): (usize, &&'static str)| Input {
        record,
        origin: Origin { shard: ShardId(3), offset: Offset(record as u64), arrival_time: Timestamp(5) },
        partition_key: Bytes::from_static(b"key"),
        data: Bytes::from(*data),
        ..Input::default()
    };
    data.iter().enumerate().map(input).collect()
}

fn one(data: &'static str) -> Outcome {
    Outcome::One(Bytes::from(data).into())
}

#[test]
fn each_record_gets_its_outcome() {
    let (wasm, _) = step(LIMITS, 500);
    let outcomes = wasm.apply(&inputs(&["e1", "d", "f", "k9", "2", "i", "o", "e2"]));
    let keys = PartitionKeys::new([("colour".to_owned(), "k9".to_owned())]).unwrap();
    let twice = vec![Output::from(Bytes::from("2")), Output::from(Bytes::from("2"))];
    assert_eq!(
        outcomes,
        [
            one("e1"),
            Outcome::Dropped,
            Outcome::Failed("no good".to_owned().into()),
            Outcome::One(Output { data: Bytes::from("k9"), partition_keys: keys }),
            Outcome::Many(twice),
            one("3:5:0"),
            Outcome::Failed("the module gave ok without an output".to_owned().into()),
            one("e2"),
        ]
    );
    assert_eq!(wasm.apply(&[]), []);
}

/// The story: a guest that traps, loops or eats memory must cost its own record alone, with the cause told, and no time
/// without end.
#[test]
fn a_bad_record_fails_alone() {
    for (bad, fault, words) in [
        ("t", "trap", "unreachable"),
        ("l", "fuel", "more than its fuel of 2000000"),
        ("m", "memory", "more than its memory of 8388608 bytes"),
        ("u", "answer", "utf-8"),
        ("b", "answer", "asked@1"),
        ("c", "answer", "0 outcomes for 1 records"),
        ("p", "answer", "asked@1"),
    ] {
        let (wasm, metrics) = step(LIMITS, 500);
        let mut data = vec!["e"; 40];
        data[17] = bad;
        let begun = Instant::now();
        let outcomes = wasm.apply(&inputs(&data));
        assert!(begun.elapsed() < Duration::from_secs(30), "{bad} took {:?}", begun.elapsed());
        assert_eq!(outcomes.len(), 40);
        for (index, outcome) in outcomes.iter().enumerate().filter(|(index, _)| *index != 17) {
            assert_eq!(*outcome, one("e"), "{index} beside {bad}");
        }
        let Outcome::Failed(failure) = &outcomes[17] else { panic!("{bad} gave {:?}", outcomes[17]) };
        assert!(failure.message.contains(words), "{bad}: {}", failure.message);
        assert_eq!(failure.attempts, 2);
        let counted = format!("millrace_transform_wasm_faults_total{{fault=\"{fault}\",module=\"asked\"}}");
        let text = metrics.text();
        // A wrong count is a fault of the answer that the call itself does not see.
        assert!(bad == "c" || text.contains(&counted), "{bad}: {text}");
        assert!(text.contains("millrace_transform_wasm_calls 0"), "no place stays taken");
    }
}

#[test]
fn a_record_comes_out_the_same_however_it_is_batched() {
    let data: Vec<&str> = "e t e e d l 2 e k b e u f e m e c e i".split(' ').collect();
    let of = |call_records_max| step(LIMITS, call_records_max).0.apply(&inputs(&data));
    let together = of(500);
    for call_records_max in [1, 2, 7] {
        assert_eq!(of(call_records_max), together, "in calls of {call_records_max}");
    }
}

#[test]
fn a_module_remembers_nothing_from_call_to_call() {
    let (wasm, _) = step(LIMITS, 1);
    assert_eq!(wasm.apply(&inputs(&["n", "n", "n"])), [one("1"), one("1"), one("1")]);
}

#[test]
fn a_packed_module_gives_each_outcome_and_remembers_nothing() {
    let ended = compiled(ENDED).unwrap();
    assert_eq!(ended.form, call::Form::Packed);
    let of = |call_records_max, limits| Wasm { compiled: Arc::clone(&ended), ..step(limits, call_records_max).0 };
    let data = ["a", "n", "n2", "b"];
    assert_eq!(of(500, LIMITS).apply(&inputs(&data)), ["a\n", "2\n", "32\n", "b\n"].map(one));
    assert_eq!(of(1, LIMITS).apply(&inputs(&data)), ["a\n", "1\n", "12\n", "b\n"].map(one));
    // One outcome alone takes that much, so many do not fit a call that gives no more; each alone does.
    let large: &'static str = "x".repeat(2_000).leak();
    let given = inputs(&[large; 40]);
    let few = CallLimits { output_bytes_max: 5_000, ..LIMITS };
    let outcomes = of(500, few).apply(&given);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::One(output) if output.data.len() == 2_001)));
    let none = CallLimits { output_bytes_max: 1_000, ..LIMITS };
    assert!(of(500, none).apply(&given).iter().all(|outcome| matches!(outcome, Outcome::Failed(_))));
    let fuel = CallLimits { fuel_max: 10, ..LIMITS };
    let Outcome::Failed(failure) = of(500, fuel).apply(&inputs(&["a"])).remove(0) else { panic!("it had fuel for 10") };
    assert!(failure.message.contains("fuel"), "{failure:?}");
}

#[test]
fn calls_hold_so_many_records_and_bytes() {
    let (wasm, _) = step(LIMITS, 3);
    // `n` tells its number within its call.
    assert_eq!(wasm.apply(&inputs(&["n"; 7])), ["1", "2", "3", "1", "2", "3", "1"].map(one));
    let wasm = Wasm { call_bytes_max: 8, ..step(LIMITS, 500).0 };
    // A record and its key are four bytes, and one record is always let in.
    assert_eq!(
        wasm.apply(&inputs(&["n", "n", "n", "e23456789", "n"])),
        [one("1"), one("2"), one("1"), one("e23456789"), one("1")]
    );
}

#[test]
fn limits_hold_at_the_limit_and_not_past_it() {
    let run = |limits: CallLimits, data: &'static str| step(limits, 500).0.apply(&inputs(&[data])).remove(0);
    let fails = |limits: CallLimits, data: &'static str, words: &str| match run(limits, data) {
        Outcome::Failed(failure) => assert!(failure.message.contains(words), "{failure:?}"),
        other => panic!("{other:?}"),
    };
    let fuel = |fuel_max| CallLimits { fuel_max, ..LIMITS };
    let least = (1..).map(|step| step * 50).find(|fuel_max| run(fuel(*fuel_max), "e") == one("e")).unwrap();
    fails(fuel(least - 50), "e", "fuel");
    // The module begins with two pages.
    let memory = |memory_bytes_max| CallLimits { memory_bytes_max, ..LIMITS };
    assert_eq!(run(memory(2 << 16), "e"), one("e"));
    fails(memory((2 << 16) - 1), "e", "memory");
    // 1,600 outputs of 64 KiB.
    let large = CallLimits { output_bytes_max: 300 << 20, fuel_max: 100_000_000, memory_bytes_max: 64 << 20 };
    assert!(matches!(run(large, "b"), Outcome::Many(outputs) if outputs.len() == 1_600));
    fails(CallLimits { output_bytes_max: 100 << 20, ..large }, "b", "asked@1");
}

/// The story: a session that ends because a looping module was rolled back left its conversion running for hours.
#[test]
fn what_nobody_waits_for_ends_soon() {
    let (wasm, _) = step(CallLimits { fuel_max: 50_000_000, ..LIMITS }, 1);
    let stop = Arc::clone(&wasm.stop);
    let given = inputs(&["l"; 10_000]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| wasm.apply(&given));
        while wasm.metrics.faults("fuel") == 0 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(running.join().unwrap().len(), 10_000);
    });
    assert!(begun.elapsed() < Duration::from_secs(60), "it went on for {:?}", begun.elapsed());
}

#[test]
fn what_is_no_transform_is_refused() {
    let refused = |wat: &str, words: &str| {
        let reason = compiled(wat).unwrap_err();
        assert!(reason.contains(words), "{reason}");
    };
    refused("(module)", "transform");
    refused("(module (memory (export \"memory\") 1))", "transform");
    refused("(module (memory (export \"memory\") 1) (func (export \"transform\") (param i32)))", "transform");
    refused("(module (import \"env\" \"system\" (func)) (memory (export \"memory\") 1))", "transform");
    refused("(component)", "exports no transform");
    refused("(component (import \"secrets\" (func)))", "imports what a transform has not");
    assert!(engine().compile(b"\0asm\x0d\0\x01\0broken").is_err());
    assert!(engine().compile(b"text").is_err());
}

#[test]
fn the_same_module_is_the_same_component() {
    let module = wat::parse_str(ASKED).unwrap();
    let component = componentize(module.clone()).unwrap();
    assert_eq!(componentize(module).unwrap(), component);
    assert_eq!(componentize(component.clone()).unwrap(), component, "a component stays as it is");
}
