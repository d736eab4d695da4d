//! `DeleteDeliveryStream`: what is buffered is delivered first; done when it is answered.

use millrace_storage::meta::keys::delivery_stream::DeliveryStreamState;
use serde::{Deserialize, Serialize};

use super::Firehose;
use super::name::Name;
use super::target::told;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::error::{Error, Kind};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    delivery_stream_name: String,
    allow_force_delete: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Output {}

impl Firehose {
    pub(super) async fn delete_delivery_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let _turn = self.changes.lock().await;
        let found = self.found(&name).await?;
        let is_direct = found.value.source_stream_arn.is_empty();
        if is_direct {
            self.deliver_rest(&name, input.allow_force_delete == Some(true)).await?;
        }
        self.set_state(&name, DeliveryStreamState::Deleting).await?;
        self.remove_parts(&name, is_direct).await?;
        self.failures.lock().remove(name.as_str());
        self.sources.forget(&name);
        tracing::info!(delivery_stream = %name, "deleted a delivery stream");
        call.reply(&Output {})
    }

    /// Delivers what was acknowledged. With `force`, what cannot be is given up.
    async fn deliver_rest(&self, name: &Name, force: bool) -> Result<(), AwsError> {
        let flushing = self.deliveries.flush(name.as_str());
        let flushed = match tokio::time::timeout(self.settings.delete_flush_timeout, flushing).await {
            Ok(flushed) => flushed.map(drop),
            Err(_) => {
                Err(Error::unavailable(format_args!("it took more than {:?}", self.settings.delete_flush_timeout)))
            }
        };
        match flushed {
            Ok(()) => Ok(()),
            // A creation that was never finished has nothing to deliver.
            Err(error) if *error.kind() == Kind::NotFound => Ok(()),
            Err(error) if force => {
                tracing::warn!(delivery_stream = %name, %error, "records are given up with their delivery stream");
                Ok(())
            }
            Err(error) => Err(AwsError::in_use(format!(
                "Firehose {name} has records that could not be delivered ({error}); set AllowForceDelete to give them up"
            ))),
        }
    }

    /// Removes the delivery, the hidden stream and the declaration, in this order; what is gone already stays so.
    ///
    /// # Errors
    /// Where one cannot be removed; the declaration stays then.
    pub(super) async fn remove_parts(&self, name: &Name, is_direct: bool) -> Result<(), AwsError> {
        gone(self.deliveries.delete(name.as_str()).await)?;
        if is_direct {
            gone(self.streams.delete(&name.stream()?).await)?;
        }
        match self.store.delivery_stream(name.as_str()).await? {
            Some(found) => self.store.set_delivery_stream(name.as_str(), Some(&found), None).await,
            None => Ok(()),
        }
    }
}

fn gone(removed: crate::error::Result<()>) -> Result<(), AwsError> {
    match removed {
        Err(error) if *error.kind() == Kind::NotFound => Ok(()),
        // A batch under way that cannot be finished now.
        Err(error) if *error.kind() == Kind::Unavailable => Err(AwsError::in_use(error.to_string())),
        removed => removed.map_err(told),
    }
}
