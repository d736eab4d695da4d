//! Crashes at named places, many from one seed.

use std::time::Duration;

use millrace_tests::seed;
use millrace_tests::server::ServerSettings;
use rand::Rng;
use rand::rngs::StdRng;

/// Where a server that does not come by its failpoint is killed instead.
pub(crate) const REACH_MAX: Duration = Duration::from_secs(3);

/// Plans crashes from a list that is gone through over and over, so many on one data folder: one folder's, or
/// `MILLRACE_CRASH_RUNS`. `one_folder` carries them out and gives how many were at their failpoints.
pub(crate) fn over<F>(
    name: &str,
    failpoints: &[F],
    crashes_per_folder: usize,
    one_folder: impl Fn(&[&F], &mut StdRng) -> usize,
) {
    let mut generator = seed::generator(name);
    let runs = std::env::var("MILLRACE_CRASH_RUNS").ok();
    let runs: usize = runs.map_or(crashes_per_folder, |runs| runs.parse().expect("MILLRACE_CRASH_RUNS is a number"));
    let mut failpoints = failpoints.iter().cycle();
    let (mut crashes, mut reached) = (0, 0);
    while crashes < runs {
        let plan: Vec<_> = failpoints.by_ref().take(crashes_per_folder.min(runs - crashes)).collect();
        crashes += plan.len();
        reached += one_folder(&plan, &mut generator);
        eprintln!("{crashes} crashes, {reached} where they were told to be");
    }
    assert!(reached * 2 > runs, "few servers died where they were told to; does this build have failpoints?");
}

/// Settings of a server that dies at a failpoint, which it may come by so many times before; at none where it has no name. Also
/// gives at which time it dies.
pub(crate) fn armed(
    settings: &ServerSettings,
    failpoint: &str,
    hits_max: u32,
    generator: &mut StdRng,
) -> (ServerSettings, u32) {
    let at = if hits_max > 0 { generator.random_range(1..=hits_max) } else { 0 };
    let armed = match failpoint.is_empty() {
        true => settings.clone(),
        false => settings.clone().env("MILLRACE_FAILPOINT", format!("{failpoint}:{at}")),
    };
    (armed, at)
}
