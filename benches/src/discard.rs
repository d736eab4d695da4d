//! A server that answers puts and discards their records: what gRPC alone carries on this machine, which nothing that stands
//! behind it can pass.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use millrace_proto::v1::record_service_server::{RecordService, RecordServiceServer};
use millrace_proto::v1::{
    GetRequest, GetResponse, Placed, PutRequest, PutResponse, PutResult, SubscribeRequest, SubscribeResponse,
    put_result,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Discard {
    endpoint: String,
    threads: Option<Runtime>,
}

impl Discard {
    /// Starts one on threads of its own, with windows and frames as Millrace has them.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub fn start() -> std::io::Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        threads.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener that does not block");
            let service = RecordServiceServer::new(Discarding).max_decoding_message_size(usize::MAX);
            let served = Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .max_frame_size(256 << 10)
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
            served.await.expect("the server serves until it is dropped");
        });
        Ok(Self { endpoint, threads: Some(threads) })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Discard {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Discarding;

fn answer(request: &PutRequest) -> PutResponse {
    let placed =
        |(_, offset)| PutResult { result: Some(put_result::Result::Placed(Placed { offset, ..Placed::default() })) };
    PutResponse { results: request.records.iter().zip(0..).map(placed).collect(), failed_count: 0 }
}

#[tonic::async_trait]
impl RecordService for Discarding {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(answer(request.get_ref())))
    }

    type PutStreamStream = Answers<PutResponse>;

    async fn put_stream(
        &self,
        request: Request<Streaming<PutRequest>>,
    ) -> Result<Response<Self::PutStreamStream>, Status> {
        let answers = request.into_inner().map(|request| Ok(answer(&request?)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get(&self, _request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("records are discarded here"))
    }

    type SubscribeStream = Answers<SubscribeResponse>;

    async fn subscribe(&self, _request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("records are discarded here"))
    }
}
