//! Delivery streams of the Firehose protocol.

use millrace_storage::meta::keys::delivery_stream::{DeliveryStreamKey, DeliveryStreamValue};
use millrace_storage::meta::keys::{self, Stored};

use super::{Store, contended};
use crate::api::aws::protocol::AwsError;

impl Store {
    /// A delivery stream's declaration.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn delivery_stream(
        &self,
        name: &str,
    ) -> Result<Option<Stored<DeliveryStreamValue>>, AwsError> {
        Ok(keys::get(&*self.meta, &key_of(name)).await?)
    }

    /// All delivery streams, by name.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn delivery_streams(
        &self,
    ) -> Result<Vec<(String, Stored<DeliveryStreamValue>)>, AwsError> {
        let found = keys::scan::<DeliveryStreamKey>(&*self.meta).await?;
        Ok(found.into_iter().map(|(key, stored)| (key.name, stored)).collect())
    }

    /// Writes or removes a declaration that is still as it was found.
    ///
    /// # Errors
    /// `ResourceInUseException` where it is not; where the meta store fails.
    pub(in crate::api::aws) async fn set_delivery_stream(
        &self,
        name: &str,
        before: Option<&Stored<DeliveryStreamValue>>,
        after: Option<&DeliveryStreamValue>,
    ) -> Result<(), AwsError> {
        let key = key_of(name);
        let write = after.map_or_else(|| keys::delete(&key), |value| keys::put(&key, value));
        match self.commit(vec![keys::as_found(&key, before)], vec![write]).await? {
            true => Ok(()),
            false => Err(contended("the delivery stream")),
        }
    }
}

fn key_of(name: &str) -> DeliveryStreamKey {
    DeliveryStreamKey { name: name.to_owned() }
}
