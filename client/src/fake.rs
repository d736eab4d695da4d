//! A server whose faults are scripted, for what a real one cannot be made to show. It keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream::BoxStream;
use millrace_proto::v1::record_service_server::{RecordService, RecordServiceServer};
use millrace_proto::v1::stream_service_server::{StreamService, StreamServiceServer};
use millrace_proto::v1::{self, *};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::Client;

/// What the fake does with one put request.
pub(crate) enum Act {
    /// Answers each record by its data.
    Answer(Vec<PutResult>),
    /// Ends the call with a status.
    Fail(Status),
    /// Ends the call in good order, without an answer.
    End,
    /// Never answers.
    Hang,
}

type OnPut = Box<dyn FnMut(usize, &PutRequest) -> Act + Send>;
type OnSubscribe = Box<dyn FnMut(usize, &SubscribeRequest) -> Vec<Result<SubscribeResponse, Status>> + Send>;

/// A server that follows a script. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Script>);

/// The script, and what was asked so far.
struct Script {
    on_put: Mutex<OnPut>,
    on_subscribe: Mutex<OnSubscribe>,
    puts: Mutex<Vec<PutRequest>>,
    subscribes: Mutex<Vec<SubscribeRequest>>,
    shards: Mutex<Option<Vec<Shard>>>,
}

impl Fake {
    pub(crate) fn putting(act: impl FnMut(usize, &PutRequest) -> Act + Send + 'static) -> Self {
        Self::new(Box::new(act), Box::new(|_, _| Vec::new()))
    }

    pub(crate) fn pushing(
        push: impl FnMut(usize, &SubscribeRequest) -> Vec<Result<SubscribeResponse, Status>> + Send + 'static,
    ) -> Self {
        Self::new(Box::new(|_, _| Act::Hang), Box::new(push))
    }

    fn new(on_put: OnPut, on_subscribe: OnSubscribe) -> Self {
        Self(Arc::new(Script {
            on_put: Mutex::new(on_put),
            on_subscribe: Mutex::new(on_subscribe),
            puts: Mutex::default(),
            subscribes: Mutex::default(),
            shards: Mutex::new(Some(vec![Shard { trim_offset: 10, next_offset: 20, ..Shard::default() }])),
        }))
    }

    /// From here on every stream has these shards; or no stream exists.
    pub(crate) fn has(&self, shards: Option<Vec<Shard>>) {
        *self.0.shards.lock().unwrap() = shards;
    }

    /// Serves on a free port; gives a client of it.
    pub(crate) fn serve(&self) -> Client {
        let address = self.serve_on("127.0.0.1:0".parse().unwrap());
        Client::connect(format!("http://{address}")).unwrap()
    }

