//! Authentication and grants as a client meets them: every service, every way in, with and without credentials.

use std::path::PathBuf;
use std::time::Duration;

use arrow_flight::sql::client::FlightSqlServiceClient;
use millrace_client::{Client, ConnectionSettings, Kind as ClientKind};
use millrace_proto::v1::delivery_service_client::DeliveryServiceClient;
use millrace_proto::v1::group_service_client::GroupServiceClient;
use millrace_proto::v1::maintenance_service_client::MaintenanceServiceClient;
use millrace_proto::v1::principal_service_client::PrincipalServiceClient;
use millrace_proto::v1::table_service_client::TableServiceClient;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PIPELINE: &str = r#"
[[stream]]
name = "theirs"
[[delivery]]
name = "theirs"
stream = "theirs"
table = "theirs"
format = "parquet"
"#;

type Wire = InterceptedService<Channel, Token>;

#[derive(Clone)]
struct Token(Option<AsciiMetadataValue>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A server that authenticates, with its first principal.
struct Closed {
    world: World,
    root: String,
}

impl Closed {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(environment: &[(&str, &str)]) -> Self {
        let fixed = [("MILLRACE_AUTH", "on"), ("MILLRACE_ENCRYPTION_MASTER_KEY", HEX)];
        let world = World::with(&[&fixed[..], environment].concat()).await;
        let channel = channel(&world).await;
        let made = principals(&wire(&channel, "")).create_principal(named("root")).await.unwrap();
        Self { root: made.into_inner().key.unwrap().token, world }
    }

    async fn wire(&self, token: &str) -> Wire {
        wire(&channel(&self.world).await, token)
    }

    /// Makes a principal that may do just so much; gives its token.
    async fn principal(&self, name: &str, grants: &[(&str, &str)]) -> String {
        let grants = grants.iter().map(|(actions, resource)| grant(actions, resource)).collect();
        let request = v1::CreatePrincipalRequest { grants, ..named(name) };
        let made = principals(&self.wire(&self.root).await).create_principal(request).await.unwrap();
        made.into_inner().key.unwrap().token
    }

    async fn update(&self, request: v1::UpdatePrincipalRequest) {
        principals(&self.wire(&self.root).await).update_principal(request).await.unwrap();
    }
}

async fn channel(world: &World) -> Channel {
    Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap().connect().await.unwrap()
}

fn wire(channel: &Channel, token: &str) -> Wire {
    let token = (!token.is_empty()).then(|| format!("Bearer {token}").parse().unwrap());
    InterceptedService::new(channel.clone(), Token(token))
}

fn principals(wire: &Wire) -> PrincipalServiceClient<Wire> {
    PrincipalServiceClient::new(wire.clone())
}

fn named(name: &str) -> v1::CreatePrincipalRequest {
    v1::CreatePrincipalRequest { name: name.to_owned(), ..Default::default() }
}

fn grant(actions: &str, resource: &str) -> v1::Grant {
    v1::Grant { actions: actions.split(',').map(str::to_owned).collect(), resource: resource.to_owned() }
}

fn stream_request(name: &str) -> v1::CreateStreamRequest {
    v1::CreateStreamRequest { name: name.to_owned(), shard_count: 1, ..Default::default() }
}

/// Calls a method with an empty message.
async fn call(wire: &Wire, path: &str) -> Status {
    let mut client = tonic::client::Grpc::new(wire.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse::<axum::http::uri::PathAndQuery>().unwrap();
    match client.server_streaming(tonic::Request::new(()), path, codec).await {
        Err(status) => status,
        Ok(answer) => match answer.into_inner().message().await {
            Err(status) => status,
            Ok(_) => Status::ok("it was let in"),
        },
    }
}

/// Every method of every service, Flight's and one that nobody has among them.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(millrace_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| &file.service);
    let ours = services.flat_map(|service| {
        service.method.iter().map(move |method| format!("/millrace.v1.{}/{}", service.name(), method.name()))
    });
    let flight = [
        "Handshake",
        "ListFlights",
        "GetFlightInfo",
        "PollFlightInfo",
        "GetSchema",
        "DoGet",
        "DoPut",
        "DoExchange",
        "DoAction",
        "ListActions",
    ];
    let flight = flight.iter().map(|method| format!("/arrow.flight.protocol.FlightService/{method}"));
    ours.chain(flight).chain(["/millrace.v1.Nothing/Do".to_owned()]).collect()
}

#[tokio::test]
async fn no_method_is_open_without_credentials_or_with_wrong_ones() {
    let closed = Closed::new().await;
    let methods = methods();
    assert!(methods.len() > 50);
    let (id, _) = closed.root.split_once('.').unwrap();
    for token in ["", "x", &format!("{id}.wrong"), &closed.root[1..]] {
        let wire = closed.wire(token).await;
        for method in &methods {
            let status = call(&wire, method).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{method} with {token:?}: {status:?}");
            assert_eq!(details(&status).0, "UNAUTHENTICATED");
        }
    }
    // Who is known and granted nothing is denied everywhere.
    let nobody = closed.principal("nobody", &[]).await;
    let wire = closed.wire(&nobody).await;
    for method in &methods {
        let status = call(&wire, method).await;
        // A pipeline is asked for by what it declares: the empty one declares nothing.
        let wanted = if method.ends_with("ApplyPipeline") { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(status.code(), wanted, "{method}: {status:?}");
    }
    // Health needs nobody.
    let health = HealthClient::new(closed.wire("").await).check(HealthCheckRequest::default()).await;
    assert!(health.is_ok(), "{health:?}");
    closed.world.close().await;
}

#[tokio::test]
async fn two_authorization_headers_and_other_schemes_are_refused() {
    let closed = Closed::new().await;
    let channel = channel(&closed.world).await;
    let good = format!("Bearer {}", closed.root);
    let list = async |headers: &[&str]| {
        let mut request = tonic::Request::new(v1::ListStreamsRequest::default());
        for header in headers {
            request.metadata_mut().append("authorization", header.parse().unwrap());
        }
        StreamServiceClient::new(channel.clone()).list_streams(request).await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(list(&[&good]).await, Ok(()));
    assert_eq!(list(&[&good.replace("Bearer", "bearer")]).await, Ok(()));
    for refused in [vec![&*good, &good], vec!["Basic eDp5"], vec![&closed.root], vec!["Bearer "], vec!["Bearer"]] {
        assert_eq!(list(&refused).await, Err(Code::Unauthenticated), "{refused:?}");
    }
    let long = format!("Bearer {}", "x".repeat(10_000));
    assert_eq!(list(&[&long]).await, Err(Code::Unauthenticated));
    closed.world.close().await;
}

/// A principal with everything on its own names, and calls that name another's.
#[tokio::test]
async fn grants_end_at_their_names() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    let apply = v1::ApplyPipelineRequest { pipeline_toml: PIPELINE.to_owned(), ..Default::default() };
    DeliveryServiceClient::new(root.clone()).apply_pipeline(apply.clone()).await.unwrap();
    StreamServiceClient::new(root.clone()).create_stream(stream_request("mine-1")).await.unwrap();
    let grants = [("*", "stream/mine*"), ("*", "group/mine*"), ("*", "delivery/mine*"), ("*", "table/*mine*")];
    let mine = closed.wire(&closed.principal("me", &grants).await).await;
    let mut streams = StreamServiceClient::new(mine.clone());
    let mut records = RecordServiceClient::new(mine.clone());
    let mut groups = GroupServiceClient::new(mine.clone());
    let mut deliveries = DeliveryServiceClient::new(mine.clone());
    let mut tables = TableServiceClient::new(mine.clone());
    let denied = |what: &str, answer: Result<(), Status>| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{what}: {status:?}");
        assert_eq!(details(&status).0, "PERMISSION_DENIED", "{what}");
        assert_eq!(status.get_error_details().error_info().unwrap().metadata["principal"], "me", "{what}");
    };
    let name = || "theirs".to_owned();
    macro_rules! theirs {
        ($($client:ident.$method:ident($request:expr)),* $(,)?) => {$(
            denied(stringify!($method), $client.$method($request).await.map(drop));
        )*};
    }
    theirs!(
        streams.create_stream(stream_request("their-own")),
        streams.describe_stream(v1::DescribeStreamRequest { name: name() }),
        streams.list_shards(v1::ListShardsRequest { stream: name(), ..Default::default() }),
        streams.update_stream(v1::UpdateStreamRequest { name: name(), ..Default::default() }),
        streams.split_shard(v1::SplitShardRequest { stream: name(), ..Default::default() }),
        streams.merge_shards(v1::MergeShardsRequest { stream: name(), ..Default::default() }),
        streams.update_shard_count(v1::UpdateShardCountRequest { stream: name(), shard_count: 2 }),
        streams.rotate_stream_key(v1::RotateStreamKeyRequest { name: name() }),
        streams.delete_stream(v1::DeleteStreamRequest { name: name() }),
        streams.rewrap_stream_keys(v1::RewrapStreamKeysRequest {}),
        records.put(put("theirs", vec![record("k", "x")])),
        records.get(get("theirs")),
        records.subscribe(v1::SubscribeRequest { stream: name(), position: trim_horizon(), ..Default::default() }),
        groups.join_group(v1::JoinGroupRequest { stream: name(), group: name(), member: name(), ..Default::default() }),
        groups.heartbeat(v1::HeartbeatRequest { stream: name(), group: name(), member: name(), ..Default::default() }),
        groups.leave_group(v1::LeaveGroupRequest { stream: name(), group: name(), member: name() }),
        groups.describe_group(v1::DescribeGroupRequest { stream: name(), group: name() }),
        groups.reset_group(v1::ResetGroupRequest { stream: name(), group: name(), position: trim_horizon() }),
        groups.delete_group(v1::DeleteGroupRequest { stream: name(), group: name() }),
        deliveries.describe_delivery(v1::DescribeDeliveryRequest { name: name() }),
        deliveries.flush_delivery(v1::FlushDeliveryRequest { name: name() }),
        deliveries.pause_delivery(v1::PauseDeliveryRequest { name: name() }),
        deliveries.resume_delivery(v1::ResumeDeliveryRequest { name: name() }),
        deliveries.verify_delivery(v1::VerifyDeliveryRequest { name: name() }),
        deliveries.delete_delivery(v1::DeleteDeliveryRequest { name: name() }),
        deliveries.apply_pipeline(apply.clone()),
        tables.describe_table(v1::DescribeTableRequest { name: name() }),
    );
    let mut maintenance = MaintenanceServiceClient::new(mine.clone());
    let mut principal_service = principals(&mine);
    theirs!(maintenance.list_backups(v1::ListBackupsRequest {}), principal_service.create_principal(named("more")),);
    // What may not be described is not listed.
    let listed = streams.list_streams(v1::ListStreamsRequest::default()).await.unwrap().into_inner().streams;
    assert_eq!(listed.iter().map(|stream| &*stream.name).collect::<Vec<_>>(), ["mine-1"]);
    assert!(deliveries.list_deliveries(v1::ListDeliveriesRequest {}).await.unwrap().into_inner().deliveries.is_empty());
    assert!(tables.list_tables(v1::ListTablesRequest {}).await.unwrap().into_inner().tables.is_empty());
    // Its own works.
    streams.create_stream(stream_request("mine-2")).await.unwrap();
    assert_eq!(offsets(&records.put(put("mine-1", vec![record("k", "x")])).await.unwrap().into_inner()), [0]);
    // A delivery of its own must not read another's stream, nor write another's table.
    for (stream, table) in [("theirs", "mine"), ("mine-1", "theirs")] {
        let pipeline_toml = PIPELINE.split_once("[[delivery]]").unwrap().1.replacen("theirs", "mine-d", 1);
        let pipeline_toml = pipeline_toml.replace("stream = \"theirs\"", &format!("stream = \"{stream}\""));
        let pipeline_toml = pipeline_toml.replace("table = \"theirs\"", &format!("table = \"{table}\""));
        let request = v1::ApplyPipelineRequest {
            pipeline_toml: format!("[[delivery]]{pipeline_toml}"),
            dry_run: false,
            ..v1::ApplyPipelineRequest::default()
        };
        denied(&request.pipeline_toml.clone(), deliveries.apply_pipeline(request).await.map(drop));
    }
    closed.world.close().await;
}

#[tokio::test]
async fn a_query_reads_the_tables_that_its_caller_may() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    let apply = |name: &str| {
        let pipeline_toml = PIPELINE.replace("theirs", name);
        v1::ApplyPipelineRequest { pipeline_toml, dry_run: false, ..v1::ApplyPipelineRequest::default() }
    };
    for name in ["mine", "theirs"] {
        DeliveryServiceClient::new(root.clone()).apply_pipeline(apply(name)).await.unwrap();
    }
    let token = closed.principal("analyst", &[("query", "table/default.mine")]).await;
    let mut flight = FlightSqlServiceClient::new(channel(&closed.world).await);
    flight.set_token(token);
    let mut sql = async |statement: &str| flight.execute(statement.to_owned(), None).await.map(drop);
    sql("select count(*) from mine").await.unwrap();
    for statement in [
        "select count(*) from theirs",
        "select count(*) from default.theirs",
        "select * from mine where 1 = (select count(*) from theirs)",
        "with x as (select * from theirs) select * from x",
        "select * from mine union all select * from theirs",
        "select * from system.streams",
        "select * from nothing",
        "explain select * from theirs",
    ] {
        let error = sql(statement).await.unwrap_err().to_string();
        assert!(error.contains("may not query on table/"), "{statement}: {error}");
    }
    let mut flight = FlightSqlServiceClient::new(channel(&closed.world).await);
    assert!(
        flight.execute("select 1".to_owned(), None).await.unwrap_err().to_string().contains("Unauthenticated")
            || flight.execute("select 1".to_owned(), None).await.unwrap_err().to_string().contains("no credentials")
    );
    closed.world.close().await;
}

