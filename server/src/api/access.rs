//! Who may call which method: one table for all of gRPC, the layer that authenticates each call before its handler runs, and
//! the [`Call`] by which a handler asks for the names that only it knows.
//!
//! A method that the table does not name needs `admin`: what is new is closed until somebody says what it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request as HttpRequest, Response as HttpResponse, header};
use axum::middleware::Next;
use parking_lot::Mutex;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Request, Status};

use super::lasting::lasting;
use crate::auth::{Action, Auth, Caller, Entry, Outcome, Payer, PrincipalName, Resource};
use crate::error::{Error, Kind, Result};

/// Names that one call's entry in the audit log tells.
const NAMES_MAX: usize = 16;

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    action: Action,
    scope: Scope,
    /// Whether it changes what is, so that each call is told in the audit log.
    is_change: bool,
    /// Whether it may stay open for long, and must end when its principal loses something.
    is_long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Anybody: health, and reflection, which tells no more than the published `.proto` files.
    Open,
    /// The server itself: the layer decides.
    Server,
    /// Named resources: the layer refuses who has no such grant at all, the handler decides by name.
    Named,
}

const fn named(action: Action) -> Rule {
    Rule { action, scope: Scope::Named, is_change: false, is_long: false }
}

const fn server(action: Action) -> Rule {
    Rule { action, scope: Scope::Server, is_change: true, is_long: false }
}

impl Rule {
    const fn change(self) -> Self {
        Self { is_change: true, ..self }
    }

    const fn long(self) -> Self {
        Self { is_long: true, ..self }
    }
}

/// What a method, as its path names it, needs.
pub(super) fn rule_of(path: &str) -> Rule {
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    let rule = match service {
        "grpc.health.v1.Health" | "grpc.reflection.v1.ServerReflection" => {
            Some(Rule { action: Action::Admin, scope: Scope::Open, is_change: false, is_long: false })
        }
        "millrace.v1.StreamService" => of_streams(method),
        "millrace.v1.RecordService" => of_records(method),
        "millrace.v1.GroupService" => of_groups(method),
        "millrace.v1.TransformService" => of_transforms(method),
        "millrace.v1.DeliveryService" => of_deliveries(method),
        "millrace.v1.ImportService" => of_imports(method),
        "millrace.v1.TableService" => of_tables(method),
        "millrace.v1.MaintenanceService" => of_maintenance(method),
        // Tables are asked for when a statement is planned. Handshakes, and what the server does not do, need no name.
        "arrow.flight.protocol.FlightService" => Some(named(Action::Query).long()),
        _ => None,
    };
    rule.unwrap_or(server(Action::Admin))
}

fn of_streams(method: &str) -> Option<Rule> {
    Some(match method {
        "CreateStream" => named(Action::CreateStream).change(),
        "DescribeStream" | "ListShards" | "ListStreams" => named(Action::DescribeStream),
        "UpdateStream" | "SplitShard" | "MergeShards" | "UpdateShardCount" | "RotateStreamKey" => {
            named(Action::UpdateStream).change()
        }
        "DeleteStream" | "ShredStream" => named(Action::DeleteStream).change(),
        "RewrapStreamKeys" => server(Action::Maintain),
        _ => return None,
    })
}

fn of_records(method: &str) -> Option<Rule> {
    Some(match method {
        "Put" => named(Action::Put),
        "PutStream" => named(Action::Put).long(),
        "Get" => named(Action::Get),
        "Subscribe" => named(Action::Subscribe).long(),
        _ => return None,
    })
}

fn of_groups(method: &str) -> Option<Rule> {
    Some(match method {
        "JoinGroup" | "Heartbeat" | "LeaveGroup" | "Checkpoint" | "ReleaseLease" => named(Action::JoinGroup),
        "DescribeGroup" | "ListGroups" => named(Action::DescribeGroup),
        "ResetGroup" => named(Action::ResetGroup).change(),
        "DeleteGroup" => named(Action::DeleteGroup).change(),
        _ => return None,
    })
}

/// A module is any delivery's: who may push one changes what all of them do.
fn of_transforms(method: &str) -> Option<Rule> {
    let known = [
        "PushTransform",
        "ListTransforms",
        "DescribeTransform",
        "RollBackTransform",
        "SetTransformCanary",
        "DeleteTransform",
        "TestTransform",
    ];
    known.contains(&method).then(|| server(Action::ManageTransforms))
}

