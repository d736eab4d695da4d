//! From an HTTP request to a service's call, and from its answer to an HTTP response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::{Bodies, Held};
use super::request_id::RequestId;
use super::{AwsError, Call, Format, Reply, Service};
use crate::api::aws::auth::{Caller, Unverified};
use crate::api::aws::metrics::AwsMetrics;
use crate::api::aws::model::Operation;
use crate::api::aws::settings::AwsSettings;
use crate::api::aws::sts;
use crate::auth::Auth;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const EXTENDED_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const TARGET: &str = "x-amz-target";
/// The content type of an event stream.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// The services behind `POST /`.
pub(in crate::api::aws) struct Front {
    services: Vec<Arc<dyn Service>>,
    auth: Auth,
    account_id: String,
    bodies: Bodies,
    metrics: AwsMetrics,
    in_flight: TaskTracker,
}

/// The route of all services.
pub(in crate::api::aws) fn router(front: Arc<Front>) -> Router {
    Router::new().route("/", post(handle)).with_state(front)
}

async fn handle(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    let id = RequestId::new();
    let (parts, body) = request.into_parts();
    if sts::is_query(&parts.headers) {
        return front.query(&parts, body, &id).await;
    }
    let format = format_of(&parts.headers);
    let answer = front.answer(&parts, body, format, &id).await;
    respond(answer, format.unwrap_or(Format::Json), &id)
}

impl Front {
    pub(in crate::api::aws) fn new(
        services: Vec<Arc<dyn Service>>,
        auth: Auth,
        settings: &AwsSettings,
        metrics: AwsMetrics,
    ) -> Self {
        let bodies = Bodies::new(
            settings.request_bytes_max.as_u64(),
            settings.request_in_flight_bytes_max.as_u64(),
            settings.request_timeout,
        );
        let account_id = settings.account_id.clone();
        Self { services, auth, account_id, bodies, metrics, in_flight: TaskTracker::new() }
    }

    /// Takes no more requests, and waits for those in flight.
    pub(in crate::api::aws) async fn drain(&self, timeout: Duration) {
        self.in_flight.close();
        if tokio::time::timeout(timeout, self.in_flight.wait()).await.is_err() {
            tracing::warn!(requests = self.in_flight.len(), "AWS requests in flight did not end in time");
        }
    }

    async fn answer(
        self: &Arc<Self>,
        parts: &Parts,
        body: Body,
        format: Option<Format>,
        id: &RequestId,
    ) -> Result<Reply, AwsError> {
        let began = Instant::now();
        let found = self.find(&parts.headers);
        let (name, operation) = match &found {
            Ok((service, operation)) => (service.model().name, operation.name),
            Err(_) => ("", ""),
        };
        let answer = match found {
            Ok((service, operation)) => {
                let answer = self.call(&service, operation, format, parts, body).await;
                answer.map_err(|error| error.of_operation(operation))
            }
            Err(error) => {
                self.bodies.forget(body).await;
                Err(error)
            }
        };
        self.tell(name, operation, &answer, began, id);
        answer
    }

    /// Counts an answer, and logs one that is an error.
    fn tell<T>(&self, name: &str, operation: &str, answer: &Result<T, AwsError>, began: Instant, id: &RequestId) {
        let outcome = answer.as_ref().map_or_else(AwsError::code, |_| "ok");
        self.metrics.answered(name, operation, outcome, began.elapsed());
        if let Err(error) = answer {
            tracing::debug!(id = id.id, service = name, operation, code = error.code(), message = error.message());
        }
    }

    /// The service and operation that a request names.
    fn find(&self, headers: &HeaderMap) -> Result<(Arc<dyn Service>, &'static Operation), AwsError> {
        let unknown = || AwsError::new("UnknownOperationException", "the operation is not known");
        let Some(target) = headers.get(TARGET) else {
            return Err(AwsError::new("MissingAction", "the request names no operation in X-Amz-Target"));
        };
        let (target, operation) = target.to_str().ok().and_then(|text| text.split_once('.')).ok_or_else(unknown)?;
        let service = self.services.iter().find(|service| service.model().target == target).ok_or_else(unknown)?;
        let operation = service.model().operation(operation).ok_or_else(unknown)?;
        Ok((Arc::clone(service), operation))
    }

    /// Answers a request in the Query protocol.
    async fn query(&self, parts: &Parts, body: Body, id: &RequestId) -> Response<Body> {
        let began = Instant::now();
        let answer = self.identify(parts, body).await;
        self.tell(sts::SERVICE, sts::OPERATION, &answer, began, id);
        let (status, xml) = sts::render(answer.as_ref(), &self.account_id, &id.id);
        response(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), sts::XML, xml.into(), id)
    }

    async fn identify(&self, parts: &Parts, body: Body) -> Result<Caller, AwsError> {
        let _tracked = self.enter()?;
        let Held { bytes: body, place: _place } = self.bodies.read(&parts.headers, body).await?;
        sts::read(&body)?;
        let (service, operation) = (sts::SERVICE, sts::OPERATION);
        Caller::of(&self.auth, &Unverified { parts, body: &body, service, operation })
    }

    /// Counts a request as one in flight, unless the server is closing.
    fn enter(&self) -> Result<TaskTrackerToken, AwsError> {
        if self.in_flight.is_closed() {
            return Err(AwsError::unavailable("the server is closing; try again"));
        }
        Ok(self.in_flight.token())
    }

    async fn call(
        self: &Arc<Self>,
        service: &Arc<dyn Service>,
        operation: &'static Operation,
        format: Option<Format>,
        parts: &Parts,
        body: Body,
    ) -> Result<Reply, AwsError> {
        let Some(format) = format else {
            self.bodies.forget(body).await;
            let message = "the content type is neither application/x-amz-json-1.1 nor application/x-amz-cbor-1.1";
            return Err(AwsError::new("UnknownOperationException", message).with_status(404));
        };
        let _tracked = self.enter()?;
        let Held { bytes: body, place } = self.bodies.read(&parts.headers, body).await?;
        let request = Unverified { parts, body: &body, service: service.model().name, operation: operation.name };
        let caller = Caller::of(&self.auth, &request)?;
        let call = Call { operation, format, body, caller: caller.clone() };
        let service = Arc::clone(service);
        // In a task of its own: a change that has begun is not left half made by a client that goes away.
        let called = self.in_flight.spawn(async move {
            let _place = place;
            let answer = service.call(call).await;
            caller.ended(&answer);
            answer
        });
        called.await.unwrap_or_else(|error| {
            tracing::error!(%error, operation = operation.name, "a call ended early");
            Err(AwsError::internal("the call ended early"))
        })
    }
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    Format::of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

fn respond(answer: Result<Reply, AwsError>, format: Format, id: &RequestId) -> Response<Body> {
    let (status, content_type, body, code) = match answer {
        Ok(Reply::Empty) => (StatusCode::OK, format.content_type(), Body::empty(), None),
        Ok(Reply::Body(body)) => (StatusCode::OK, format.content_type(), body.into(), None),
        Ok(Reply::Events(events)) => (StatusCode::OK, EVENT_STREAM, events, None),
        Err(error) => {
            let body = format.encode(&error).map(Body::from).unwrap_or_default();
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, format.content_type(), body, Some(error.code()))
        }
    };
    let mut response = response(status, content_type, body, id);
    if let Some(code) = code {
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(code));
    }
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Body, id: &RequestId) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in [(REQUEST_ID, &id.id), (EXTENDED_ID, &id.extended)] {
        headers.insert(name, HeaderValue::from_str(value).expect("ids are ASCII"));
    }
    response
}