#[tokio::test]
async fn names_that_may_not_be_queried_are_not_listed() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    for name in ["mine", "theirs"] {
        let pipeline_toml = PIPELINE.replace("theirs", name);
        let apply = v1::ApplyPipelineRequest { pipeline_toml, dry_run: false, ..v1::ApplyPipelineRequest::default() };
        DeliveryServiceClient::new(root.clone()).apply_pipeline(apply).await.unwrap();
    }
    let token = closed.principal("analyst", &[("query", "table/default.mine")]).await;
    let settings = ConnectionSettings { token: Some(token), ca_file: None };
    let client = Client::connect_with(closed.world.running.grpc_addr().to_string(), &settings).unwrap();
    let listed =
        "select table_schema, table_name from information_schema.tables where table_schema <> 'information_schema'";
    let mut rows = client.query().sql(listed).await.unwrap();
    let mut names = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        let column = arrow::array::AsArray::as_string::<i32>(batch.column(1)).clone();
        names.extend(column.iter().flatten().map(str::to_owned));
    }
    assert_eq!(names, ["mine"]);
    closed.world.close().await;
}

#[tokio::test]
async fn open_calls_end_when_their_principal_loses_something() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    StreamServiceClient::new(root.clone()).create_stream(stream_request("s")).await.unwrap();
    let token = closed.principal("ann", &[("*", "stream/s"), ("put", "stream/other")]).await;
    let mut records = RecordServiceClient::new(closed.wire(&token).await);
    let subscribe = v1::SubscribeRequest { stream: "s".to_owned(), position: trim_horizon(), ..Default::default() };
    let mut pushed = records.subscribe(subscribe.clone()).await.unwrap().into_inner();
    let (sender, puts) = tokio::sync::mpsc::channel(4);
    sender.send(put("s", vec![record("k", "x")])).await.unwrap();
    let mut answers = records.put_stream(tokio_stream::wrappers::ReceiverStream::new(puts)).await.unwrap().into_inner();
    assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [0]);
    let revoke = vec![grant("put", "stream/other")];
    closed.update(v1::UpdatePrincipalRequest { name: "ann".to_owned(), revoke, ..Default::default() }).await;
    let ended = loop {
        match pushed.message().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable, "so that a client calls again");
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    let mut again = records.subscribe(subscribe.clone()).await.unwrap().into_inner();
    assert_eq!(again.message().await.unwrap().unwrap().records.len(), 1);
    closed
        .update(v1::UpdatePrincipalRequest { name: "ann".to_owned(), disabled: Some(true), ..Default::default() })
        .await;
    assert_eq!(again.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(records.subscribe(subscribe).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(records.put(put("s", vec![record("k", "x")])).await.unwrap_err().code(), Code::Unauthenticated);
    closed.world.close().await;
}

#[tokio::test]
async fn each_put_of_a_stream_of_puts_is_asked_for() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    for name in ["s", "t"] {
        StreamServiceClient::new(root.clone()).create_stream(stream_request(name)).await.unwrap();
    }
    let mut records =
        RecordServiceClient::new(closed.wire(&closed.principal("ann", &[("put", "stream/s")]).await).await);
    let puts = ["s", "t", "s"].map(|stream| put(stream, vec![record("k", "x")]));
    let mut answers = records.put_stream(futures::stream::iter(puts)).await.unwrap().into_inner();
    assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [0]);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::PermissionDenied);
    closed.world.close().await;
}

