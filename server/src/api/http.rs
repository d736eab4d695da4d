//! The HTTP side: whether the process lives, whether it is ready, its metrics, and the AWS protocols.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::access::caller_of;
use super::aws::Aws;
use crate::auth::{Action, Auth, Resource};
use crate::error::{Kind, Result};
use crate::metrics::Metrics;
use crate::serve::MetricsAccess;

/// Says that the process is ready, and what a reader of that should know; or why it is not.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// The routes of the HTTP side. Health and readiness are open to everybody.
pub fn router(metrics: Metrics, readiness: Readiness, auth: Auth, access: MetricsAccess, aws: &Aws) -> Router {
    let metrics = Scraped { metrics, auth, access };
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

/// The metrics, and who may read them.
#[derive(Clone)]
struct Scraped {
    metrics: Metrics,
    auth: Auth,
    access: MetricsAccess,
}

async fn text(State(scraped): State<Scraped>, headers: HeaderMap) -> Response {
    let Scraped { metrics, auth, access } = scraped;
    if access == MetricsAccess::Closed
        && let Err(error) = may_scrape(&auth, &headers)
    {
        let status = match error.kind() {
            Kind::PermissionDenied => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        return (status, [(header::WWW_AUTHENTICATE, "Bearer")], format!("{error}\n")).into_response();
    }
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.text()).into_response()
}

fn may_scrape(auth: &Auth, headers: &HeaderMap) -> Result<()> {
    caller_of(auth, headers, None)?.check(Action::Metrics, &Resource::server())
}
