//! Calls for principals. Each needs a caller that may manage them.

use millrace_proto::v1::{
    CreatePrincipalRequest, DeletePrincipalRequest, DescribePrincipalRequest, ListPrincipalsRequest, NewAccessKey,
    Principal, RotatePrincipalRequest, UpdatePrincipalRequest,
};
use std::time::Duration;

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// Makes a principal. Its key's secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken, `FailedPrecondition` where the server has no master key.
    pub async fn create_principal(&self, request: CreatePrincipalRequest) -> Result<(Principal, NewAccessKey)> {
        let answer = self.principals.clone().create_principal(request).await?.into_inner();
        with_key(answer.principal, answer.key)
    }

    /// One principal.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_principal(&self, name: &str) -> Result<Principal> {
        let request = DescribePrincipalRequest { name: name.to_owned() };
        let answer = self.principals.clone().describe_principal(request).await?.into_inner();
        answer.principal.ok_or_else(|| Error::malformed("the principal"))
    }

    /// All principals, by name.
    ///
    /// # Errors
    /// What keeps the server from reading them.
    pub async fn list_principals(&self) -> Result<Vec<Principal>> {
        Ok(self.principals.clone().list_principals(ListPrincipalsRequest {}).await?.into_inner().principals)
    }

    /// Grants, revokes, disables, enables, and sets the quota.
    ///
    /// # Errors
    /// `NotFound` where the principal or a revoked grant is not there; `FailedPrecondition` where nobody would be left who
    /// may manage principals.
    pub async fn update_principal(&self, request: UpdatePrincipalRequest) -> Result<Principal> {
        let answer = self.principals.clone().update_principal(request).await?.into_inner();
        answer.principal.ok_or_else(|| Error::malformed("the principal"))
    }

    /// Gives a principal a new key. The old one ends at once, or after an overlap.
    ///
    /// # Errors
    /// `NotFound` where there is no such principal.
    pub async fn rotate_principal(&self, name: &str, overlap: Duration) -> Result<(Principal, NewAccessKey)> {
        let overlap_ms = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
        let request = RotatePrincipalRequest { name: name.to_owned(), overlap_ms };
        let answer = self.principals.clone().rotate_principal(request).await?.into_inner();
        with_key(answer.principal, answer.key)
    }

    /// Deletes a principal, which is refused from then on.
    ///
    /// # Errors
    /// `NotFound` where there is none; `FailedPrecondition` for the last that may manage others.
    pub async fn delete_principal(&self, name: &str) -> Result<()> {
        let request = DeletePrincipalRequest { name: name.to_owned() };
        self.principals.clone().delete_principal(request).await?;
        Ok(())
    }
}

fn with_key(principal: Option<Principal>, key: Option<NewAccessKey>) -> Result<(Principal, NewAccessKey)> {
    principal.zip(key).ok_or_else(|| Error::malformed("the principal and its key"))
}
