//! The seed of random tests: printed by each run, set by `MILLRACE_TEST_SEED` to repeat one.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The environment variable that sets the seed.
pub const VARIABLE: &str = "MILLRACE_TEST_SEED";

/// The generator of the test `name`, after printing how to repeat its run.
///
/// # Panics
/// When the variable holds no number.
#[must_use]
pub fn generator(name: &str) -> StdRng {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE} is {text:?}, not a number")),
        Err(_) => rand::random::<u32>().into(),
    };
    eprintln!("{name}: repeat this run with {VARIABLE}={seed}");
    StdRng::seed_from_u64(seed)
}
