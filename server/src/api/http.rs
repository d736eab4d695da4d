//! The HTTP side: whether the process lives, whether it is ready, its metrics, and the AWS protocols.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::aws::Aws;
use crate::metrics::Metrics;

/// Says that the process is ready, and what a reader of that should know; or why it is not.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// The routes of the HTTP side.
pub fn router(metrics: Metrics, readiness: Readiness, aws: &Aws) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(text).with_state(metrics))
        .merge(aws.router())
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness().await {
        Ok(ready) => (StatusCode::OK, format!("{ready}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn text(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.text())
}