fn of_deliveries(method: &str) -> Option<Rule> {
    Some(match method {
        // Streams and tables are declared too: the handler asks for each by its own action.
        "ApplyPipeline" => named(Action::CreateDelivery).change(),
        "DescribeDelivery" | "ListDeliveries" | "VerifyDelivery" => named(Action::DescribeDelivery),
        "FlushDelivery" | "PauseDelivery" | "ResumeDelivery" | "ReplayDelivery" => {
            named(Action::UpdateDelivery).change()
        }
        "DeleteDelivery" => named(Action::DeleteDelivery).change(),
        "RebuildTable" => named(Action::UpdateTable).change(),
        _ => return None,
    })
}

fn of_imports(method: &str) -> Option<Rule> {
    Some(match method {
        "ListImports" | "DescribeImport" | "ListImportRuns" | "ListImportObjects" => named(Action::DescribeImport),
        "RunImport" | "ReplayImport" | "PauseImport" | "ResumeImport" => named(Action::UpdateImport).change(),
        "DeleteImport" => named(Action::DeleteImport).change(),
        _ => return None,
    })
}

fn of_tables(method: &str) -> Option<Rule> {
    matches!(method, "ListTables" | "DescribeTable").then(|| named(Action::DescribeTable))
}

fn of_maintenance(method: &str) -> Option<Rule> {
    matches!(method, "TakeBackup" | "ListBackups" | "PruneBackups" | "VerifyLog").then(|| server(Action::Maintain))
}

/// One call: who makes it, what its method needs, and what it named. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    auth: Auth,
    caller: Caller,
    rule: Rule,
    method: String,
    peer: Option<SocketAddr>,
    named: Mutex<Vec<String>>,
    denied: AtomicBool,
}

impl Call {
    /// The call that a request is. A request that passed no layer is nobody's.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            Error::new(
                Kind::Unauthenticated,
                "the call was not authenticated: it did not come through the server's layer",
            )
        })
    }

    /// Asks for the method's own action on a resource.
    ///
    /// # Errors
    /// Where no grant allows it; it is told in the audit log.
    pub(super) fn allow(&self, resource: &Resource) -> Result<()> {
        self.allow_to(self.0.rule.action, resource)
    }

    /// Asks for another action on a resource.
    pub(super) fn allow_to(&self, action: Action, resource: &Resource) -> Result<()> {
        if self.0.rule.is_change {
            let mut named = self.0.named.lock();
            if named.len() < NAMES_MAX {
                named.push(resource.to_string());
            }
        }
        self.0.caller.check(action, resource).inspect_err(|error| self.denied(action, resource, error))
    }

    /// Notes a principal that the call is about, for the audit log.
    pub(super) fn names(&self, principal: &PrincipalName) {
        self.0.named.lock().push(format!("principal/{principal}"));
    }

    /// Whether the method's own action is allowed on a resource: for lists, which leave the others out.
    pub(super) fn may(&self, resource: &Resource) -> bool {
        self.0.caller.may(self.0.rule.action, resource)
    }

    /// Who calls.
    pub(super) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Who pays.
    pub(super) fn payer(&self) -> Option<Arc<Payer>> {
        self.0.caller.payer()
    }

    /// Passes on what a service answered that asks the caller's grants itself, and tells of a denial.
    pub(super) fn asked<T>(&self, answer: Result<T>) -> Result<T> {
        answer.inspect_err(|error| {
            if matches!(error.kind(), Kind::PermissionDenied | Kind::Unauthenticated) {
                let resources = error.objects().iter().filter(|(noun, _)| *noun == "resource");
                let resources: Vec<String> = resources.map(|(_, name)| name.clone()).collect();
                self.0.auth.count_denied(self.0.rule.action);
                self.tell(outcome_of(error), &resources, &error.to_string());
            }
        })
    }

    fn denied(&self, action: Action, resource: &Resource, error: &Error) {
        self.0.denied.store(true, Relaxed);
        self.0.auth.count_denied(action);
        self.tell(outcome_of(error), &[resource.to_string()], &error.to_string());
    }

    fn tell(&self, outcome: Outcome, resources: &[String], reason: &str) {
        let Inner { auth, caller, method, peer, .. } = &*self.0;
        let caller = caller.to_string();
        auth.audit().tell(&Entry { caller: &caller, peer: *peer, call: method, resources, outcome, reason });
    }

    /// Tells of a change that was made, or failed.
    fn ended(&self, headers: &HeaderMap) {
        if !self.0.rule.is_change || self.0.denied.load(Relaxed) {
            return;
        }
        let code = headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        let named = std::mem::take(&mut *self.0.named.lock());
        match code {
            None | Some(Code::Ok) => self.tell(Outcome::Ok, &named, ""),
            Some(code) => self.tell(Outcome::Failed, &named, code.description()),
        }
    }
}

