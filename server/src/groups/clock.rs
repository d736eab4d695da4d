//! The clock that leases run by. It never goes back, whatever happens to the time of day; tests hand in their own.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Where the time of leases comes from.
#[derive(Clone)]
pub struct Monotonic(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Monotonic {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Instant::now)
    }

    /// A clock that tells what `now` returns, which must never fall.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Monotonic({:?})", self.now())
    }
}
