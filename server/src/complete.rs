//! Changes that a caller who goes away must not leave half made.
//!
//! The wire drops a call's future with its connection, wherever it stands: what was written and not yet taken over in memory
//! would stay so, and what a change brings about would never be done.

use std::future::Future;

use crate::error::{Error, Kind, Result};

/// Makes a change in a task of its own, which goes on when the caller does not. `what` is for the error of one that panicked.
///
/// # Errors
/// The change's own.
pub(crate) async fn complete<T: Send + 'static>(
    what: &str,
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended_early = |error| Err(Error::new(Kind::Internal, format_args!("{what} ended early: {error}")));
    tokio::spawn(change).await.unwrap_or_else(ended_early)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_change_goes_on_without_its_caller() {
        let (go_on, wait) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel::<()>();
        let change = complete("a change", async {
            wait.await.unwrap();
            done.send(()).unwrap();
            Ok(())
        });
        let mut change = Box::pin(change);
        assert!(change.as_mut().now_or_never().is_none());
        drop(change);
        go_on.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn a_change_that_panics_is_an_error_of_its_own() {
        let error = complete::<()>("a change", async { panic!("at once") }).await.unwrap_err();
        assert!(error.to_string().starts_with("a change ended early"), "{error}");
    }
}
