//! The machine that a result belongs to.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One line: processor, cores, memory, kernel, file system of `folder`, load average before the run.
#[must_use]
pub fn describe(folder: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory_kib =
        field(&read("/proc/meminfo"), "MemTotal").split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
    let memory_gib = memory_kib.unwrap_or_default().div_ceil(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    let file_system = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output();
    let file_system =
        file_system.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    let model = field(&cpuinfo, "model name");
    let profile = if cfg!(debug_assertions) { "DEBUG BUILD: numbers mean nothing" } else { "release build" };
    format!("{model}, {cores} cores, {memory_gib} GiB, Linux {kernel}, {file_system}, load {load} before; {profile}")
}
