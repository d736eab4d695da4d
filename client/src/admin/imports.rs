//! Calls on imports. They are declared by [`Admin::apply`].

use millrace_proto::v1::{
    DeleteImportRequest, DescribeImportRequest, Import, ImportObject, ImportRun, ListImportObjectsRequest,
    ListImportRunsRequest, ListImportsRequest, PauseImportRequest, ReplayImportRequest, ResumeImportRequest,
    RunImportRequest,
};

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// All imports by name.
    ///
    /// # Errors
    /// Only those of any call.
    pub async fn list_imports(&self) -> Result<Vec<Import>> {
        Ok(self.imports.clone().list_imports(ListImportsRequest {}).await?.into_inner().imports)
    }

    /// One import with the run under way and its totals.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_import(&self, name: &str) -> Result<Import> {
        let request = DescribeImportRequest { name: name.to_owned() };
        given(self.imports.clone().describe_import(request).await?.into_inner().import)
    }

    /// The runs of an import, newest first: so many at most, where that is not zero.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn list_import_runs(&self, name: &str, limit: u32) -> Result<Vec<ImportRun>> {
        let request = ListImportRunsRequest { name: name.to_owned(), limit };
        Ok(self.imports.clone().list_import_runs(request).await?.into_inner().runs)
    }

    /// What became of each version of each object that an import knows, by URL.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn list_import_objects(&self, name: &str) -> Result<Vec<ImportObject>> {
        let mut objects: Vec<ImportObject> = Vec::new();
        loop {
            let after_url = objects.last().map(|object| object.url.clone()).unwrap_or_default();
            let request = ListImportObjectsRequest { name: name.to_owned(), after_url, limit: 0 };
            let page = self.imports.clone().list_import_objects(request).await?.into_inner();
            let is_last = !page.has_more || page.objects.is_empty();
            objects.extend(page.objects);
            if is_last {
                return Ok(objects);
            }
        }
    }

    /// Runs an import now, or after the run under way. With `wait` it returns when that run has ended.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while it is paused.
    pub async fn run_import(&self, name: &str, wait: bool, retry_failed: bool) -> Result<Import> {
        let request = RunImportRequest { name: name.to_owned(), wait, retry_failed };
        given(self.imports.clone().run_import(request).await?.into_inner().import)
    }

    /// Takes up again the rows that an import has set aside, each once, and returns when that has ended: by its format as it is
    /// declared now, or with `as_is` each row's bytes as a record.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while it is paused or is taking rows up already.
    pub async fn replay_import(&self, name: &str, as_is: bool) -> Result<ImportRun> {
        let request = ReplayImportRequest { name: name.to_owned(), as_is };
        let run = self.imports.clone().replay_import(request).await?.into_inner().run;
        run.ok_or_else(|| Error::malformed("the run"))
    }

    /// Stops an import after the chunk in flight.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn pause_import(&self, name: &str) -> Result<Import> {
        let request = PauseImportRequest { name: name.to_owned() };
        given(self.imports.clone().pause_import(request).await?.into_inner().import)
    }

    /// Goes on where the import was paused.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn resume_import(&self, name: &str) -> Result<Import> {
        let request = ResumeImportRequest { name: name.to_owned() };
        given(self.imports.clone().resume_import(request).await?.into_inner().import)
    }

    /// Removes an import; what it put stays. With `forget` one of the same name imports all of it again.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn delete_import(&self, name: &str, forget: bool) -> Result<()> {
        self.imports.clone().delete_import(DeleteImportRequest { name: name.to_owned(), forget }).await?;
        Ok(())
    }
}

fn given(import: Option<Import>) -> Result<Import> {
    import.ok_or_else(|| Error::malformed("the import"))
}
