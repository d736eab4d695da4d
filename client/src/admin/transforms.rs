//! Calls on transform modules.

use bytes::Bytes;
use millrace_proto::v1::{
    DeleteTransformRequest, DescribeTransformRequest, ListTransformsRequest, PushTransformRequest,
    PushTransformResponse, RollBackTransformRequest, SetTransformCanaryRequest, TestTransformRequest, TestedRecord,
    Transform,
};

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// Adds a version of a module: a component, or a core module with its ABI. It is in use when this returns, in all
    /// batches or, with a share above 0, in so many of 100.
    ///
    /// # Errors
    /// `Invalid` where it is no transform.
    pub async fn push_transform(
        &self,
        name: &str,
        module: Bytes,
        canary_percent: u32,
    ) -> Result<PushTransformResponse> {
        let request = PushTransformRequest { name: name.to_owned(), module, canary_percent };
        Ok(self.transforms.clone().push_transform(request).await?.into_inner())
    }

    /// All modules, by name.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn list_transforms(&self) -> Result<Vec<Transform>> {
        Ok(self.transforms.clone().list_transforms(ListTransformsRequest {}).await?.into_inner().transforms)
    }

    /// One module with its versions and the deliveries that use it.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_transform(&self, name: &str) -> Result<Transform> {
        let request = DescribeTransformRequest { name: name.to_owned() };
        let answer = self.transforms.clone().describe_transform(request).await?.into_inner();
        answer.transform.ok_or_else(|| Error::malformed("the module"))
    }

    /// Ends a canary; without one, makes an older version the current one: 0 is the one before.
    ///
    /// # Errors
    /// `FailedPrecondition` where there is none to go back to.
    pub async fn roll_back_transform(&self, name: &str, version: u32) -> Result<Transform> {
        let request = RollBackTransformRequest { name: name.to_owned(), version };
        let answer = self.transforms.clone().roll_back_transform(request).await?.into_inner();
        answer.transform.ok_or_else(|| Error::malformed("the module"))
    }

    /// Gives a canary another share of the batches; with 100 percent it becomes the current version.
    ///
    /// # Errors
    /// `FailedPrecondition` where there is none.
    pub async fn set_transform_canary(&self, name: &str, percent: u32) -> Result<Transform> {
        let request = SetTransformCanaryRequest { name: name.to_owned(), percent };
        let answer = self.transforms.clone().set_transform_canary(request).await?.into_inner();
        answer.transform.ok_or_else(|| Error::malformed("the module"))
    }

    /// Removes a module with all its versions.
    ///
    /// # Errors
    /// `FailedPrecondition` while a delivery uses it.
    pub async fn delete_transform(&self, name: &str) -> Result<()> {
        self.transforms.clone().delete_transform(DeleteTransformRequest { name: name.to_owned() }).await?;
        Ok(())
    }

    /// What a module or a chain makes of records. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` where what it names is not there; `Invalid` past the limits of a test.
    pub async fn test_transform(&self, request: TestTransformRequest) -> Result<Vec<TestedRecord>> {
        Ok(self.transforms.clone().test_transform(request).await?.into_inner().records)
    }
}
