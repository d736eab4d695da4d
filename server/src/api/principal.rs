//! `PrincipalService`: principals, their keys, grants and quotas. The layer has asked for `admin` before any of it runs.

use std::time::Duration;

use millrace_proto::v1;
use millrace_proto::v1::principal_service_server::PrincipalService;
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::auth::{Auth, Changes, Created, Grant, PayerQuota, PrincipalName, PrincipalView};
use crate::complete::complete;
use crate::error::Result;
use crate::streams::OverQuota;

#[derive(Debug)]
pub(super) struct PrincipalHandler {
    auth: Auth,
}

impl PrincipalHandler {
    pub(super) const fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[tonic::async_trait]
impl PrincipalService for PrincipalHandler {
    async fn create_principal(
        &self,
        request: Request<v1::CreatePrincipalRequest>,
    ) -> Result<Response<v1::CreatePrincipalResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::CreatePrincipalRequest { name, grants, quota } = request.into_inner();
        let (auth, name, grants) = (self.auth.clone(), PrincipalName::try_from(name)?, read_grants(&grants)?);
        call.names(&name);
        let quota = quota.map(read_quota).unwrap_or_default();
        let created =
            complete("a creation", async move { auth.registry().create(call.caller(), name, grants, quota).await });
        let (principal, key) = shown_once(created.await?);
        Ok(Response::new(v1::CreatePrincipalResponse { principal: Some(principal), key: Some(key) }))
    }

    async fn describe_principal(
        &self,
        request: Request<v1::DescribePrincipalRequest>,
    ) -> Result<Response<v1::DescribePrincipalResponse>, Status> {
        let call = Call::of(&request)?;
        let name = PrincipalName::try_from(request.into_inner().name)?;
        call.names(&name);
        let view = self.auth.registry().describe(&name).await?;
        Ok(Response::new(v1::DescribePrincipalResponse { principal: Some(principal(view)) }))
    }

    async fn list_principals(
        &self,
        request: Request<v1::ListPrincipalsRequest>,
    ) -> Result<Response<v1::ListPrincipalsResponse>, Status> {
        Call::of(&request)?;
        let principals = self.auth.registry().list().await?.into_iter().map(principal).collect();
        Ok(Response::new(v1::ListPrincipalsResponse { principals }))
    }

    async fn update_principal(
        &self,
        request: Request<v1::UpdatePrincipalRequest>,
    ) -> Result<Response<v1::UpdatePrincipalResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::UpdatePrincipalRequest { name, disabled, grant, revoke, quota } = request.into_inner();
        let (auth, name) = (self.auth.clone(), PrincipalName::try_from(name)?);
        call.names(&name);
        let (grant, revoke, quota) = (read_grants(&grant)?, read_grants(&revoke)?, quota.map(read_quota));
        let changes = Changes { disabled, grant, revoke, quota };
        let view = complete("an update", async move { auth.registry().update(&name, changes).await }).await?;
        Ok(Response::new(v1::UpdatePrincipalResponse { principal: Some(principal(view)) }))
    }

    async fn rotate_principal(
        &self,
        request: Request<v1::RotatePrincipalRequest>,
    ) -> Result<Response<v1::RotatePrincipalResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::RotatePrincipalRequest { name, overlap_ms } = request.into_inner();
        let (auth, name) = (self.auth.clone(), PrincipalName::try_from(name)?);
        call.names(&name);
        let overlap = Duration::from_millis(overlap_ms);
        let created = complete("a rotation", async move { auth.registry().rotate(&name, overlap).await });
        let (principal, key) = shown_once(created.await?);
        Ok(Response::new(v1::RotatePrincipalResponse { principal: Some(principal), key: Some(key) }))
    }

    async fn delete_principal(
        &self,
        request: Request<v1::DeletePrincipalRequest>,
    ) -> Result<Response<v1::DeletePrincipalResponse>, Status> {
        let call = Call::of(&request)?;
        let (auth, name) = (self.auth.clone(), PrincipalName::try_from(request.into_inner().name)?);
        call.names(&name);
        complete("a deletion", async move { auth.registry().delete(&name).await }).await?;
        Ok(Response::new(v1::DeletePrincipalResponse {}))
    }
}

fn read_grants(grants: &[v1::Grant]) -> Result<Vec<Grant>> {
    grants.iter().map(|grant| Grant::parse(grant.actions.iter().map(String::as_str), &grant.resource)).collect()
}

fn read_quota(quota: v1::PrincipalQuota) -> PayerQuota {
    let v1::PrincipalQuota { in_bytes_per_second, in_records_per_second, burst_ms, delay } = quota;
    PayerQuota {
        in_bytes_per_second,
        in_records_per_second,
        burst: if burst_ms == 0 { PayerQuota::default().burst } else { Duration::from_millis(burst_ms) },
        over_quota: if delay { OverQuota::Delay } else { OverQuota::Reject },
    }
}

/// The one place where a secret leaves the process.
fn shown_once(created: Created) -> (v1::Principal, v1::NewAccessKey) {
    let Created { principal: view, id, secret } = created;
    let key = v1::NewAccessKey {
        access_key_id: id.to_string(),
        secret_access_key: secret.reveal().to_owned(),
        token: format!("{id}.{}", secret.reveal()),
    };
    (principal(view), key)
}

fn principal(view: PrincipalView) -> v1::Principal {
    let PrincipalView { name, created_at, disabled, keys, grants, quota } = view;
    let keys = keys.into_iter().map(|key| v1::AccessKey {
        id: key.id.to_string(),
        created_at_ms: key.created_at.as_millis(),
        expires_at_ms: key.expires_at.map_or(0, |end| end.as_millis()),
        master_key_id: key.master_key_id,
        unusable: key.unusable.unwrap_or_default(),
    });
    v1::Principal {
        name: name.to_string(),
        created_at_ms: created_at.as_millis(),
        disabled,
        keys: keys.collect(),
        grants: grants.iter().map(|grant| v1::Grant { actions: grant.actions(), resource: grant.resource() }).collect(),
        quota: Some(v1::PrincipalQuota {
            in_bytes_per_second: quota.in_bytes_per_second,
            in_records_per_second: quota.in_records_per_second,
            burst_ms: u64::try_from(quota.burst.as_millis()).unwrap_or(u64::MAX),
            delay: quota.over_quota == OverQuota::Delay,
        }),
    }
}
