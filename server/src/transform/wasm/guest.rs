//! What a module finds around itself: WASI without files and network, clocks that stand still, random numbers that are always
//! the same, and a memory that ends somewhere.
//!
//! Nothing that the host does for it may wait: where time is asked to pass, it has passed.

use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Store};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::p2::{self, DynPollable, Pollable, subscribe};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, async_trait};

use super::CallLimits;
use crate::transform::Grant;

/// The most bytes that a module may write to its standard error; the end of them is told where it fails.
const STDERR_BYTES_MAX: usize = 64 << 10;
/// How much of the end of a module's standard error is told where it fails.
const LAST_LINES: usize = 4;
const LAST_CHARS_MAX: usize = 600;
/// The most bytes of one request for random numbers, which are made outside of what fuel counts.
const RANDOM_BYTES_MAX: u64 = 4 << 10;
/// The most resources, such as streams, that a module may hold at a time.
const RESOURCES_MAX: usize = 1_000;
/// The most elements of all tables together.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// What a call of the host costs, as it takes time that instructions do not count.
const HOST_CALL_FUEL: u64 = 2_000;

/// The state of one instance.
pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    stderr: MemoryOutputPipe,
    pub(super) memory: MemoryLimit,
    /// Whether clocks run.
    clock: bool,
}

/// Bounds the memory of all of an instance's memories together.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    elements: usize,
    /// Whether more was asked for.
    pub(super) exceeded: bool,
}

impl Guest {
    /// A store for one call.
    pub(super) fn store(engine: &wasmtime::Engine, grant: &[Grant], limits: CallLimits) -> Result<Store<Self>, String> {
        let stderr = MemoryOutputPipe::new(STDERR_BYTES_MAX);
        let mut wasi = WasiCtx::builder();
        wasi.stderr(stderr.clone()).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        wasi.max_random_size(RANDOM_BYTES_MAX);
        let clock = grant.contains(&Grant::Clock);
        if !clock {
            wasi.wall_clock(Still).monotonic_clock(Still);
        }
        if !grant.contains(&Grant::Random) {
            wasi.secure_random(numbers()).insecure_random(numbers()).insecure_random_seed(0);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let memory = MemoryLimit { bytes_max: limits.memory_bytes_max, bytes: 0, elements: 0, exceeded: false };
        let mut store = Store::new(engine, Self { wasi: wasi.build(), table, stderr, memory, clock });
        store.limiter(|guest| &mut guest.memory);
        store.set_fuel(limits.fuel_max).map_err(|error| error.to_string())?;
        store.set_hostcall_fuel(limits.output_bytes_max);
        store.call_hook(|mut context, hook| {
            if matches!(hook, wasmtime::CallHook::CallingHost) {
                let left = context.get_fuel()?.saturating_sub(HOST_CALL_FUEL);
                context.set_fuel(left)?;
            }
            Ok(())
        });
        Ok(store)
    }

    /// The last lines that the module wrote to its standard error, as one.
    ///
    /// A language's runtime may tell of its own end after what the program said, so that one line would not do.
    pub(super) fn last_words(&self) -> Option<String> {
        let written = self.stderr.contents();
        let text = String::from_utf8_lossy(&written);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("RUST_BACKTRACE"));
        let mut last: Vec<&str> = lines.rev().take(LAST_LINES).collect();
        last.reverse();
        let words: String = last.join("; ").chars().take(LAST_CHARS_MAX).collect();
        (!words.is_empty()).then_some(words)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// All that a module may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    p2::add_to_linker_sync(&mut linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<Guest, Clock>(&mut linker, |guest| guest)?;
    linker.allow_shadowing(false);
    // It has types alone.
    linker.instance("millrace:transform/types@0.1.0")?;
    Ok(linker)
}

/// The clock to wait by.
struct Clock;

impl HasData for Clock {
    type Data<'a> = &'a mut Guest;
}

/// Waiting ends at once: a call must not hold a thread for as long as a module likes.
struct Passed;

#[async_trait]
impl Pollable for Passed {
    async fn ready(&mut self) {}
}

impl Guest {
    fn passed(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let passed = self.table.push(Passed)?;
        subscribe(&mut self.table, passed)
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        if self.clock { monotonic_clock::Host::now(&mut self.clocks()) } else { Ok(0) }
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.passed()
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.passed()
    }
}

/// A clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// The same numbers each time.
fn numbers() -> Deterministic {
    Deterministic::new((0..=255_u8).map(|n| n.wrapping_mul(167).wrapping_add(13)).collect())
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes - current.min(self.bytes) + desired;
        if bytes > self.bytes_max {
            self.exceeded = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements - current.min(self.elements) + desired;
        if elements > TABLE_ELEMENTS_MAX {
            self.exceeded = true;
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }
}
