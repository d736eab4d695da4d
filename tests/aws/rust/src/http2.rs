//! An HTTP client for the SDK that speaks HTTP/2 with prior knowledge, in the clear.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[derive(Debug, Clone)]
struct Http2(Client<Tcp, SdkBody>);

/// The client, with one pool of connections.
pub fn client() -> SharedHttpClient {
    let http = Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).http2_only(true).build(Tcp::new());
    let connector = SharedHttpConnector::new(Http2(http));
    http_client_fn(move |_, _| connector.clone())
}

impl HttpConnector for Http2 {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let answer = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
