//! Calls on consumer groups.

use millrace_proto::v1::{DeleteGroupRequest, DescribeGroupRequest, Group, ListGroupsRequest, ResetGroupRequest};

use super::Admin;
use crate::{Error, Position, Result};

/// Groups asked for at a time; the most that a server gives.
const PAGE_GROUPS: u32 = 1_000;

impl Admin {
    /// The groups of a stream, or of all, without their members and shards.
    ///
    /// # Errors
    /// `NotFound` where there is no such stream.
    pub async fn list_groups(&self, stream: Option<&str>) -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        let stream = stream.unwrap_or_default().to_owned();
        let mut request = ListGroupsRequest { stream, page_size: PAGE_GROUPS, page_token: String::new() };
        loop {
            let page = self.groups.clone().list_groups(request.clone()).await?.into_inner();
            groups.extend(page.groups);
            if page.next_page_token.is_empty() {
                return Ok(groups);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One group with its members, and how far each shard is.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_group(&self, stream: &str, group: &str) -> Result<Group> {
        let request = DescribeGroupRequest { stream: stream.to_owned(), group: group.to_owned() };
        let response = self.groups.clone().describe_group(request).await?.into_inner();
        response.group.ok_or_else(|| Error::malformed("the group"))
    }

    /// Moves a group to [`Position::TrimHorizon`], [`Position::Latest`] or [`Position::Time`]. Members that work lose what
    /// they have in hand, and go on there.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Invalid` for an offset.
    pub async fn reset_group(&self, stream: &str, group: &str, position: Position) -> Result<Group> {
        let position = Some(position.into());
        let request = ResetGroupRequest { stream: stream.to_owned(), group: group.to_owned(), position };
        let response = self.groups.clone().reset_group(request).await?.into_inner();
        response.group.ok_or_else(|| Error::malformed("the group"))
    }

    /// Deletes a group and its checkpoints.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while it has members.
    pub async fn delete_group(&self, stream: &str, group: &str) -> Result<()> {
        let request = DeleteGroupRequest { stream: stream.to_owned(), group: group.to_owned() };
        self.groups.clone().delete_group(request).await?;
        Ok(())
    }
}
