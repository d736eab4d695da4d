//! Which delivery stream a request is about, whether its caller may, and what is said where a part of the server says no.

use std::time::Instant;

use millrace_storage::meta::keys::Stored;
use millrace_storage::meta::keys::delivery_stream::DeliveryStreamValue;

use super::Firehose;
use super::name::Name;
use crate::api::asked::needs;
use crate::api::aws::protocol::{AwsError, Call, kms_code};
use crate::auth::{Resource, ResourceKind};
use crate::delivery::Asked;
use crate::error::{Error, Kind};
use crate::streams::StreamName;

/// Asks for the stream that a delivery stream reads and the table that it writes. What is its own goes with it.
///
/// # Errors
/// `PermissionDenied`.
pub(super) fn allow(call: &Call, asked: &Asked<'_>) -> crate::error::Result<()> {
    let own = |resource: &Resource| match resource.kind() {
        ResourceKind::Delivery => true,
        ResourceKind::Stream => StreamName::any(resource.name()).is_ok_and(|name| name.is_hidden()),
        _ => false,
    };
    let needs = needs(asked).into_iter().filter(|(_, resource)| !own(resource));
    needs.into_iter().try_for_each(|(action, resource)| call.caller.allow(action, &resource))
}

impl Firehose {
    /// Asks whether the caller may, and then for one of the operation's calls. An operation asks once.
    ///
    /// # Errors
    /// `AccessDeniedException`; `LimitExceededException` where its rate is used up.
    pub(super) fn authorize(&self, call: &Call, arn: &str) -> Result<(), AwsError> {
        call.caller.authorize(arn)?;
        self.control.take(call, arn, Instant::now())
    }

    /// The name that a request carries, where its caller may do this to it.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(super) fn name(&self, call: &Call, name: &str) -> Result<Name, AwsError> {
        let name = Name::checked(name)?;
        self.authorize(call, &self.arns.delivery_stream(name.as_str()))?;
        Ok(name)
    }

    /// A delivery stream as it is declared.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub(super) async fn found(&self, name: &Name) -> Result<Stored<DeliveryStreamValue>, AwsError> {
        self.store.delivery_stream(name.as_str()).await?.ok_or_else(|| self.not_found(name))
    }

    pub(super) fn not_found(&self, name: &Name) -> AwsError {
        AwsError::not_found(format!("Firehose {name} under account {} not found.", self.arns.account_id()))
    }

    /// Changes a declaration while nothing else does, unless `change` says no.
    ///
    /// # Errors
    /// Those of `change`; `ResourceNotFoundException`; where the meta store fails.
    pub(super) async fn change(
        &self,
        name: &Name,
        change: impl FnOnce(&mut DeliveryStreamValue) -> Result<(), AwsError> + Send,
    ) -> Result<(), AwsError> {
        let before = self.found(name).await?;
        let mut value = before.value.clone();
        change(&mut value)?;
        if value == before.value {
            return Ok(());
        }
        self.store.set_delivery_stream(name.as_str(), Some(&before), Some(&value)).await
    }
}

/// What streams and deliveries say, in the codes that the operations declare.
pub(super) fn told(error: Error) -> AwsError {
    let message = error.to_string();
    if let Some(fault) = error.key_fault() {
        // As KMS says it, in the member that the shape has for it.
        return AwsError::new("InvalidKMSResourceException", message).with_field("code", kms_code(fault));
    }
    match error.kind() {
        // A stream, table or transform that a configuration names is a wrong argument.
        Kind::Invalid | Kind::NotFound => AwsError::invalid(message),
        Kind::Throttled { .. } | Kind::Exhausted { .. } | Kind::Unavailable => AwsError::unavailable(message),
        _ => error.into(),
    }
}
