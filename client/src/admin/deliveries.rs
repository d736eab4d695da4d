//! Calls on deliveries and pipeline files.

use std::collections::HashMap;

use millrace_proto::v1::{
    ApplyPipelineRequest, Change, DeleteDeliveryRequest, Delivery, DescribeDeliveryRequest, FlushDeliveryRequest,
    ListDeliveriesRequest, PauseDeliveryRequest, RebuildTableRequest, RebuildTableResponse, ReplayDeliveryRequest,
    ReplayDeliveryResponse, ResumeDeliveryRequest, VerifyDeliveryRequest, VerifyDeliveryResponse,
};

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// Makes streams, tables, deliveries and imports what a pipeline file's text declares; applying it again changes nothing.
    ///
    /// # Errors
    /// `Invalid` names the place in the text that breaks a rule; nothing is changed then.
    pub async fn apply(&self, pipeline_toml: &str) -> Result<Vec<Change>> {
        self.apply_pipeline(pipeline_toml, false, HashMap::new()).await
    }

    /// [`Self::apply`], where deliveries have these versions: by name what [`Self::describe_delivery`] tells, or an empty
    /// one for a delivery that must not exist yet. An import's name is `import/NAME` here.
    ///
    /// # Errors
    /// `Conflict` where one has another; nothing is changed then.
    pub async fn apply_expecting(
        &self,
        pipeline_toml: &str,
        versions: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<Change>> {
        self.apply_pipeline(pipeline_toml, false, versions.into_iter().collect()).await
    }

    /// What [`Self::apply`] would change; nothing is changed.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn plan(&self, pipeline_toml: &str) -> Result<Vec<Change>> {
        self.apply_pipeline(pipeline_toml, true, HashMap::new()).await
    }

    async fn apply_pipeline(
        &self,
        pipeline_toml: &str,
        dry_run: bool,
        expected_versions: HashMap<String, String>,
    ) -> Result<Vec<Change>> {
        let request = ApplyPipelineRequest { pipeline_toml: pipeline_toml.to_owned(), dry_run, expected_versions };
        Ok(self.deliveries.clone().apply_pipeline(request).await?.into_inner().changes)
    }

    /// One delivery with its position and totals.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_delivery(&self, name: &str) -> Result<Delivery> {
        let request = DescribeDeliveryRequest { name: name.to_owned() };
        given(self.deliveries.clone().describe_delivery(request).await?.into_inner().delivery)
    }

    /// All deliveries by name.
    ///
    /// # Errors
    /// Only those of any call.
    pub async fn list_deliveries(&self) -> Result<Vec<Delivery>> {
        Ok(self.deliveries.clone().list_deliveries(ListDeliveriesRequest {}).await?.into_inner().deliveries)
    }

    /// Commits all that was acknowledged before the call, and returns when it is committed.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while it is paused.
    pub async fn flush_delivery(&self, name: &str) -> Result<Delivery> {
        let request = FlushDeliveryRequest { name: name.to_owned() };
        given(self.deliveries.clone().flush_delivery(request).await?.into_inner().delivery)
    }

    /// Takes up again what the delivery has set aside, each record once, and returns when all of it is committed.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while it is paused, `DataLoss` where an object is not as it was
    /// written.
    pub async fn replay_delivery(&self, name: &str) -> Result<ReplayDeliveryResponse> {
        let request = ReplayDeliveryRequest { name: name.to_owned() };
        Ok(self.deliveries.clone().replay_delivery(request).await?.into_inner())
    }

    /// Makes anew what a delivery wrote of a range of its stream; readers of the table see the old rows or the new.
    ///
    /// # Errors
    /// `NotFound` where there is no such table, `FailedPrecondition` where the records are gone.
    pub async fn rebuild_table(&self, request: RebuildTableRequest) -> Result<RebuildTableResponse> {
        Ok(self.deliveries.clone().rebuild_table(request).await?.into_inner())
    }

    /// Stops a delivery after the batch in flight; its position is kept.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn pause_delivery(&self, name: &str) -> Result<Delivery> {
        let request = PauseDeliveryRequest { name: name.to_owned() };
        given(self.deliveries.clone().pause_delivery(request).await?.into_inner().delivery)
    }

    /// Goes on where the delivery was paused.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn resume_delivery(&self, name: &str) -> Result<Delivery> {
        let request = ResumeDeliveryRequest { name: name.to_owned() };
        given(self.deliveries.clone().resume_delivery(request).await?.into_inner().delivery)
    }

    /// Removes a delivery and its position; what it delivered stays.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn delete_delivery(&self, name: &str) -> Result<()> {
        self.deliveries.clone().delete_delivery(DeleteDeliveryRequest { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Proves from what was delivered that each record was delivered once; a proof that fails is an answer, no error.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn verify_delivery(&self, name: &str) -> Result<VerifyDeliveryResponse> {
        let request = VerifyDeliveryRequest { name: name.to_owned() };
        Ok(self.deliveries.clone().verify_delivery(request).await?.into_inner())
    }
}

fn given(delivery: Option<Delivery>) -> Result<Delivery> {
    delivery.ok_or_else(|| Error::malformed("the delivery"))
}