    pub(crate) fn serve_on(&self, address: SocketAddr) -> SocketAddr {
        let incoming = TcpIncoming::bind(address).unwrap();
        let address = incoming.local_addr().unwrap();
        let server = Server::builder()
            .add_service(RecordServiceServer::new(self.clone()))
            .add_service(StreamServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    /// The data of all records that arrived, as text, request by request.
    pub(crate) fn batches(&self) -> Vec<Vec<String>> {
        self.0.puts.lock().unwrap().iter().map(texts).collect()
    }

    /// All requests that arrived.
    pub(crate) fn puts(&self) -> Vec<PutRequest> {
        self.0.puts.lock().unwrap().clone()
    }

    /// As [`Self::batches`], in one row.
    pub(crate) fn arrived(&self) -> Vec<String> {
        self.batches().concat()
    }

    pub(crate) fn subscribes(&self) -> Vec<SubscribeRequest> {
        self.0.subscribes.lock().unwrap().clone()
    }
}

/// Records' data as text.
pub(crate) fn texts(request: &PutRequest) -> Vec<String> {
    request.records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

/// Places every record of a request, at the offset that its data spells.
pub(crate) fn place_all(request: &PutRequest) -> Act {
    Act::Answer(texts(request).iter().map(|text| placed(text.parse().unwrap())).collect())
}

pub(crate) fn placed(offset: u64) -> PutResult {
    PutResult { result: Some(put_result::Result::Placed(Placed { shard: 0, offset, duplicate: false })) }
}

pub(crate) fn refused(kind: put_error::Kind, retry_after_ms: u64) -> PutResult {
    let message = format!("record refused as {}", kind.as_str_name());
    let error = PutError { kind: kind.into(), message, shard: Some(0), retry_after_ms, next_offset: None };
    PutResult { result: Some(put_result::Result::Error(error)) }
}

#[tonic::async_trait]
impl RecordService for Fake {
    type PutStreamStream = BoxStream<'static, Result<PutResponse, Status>>;
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Err(Status::unimplemented("the producer streams"))
    }

    async fn put_stream(
        &self,
        request: Request<Streaming<PutRequest>>,
    ) -> Result<Response<Self::PutStreamStream>, Status> {
        let answers = futures::stream::unfold(Some((self.clone(), request.into_inner())), |open| async move {
            let (fake, mut requests) = open?;
            let request = requests.next().await?.ok()?;
            let number = {
                let mut puts = fake.0.puts.lock().unwrap();
                puts.push(request.clone());
                puts.len() - 1
            };
            let act = (fake.0.on_put.lock().unwrap())(number, &request);
            match act {
                Act::Answer(results) => Some((Ok(PutResponse { results, failed_count: 0 }), Some((fake, requests)))),
                Act::Fail(status) => Some((Err(status), None)),
                Act::End => None,
                Act::Hang => std::future::pending().await,
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let number = {
            let mut subscribes = self.0.subscribes.lock().unwrap();
            subscribes.push(request.clone());
            subscribes.len() - 1
        };
        let pushes = (self.0.on_subscribe.lock().unwrap())(number, &request);
        Ok(Response::new(futures::stream::iter(pushes).boxed()))
    }
}

/// Every stream exists, with one shard that holds offsets 10 to 20, unless told otherwise.
#[tonic::async_trait]
impl StreamService for Fake {
    async fn describe_stream(
        &self,
        request: Request<DescribeStreamRequest>,
    ) -> Result<Response<DescribeStreamResponse>, Status> {
        let shards = self.0.shards.lock().unwrap().clone();
        let shards = shards.ok_or_else(|| Status::not_found("the stream was deleted"))?;
        let stream = v1::Stream { name: request.into_inner().name, shards, ..v1::Stream::default() };
        Ok(Response::new(DescribeStreamResponse { stream: Some(stream) }))
    }

    async fn create_stream(&self, _: Request<CreateStreamRequest>) -> Result<Response<CreateStreamResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list_shards(&self, _: Request<ListShardsRequest>) -> Result<Response<ListShardsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn split_shard(&self, _: Request<SplitShardRequest>) -> Result<Response<SplitShardResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn merge_shards(&self, _: Request<MergeShardsRequest>) -> Result<Response<MergeShardsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn update_shard_count(
        &self,
        _: Request<UpdateShardCountRequest>,
    ) -> Result<Response<UpdateShardCountResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list_streams(&self, _: Request<ListStreamsRequest>) -> Result<Response<ListStreamsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn update_stream(&self, _: Request<UpdateStreamRequest>) -> Result<Response<UpdateStreamResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn rotate_stream_key(
        &self,
        _: Request<v1::RotateStreamKeyRequest>,
    ) -> Result<Response<v1::RotateStreamKeyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn shred_stream(&self, _: Request<ShredStreamRequest>) -> Result<Response<ShredStreamResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn rewrap_stream_keys(
        &self,
        _: Request<v1::RewrapStreamKeysRequest>,
    ) -> Result<Response<v1::RewrapStreamKeysResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn delete_stream(&self, _: Request<DeleteStreamRequest>) -> Result<Response<DeleteStreamResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
