//! What a start does: every declaration has its parts, or they are gone.
//!
//! A declaration is written before its parts and removed after them, so a crash leaves at most too few of them. Parts that
//! are as declared are left alone.

use millrace_storage::meta::keys::delivery_stream::{DeliveryStreamState, DeliveryStreamValue};

use super::Firehose;
use super::name::Name;
use super::target::told;
use crate::api::aws::protocol::AwsError;
use crate::error::{Error, Kind};

impl Firehose {
    /// Finishes what a crash interrupted. What cannot be finished is logged, and told as the state that it is in.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(super) async fn recover(&self) -> crate::error::Result<()> {
        let all = self.store.delivery_streams().await.map_err(|error| {
            Error::new(Kind::Unavailable, format_args!("the delivery streams: {}", error.message()))
        })?;
        for (name, found) in all {
            if let Err(error) = self.finish(&name, &found.value).await {
                tracing::error!(delivery_stream = name, message = error.message(), "a delivery stream is not whole");
                self.failures.lock().insert(name, error.message().to_owned());
            }
        }
        Ok(())
    }

    async fn finish(&self, name: &str, value: &DeliveryStreamValue) -> Result<(), AwsError> {
        let name = Name::checked(name)?;
        if value.state() == DeliveryStreamState::Deleting {
            tracing::info!(delivery_stream = %name, "finishing the deletion of a delivery stream");
            return self.remove_parts(&name, value.source_stream_arn.is_empty()).await;
        }
        self.sources.note(&name, value);
        let pipeline = self.pipelines().of(&name, value, self.lacks_table(value).await?)?;
        self.deliveries.declare(&pipeline, false, &|_| Ok(())).await.map_err(told)?;
        if value.state() == DeliveryStreamState::Creating {
            tracing::info!(delivery_stream = %name, "finished the creation of a delivery stream");
            self.set_state(&name, DeliveryStreamState::Active).await?;
        }
        Ok(())
    }
}
