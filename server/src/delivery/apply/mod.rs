//! Applying a pipeline: streams, then tables, then deliveries are made what it declares.
//!
//! All of it is checked before anything changes. Each object is changed by one commit of its own; applying again after a
//! failure finishes what is left. It must never change what is declared the same, and never delete.

mod change;
mod plan;
mod carry_out;
mod delete;
mod stream;

pub use change::{Action, Asked, Change};

use std::collections::BTreeMap;

use super::Deliveries;
use super::declaration::{Declaration, check_versions};
use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::streams::StreamName;

impl Deliveries {
    /// Makes streams, tables and deliveries what a pipeline file declares, and says what changed; with `dry_run`, what
    /// would change.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with object, field, value and limit, before anything is changed.
    pub async fn apply(&self, pipeline_toml: &str, dry_run: bool) -> Result<Vec<Change>> {
        self.apply_allowed(&Pipeline::parse(pipeline_toml)?, dry_run, &BTreeMap::new(), &|_| Ok(())).await
    }

    /// As [`Self::apply`], where `allow` lets each object pass that would be touched or shown, and where deliveries have the
    /// versions that are expected: those that [`Deliveries::describe`] tells, or an empty one for a delivery that must not
    /// exist yet. Nothing is changed or told before `allow` let all of them.
    ///
    /// # Errors
    /// As [`Self::apply`], what `allow` says, and [`Kind::Conflict`] where a delivery has another version.
    pub async fn apply_allowed(
        &self,
        pipeline: &Pipeline,
        dry_run: bool,
        expected: &BTreeMap<String, String>,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        for stream in &pipeline.streams {
            let words = |error| Error::invalid(format_args!("stream {}: {error}", stream.name));
            stream.name.parse::<StreamName>().map_err(words)?;
        }
        for delivery in &pipeline.deliveries {
            delivery.stream.parse::<StreamName>().map_err(|error| delivery.invalid("stream", error))?;
        }
        self.apply_pipeline(pipeline, dry_run, expected, allow).await
    }

    /// As [`Deliveries::apply_allowed`], for a part of the server: the streams may be hidden ones.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn declare(
        &self,
        pipeline_toml: &str,
        dry_run: bool,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        self.apply_pipeline(&Pipeline::parse(pipeline_toml)?, dry_run, &BTreeMap::new(), allow).await
    }

    async fn apply_pipeline(
        &self,
        pipeline: &Pipeline,
        dry_run: bool,
        expected: &BTreeMap<String, String>,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        let _turn = self.inner.changes.lock().await;
        let plan = self.plan(pipeline).await?;
        plan.ask(allow)?;
        self.check_versions(pipeline, expected)?;
        if !dry_run {
            self.carry_out(&plan).await?;
        }
        let streams = plan.streams.into_iter().map(|(.., change)| change);
        let tables = plan.tables.into_iter().map(|(.., change)| change);
        let deliveries = plan.deliveries.into_iter().map(|(_, change)| change);
        Ok(streams.chain(tables).chain(deliveries).collect())
    }

    fn check_versions(&self, pipeline: &Pipeline, expected: &BTreeMap<String, String>) -> Result<()> {
        let expected = expected.iter().map(|(name, version)| (name.as_str(), version.as_str()));
        let in_force = |name: &str| self.entry(name).ok().map(|entry| entry.declared().spec.version());
        check_versions(pipeline.deliveries.iter(), expected, in_force)
    }
}