pub(super) const fn outcome_of(error: &Error) -> Outcome {
    match error.kind() {
        Kind::Unauthenticated => Outcome::Unauthenticated,
        _ => Outcome::Denied,
    }
}

/// Authenticates a call, and refuses it here where its method's action is granted on nothing.
pub(super) async fn authenticate(
    State(auth): State<Auth>,
    request: HttpRequest<Body>,
    next: Next,
) -> HttpResponse<Body> {
    let rule = rule_of(request.uri().path());
    if rule.scope == Scope::Open {
        return next.run(request).await;
    }
    match enter(&auth, rule, &request) {
        Ok(call) => run(call, request, next).await,
        Err(error) => Status::from(error).into_http(),
    }
}

async fn run(call: Call, mut request: HttpRequest<Body>, next: Next) -> HttpResponse<Body> {
    request.extensions_mut().insert(call.clone());
    let response = next.run(request).await;
    call.ended(response.headers());
    match call.caller().lasts() {
        Some(lasts) if call.0.rule.is_long => response.map(|body| lasting(body, lasts.clone())),
        _ => response,
    }
}

fn enter(auth: &Auth, rule: Rule, request: &HttpRequest<Body>) -> Result<Call> {
    let method: String = request.uri().path().trim_start_matches('/').chars().take(128).collect();
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let caller = caller_of(auth, request.headers(), peer).inspect_err(|error| {
        let (outcome, reason) = (Outcome::Unauthenticated, &*error.to_string());
        auth.audit().tell(&Entry { caller: "(unknown)", peer, call: &method, resources: &[], outcome, reason });
    })?;
    let (named, denied) = (Mutex::default(), AtomicBool::default());
    let call = Call(Arc::new(Inner { auth: auth.clone(), caller, rule, method, peer, named, denied }));
    match rule.scope {
        Scope::Server => call.allow(&Resource::server())?,
        // A pipeline file may declare streams or tables only.
        Scope::Named if rule.action != Action::CreateDelivery => call.allow_some()?,
        Scope::Named | Scope::Open => {}
    }
    Ok(call)
}

impl Call {
    fn allow_some(&self) -> Result<()> {
        let action = self.0.rule.action;
        let checked = self.0.caller.check_some(action, action.kind());
        checked.inspect_err(|error| {
            self.0.denied.store(true, Relaxed);
            self.0.auth.count_denied(action);
            self.tell(outcome_of(error), &[], &error.to_string());
        })
    }
}

/// Who the headers say that calls, verified.
pub(super) fn caller_of(auth: &Auth, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Caller> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return auth.anonymous(peer) };
    if values.next().is_some() {
        return Err(Error::new(Kind::Unauthenticated, "the call has more than one authorization header"));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    // With auth off even what is no token of ours lets in.
    auth.bearer(token.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    /// A method that is added to the wire and not to the table is closed, and this tells whoever adds it.
    #[test]
    fn every_method_of_the_wire_has_its_own_rule() {
        let set: FileDescriptorSet = prost::Message::decode(millrace_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut count = 0;
        for service in set.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/millrace.v1.{}/{}", service.name(), method.name());
                let rule = rule_of(&path);
                let is_admin = service.name() == "PrincipalService";
                assert_eq!(rule.action == Action::Admin, is_admin, "{path} has no rule of its own in api/access.rs");
                let reads = ["Describe", "List", "Get", "Verify"].iter().any(|verb| method.name().starts_with(verb));
                let is_data =
                    ["Put", "PutStream", "Subscribe"].contains(&method.name()) || rule.action == Action::JoinGroup;
                assert_eq!(rule.is_change, !reads && !is_data || rule.scope == Scope::Server, "{path}");
                let streams = method.client_streaming() || method.server_streaming();
                assert_eq!(rule.is_long, streams && rule.scope == Scope::Named, "{path}");
                count += 1;
            }
        }
        assert!(count > 40, "{count}");
    }

    #[test]
    fn what_is_unknown_needs_an_administrator_and_only_health_and_reflection_need_nobody() {
        for path in ["/millrace.v1.NewService/Do", "/millrace.v1.StreamService/New", "/", "", "/x", "/a/b/c"] {
            assert_eq!(rule_of(path), server(Action::Admin), "{path}");
        }
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            assert_eq!(rule_of(path).scope, Scope::Open, "{path}");
        }
        assert_eq!(rule_of("/arrow.flight.protocol.FlightService/DoGet").action, Action::Query);
    }
}
