//! Waiting for a worker to say something, which a pause or its end may keep it from: deliveries and imports have such workers.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};

/// Why a worker does not say what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halted {
    /// It is paused.
    Paused,
    /// It was stopped, with its process or by a deletion.
    Stopped,
}

impl Halted {
    /// The error for a worker of a `kind` with a name.
    pub(crate) fn error(self, kind: &str, name: &str) -> Error {
        match self {
            Self::Paused => {
                Error::new(Kind::FailedPrecondition, format_args!("{kind} {name} is paused; resume it first"))
            }
            Self::Stopped => Error::unavailable(format_args!("{kind} {name} was stopped or deleted")),
        }
    }
}

/// Waits until a worker says so, and gives what it said.
///
/// # Errors
/// Where what it is to do says that it is paused, or it is stopped, before.
pub(crate) async fn until<P: Clone, W>(
    progress: &watch::Receiver<P>,
    so: impl FnMut(&P) -> bool,
    wanted: &watch::Sender<W>,
    is_paused: impl FnMut(&W) -> bool,
    stop: &CancellationToken,
) -> Result<P, Halted> {
    let (mut progress, mut wanted) = (progress.clone(), wanted.subscribe());
    tokio::select! {
        biased;
        said = progress.wait_for(so) => said.map(|said| said.clone()).map_err(|_| Halted::Stopped),
        _ = wanted.wait_for(is_paused) => Err(Halted::Paused),
        () = stop.cancelled() => Err(Halted::Stopped),
    }
}