#[tokio::test]
async fn the_metrics_can_be_closed_and_health_stays_open() {
    let closed = Closed::with(&[("MILLRACE_HTTP_METRICS", "closed")]).await;
    let scraper = closed.principal("scraper", &[("metrics", "server")]).await;
    let nobody = closed.principal("nobody", &[]).await;
    let addr = closed.world.running.http_addr();
    let scrape = async |token: &str| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut connection = tokio::net::TcpStream::connect(addr).await.unwrap();
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let request = format!("GET /metrics HTTP/1.1\r\nHost: millrace\r\n{token}Connection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(scrape("").await, "401");
    assert_eq!(scrape("x.y").await, "401");
    assert_eq!(scrape(&nobody).await, "403");
    assert_eq!(scrape(&scraper).await, "200");
    assert_eq!(closed.world.http("/healthz").await.0, 200);
    assert_eq!(closed.world.http("/readyz").await.0, 200);
    closed.world.close().await;
}

#[tokio::test]
async fn changes_and_denials_are_in_the_audit_log_and_nothing_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("audit.jsonl");
    let closed = Closed::with(&[("MILLRACE_AUDIT_PATH", path.to_str().unwrap())]).await;
    let root = closed.wire(&closed.root).await;
    let mut streams = StreamServiceClient::new(root.clone());
    streams.create_stream(stream_request("s")).await.unwrap();
    streams.list_streams(v1::ListStreamsRequest::default()).await.unwrap();
    RecordServiceClient::new(root.clone()).put(put("s", vec![record("key-xyzzy", "data-xyzzy")])).await.unwrap();
    assert!(streams.create_stream(stream_request("s")).await.is_err());
    let nobody = closed.principal("nobody", &[("get", "stream/s")]).await;
    let mut denied = RecordServiceClient::new(closed.wire(&nobody).await);
    assert!(denied.get(get("t")).await.is_err());
    assert!(denied.put(put("s", vec![record("key-xyzzy", "data-xyzzy")])).await.is_err());
    let unknown = StreamServiceClient::new(closed.wire("AKMRxyzzy.plugh").await);
    assert!(unknown.clone().list_streams(v1::ListStreamsRequest::default()).await.is_err());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let words = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let resources: Vec<_> =
                line["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            (words("caller"), words("call"), resources.join(" "), words("outcome"))
        })
        .collect();
    let entry = |caller: &str, call: &str, resources: &str, outcome: &str| {
        [caller, &format!("millrace.v1.{call}"), resources, outcome].map(str::to_owned).into()
    };
    let wanted: Vec<(String, String, String, String)> = vec![
        entry("(local)", "PrincipalService/CreatePrincipal", "server principal/root", "ok"),
        entry("root", "StreamService/CreateStream", "stream/s", "ok"),
        entry("root", "StreamService/CreateStream", "stream/s", "failed"),
        entry("root", "PrincipalService/CreatePrincipal", "server principal/nobody", "ok"),
        entry("nobody", "RecordService/Get", "stream/t", "denied"),
        entry("nobody", "RecordService/Put", "", "denied"),
        entry("(unknown)", "StreamService/ListStreams", "", "unauthenticated"),
    ];
    assert_eq!(told, wanted, "{text}");
    assert!(lines.iter().all(|line| line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:"))));
    for secret in ["xyzzy", "plugh", closed.root.split_once('.').unwrap().1] {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    closed.world.close().await;
}

#[tokio::test]
async fn a_principals_quota_holds_over_all_streams_and_is_counted() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    for name in ["s", "t"] {
        StreamServiceClient::new(root.clone()).create_stream(stream_request(name)).await.unwrap();
    }
    let quota = v1::PrincipalQuota { in_records_per_second: 1, burst_ms: 10_000, ..Default::default() };
    let request =
        v1::CreatePrincipalRequest { grants: vec![grant("put,get", "stream/*")], quota: Some(quota), ..named("ann") };
    let token = principals(&root).create_principal(request).await.unwrap().into_inner().key.unwrap().token;
    let mut records = RecordServiceClient::new(closed.wire(&token).await);
    let many = |count: usize| (0..count).map(|n| record(&n.to_string(), "12345")).collect::<Vec<_>>();
    assert_eq!(records.put(put("s", many(8))).await.unwrap().into_inner().failed_count, 0);
    let answer = records.put(put("t", many(8))).await.unwrap().into_inner();
    // Two of the burst are left, and some more come with time.
    assert!((1..=6).contains(&answer.failed_count), "{answer:?}");
    let last = answer.results.last().unwrap().result.clone().unwrap();
    let v1::put_result::Result::Error(error) = last else { panic!("{last:?}") };
    assert_eq!(error.kind(), v1::put_error::Kind::Throttled);
    assert!(error.message.contains("principal ann is over its quota") && error.retry_after_ms > 0, "{error:?}");
    // Nobody else is held up.
    let other = RecordServiceClient::new(root).put(put("t", many(100))).await.unwrap().into_inner();
    assert_eq!(other.failed_count, 0);
    let read = records.get(get("s")).await.unwrap().into_inner();
    let text = closed.world.http("/metrics").await.1;
    let value = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{principal=\"ann\"}}")));
        line.unwrap_or_else(|| panic!("{name}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    let stored = u64::from(16 - answer.failed_count);
    assert_eq!(value("millrace_principals_incoming_records_total"), stored);
    assert_eq!(value("millrace_principals_incoming_bytes_total"), stored * 6);
    assert_eq!(value("millrace_principals_outgoing_records_total"), read.records.len() as u64);
    assert_eq!(value("millrace_principals_write_throttled_records_total"), u64::from(answer.failed_count));
    closed.world.close().await;
}

#[tokio::test]
async fn a_put_over_a_principals_quota_waits_where_it_is_to_wait() {
    let closed = Closed::new().await;
    let root = closed.wire(&closed.root).await;
    StreamServiceClient::new(root.clone()).create_stream(stream_request("s")).await.unwrap();
    let quota = v1::PrincipalQuota { in_records_per_second: 100, burst_ms: 10, delay: true, ..Default::default() };
    let request =
        v1::CreatePrincipalRequest { grants: vec![grant("put", "stream/*")], quota: Some(quota), ..named("ann") };
    let token = principals(&root).create_principal(request).await.unwrap().into_inner().key.unwrap().token;
    let mut records = RecordServiceClient::new(closed.wire(&token).await);
    let began = std::time::Instant::now();
    let many = (0..21).map(|n| record(&n.to_string(), "x")).collect::<Vec<_>>();
    assert_eq!(records.put(put("s", many)).await.unwrap().into_inner().failed_count, 0);
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    closed.world.close().await;
}

#[tokio::test]
async fn the_client_brings_its_token_and_tells_denials_apart() {
    let closed = Closed::new().await;
    let endpoint = closed.world.running.grpc_addr().to_string();
    let connect = |token: &str| {
        let settings = ConnectionSettings { token: Some(token.to_owned()), ca_file: None };
        Client::connect_with(&endpoint, &settings).unwrap()
    };
    let root = connect(&closed.root);
    root.admin().create_stream(stream_request("s")).await.unwrap();
    let token = closed.principal("ann", &[("put", "stream/s"), ("describe_stream", "stream/s")]).await;
    let ann = connect(&token);
    let producer = ann.producer("s");
    let placed = producer.send(millrace_client::PutRecord::new("k", "x")).await.unwrap().await.unwrap();
    assert_eq!(placed.offset, 0);
    producer.close().await.unwrap();
    let error = ann.admin().delete_stream("s").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ClientKind::Denied, Some("PERMISSION_DENIED")));
    assert!(!error.is_retryable() && !error.may_have_applied());
    let error = Client::connect(&endpoint).unwrap().admin().list_streams().await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ClientKind::Denied, Some("UNAUTHENTICATED")));
    closed.world.close().await;
}

#[tokio::test]
async fn principals_are_there_after_a_restart() {
    let closed = Closed::new().await;
    let token = closed.principal("ann", &[("describe_stream", "stream/*")]).await;
    let Closed { world, .. } = closed;
    let folder = world.close().await;
    let environment = [("MILLRACE_AUTH", "on"), ("MILLRACE_ENCRYPTION_MASTER_KEY", HEX)];
    let world = World::on(folder, &environment).await;
    let channel = channel(&world).await;
    let list = async |token: &str| {
        let request = v1::ListStreamsRequest::default();
        StreamServiceClient::new(wire(&channel, token)).list_streams(request).await.map(drop)
    };
    list(&token).await.unwrap();
    assert_eq!(list("").await.unwrap_err().code(), Code::Unauthenticated, "this machine is not let in any more");
    world.close().await;
}
