//! gRPC: imports.

use millrace_proto::v1 as proto;
use millrace_storage::lake::import::Again;
use millrace_storage::meta::keys::import::ImportCounts;
use millrace_storage::time::Timestamp;
use proto::import_service_server::ImportService;
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::auth::Resource;
use crate::imports::{DescribedImport, ImportObject, ImportRun, Imports, RunState, state_word, trigger_word};

/// The most objects of one answer, but for the versions of its last one.
const OBJECTS_MAX: usize = 1000;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct ImportHandler {
    imports: Imports,
}

impl ImportHandler {
    /// Over the process's imports.
    #[must_use]
    pub(super) const fn new(imports: Imports) -> Self {
        Self { imports }
    }
}

#[tonic::async_trait]
impl ImportService for ImportHandler {
    async fn list_imports(
        &self,
        request: Request<proto::ListImportsRequest>,
    ) -> Result<Response<proto::ListImportsResponse>, Status> {
        let call = Call::of(&request)?;
        let seen = self.imports.list().into_iter().filter(|found| call.may(&Resource::import(&found.name)));
        Ok(Response::new(proto::ListImportsResponse { imports: seen.map(import).collect() }))
    }

    async fn describe_import(
        &self,
        request: Request<proto::DescribeImportRequest>,
    ) -> Result<Response<proto::DescribeImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let import = Some(import(self.imports.describe(&name)?));
        Ok(Response::new(proto::DescribeImportResponse { import }))
    }

    async fn list_import_runs(
        &self,
        request: Request<proto::ListImportRunsRequest>,
    ) -> Result<Response<proto::ListImportRunsResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let limit = match request.get_ref().limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let runs = self.imports.history(&name, limit).await?.into_iter().map(run).collect();
        Ok(Response::new(proto::ListImportRunsResponse { runs }))
    }

    async fn list_import_objects(
        &self,
        request: Request<proto::ListImportObjectsRequest>,
    ) -> Result<Response<proto::ListImportObjectsResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let proto::ListImportObjectsRequest { after_url, limit, .. } = request.into_inner();
        let limit = if limit == 0 { OBJECTS_MAX } else { (limit as usize).min(OBJECTS_MAX) };
        let mut objects = self.imports.objects(&name).await?;
        objects.sort_by(|a, b| (&a.url, a.written_at).cmp(&(&b.url, b.written_at)));
        let begin = objects.partition_point(|object| !after_url.is_empty() && object.url <= after_url);
        let mut end = objects.len().min(begin + limit);
        while end > begin && end < objects.len() && objects[end].url == objects[end - 1].url {
            end += 1;
        }
        let has_more = end < objects.len();
        let objects = objects.drain(begin..end).map(object).collect();
        Ok(Response::new(proto::ListImportObjectsResponse { objects, has_more }))
    }

    async fn run_import(
        &self,
        request: Request<proto::RunImportRequest>,
    ) -> Result<Response<proto::RunImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let proto::RunImportRequest { wait, retry_failed, .. } = request.into_inner();
        let import = Some(import(self.imports.run(&name, retry_failed, wait).await?));
        Ok(Response::new(proto::RunImportResponse { import }))
    }

    async fn replay_import(
        &self,
        request: Request<proto::ReplayImportRequest>,
    ) -> Result<Response<proto::ReplayImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let again = if request.get_ref().as_is { Again::AsIs } else { Again::ByFormat };
        let run = Some(run(self.imports.replay(&name, again).await?));
        Ok(Response::new(proto::ReplayImportResponse { run }))
    }

    async fn pause_import(
        &self,
        request: Request<proto::PauseImportRequest>,
    ) -> Result<Response<proto::PauseImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let import = Some(import(self.imports.pause(&name).await?));
        Ok(Response::new(proto::PauseImportResponse { import }))
    }

    async fn resume_import(
        &self,
        request: Request<proto::ResumeImportRequest>,
    ) -> Result<Response<proto::ResumeImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        let import = Some(import(self.imports.resume(&name).await?));
        Ok(Response::new(proto::ResumeImportResponse { import }))
    }

    async fn delete_import(
        &self,
        request: Request<proto::DeleteImportRequest>,
    ) -> Result<Response<proto::DeleteImportResponse>, Status> {
        let name = named(&request, &request.get_ref().name)?;
        self.imports.delete(&name, request.get_ref().forget).await?;
        Ok(Response::new(proto::DeleteImportResponse {}))
    }
}

/// The import that a call names, where its caller may do to it what the method does.
fn named<T>(request: &Request<T>, name: &str) -> Result<String, Status> {
    Call::of(request)?.allow(&Resource::import(name))?;
    Ok(name.to_owned())
}

fn import(described: DescribedImport) -> proto::Import {
    let state = match described.state {
        RunState::Idle => proto::import::State::Idle,
        RunState::Running => proto::import::State::Running,
        RunState::Paused => proto::import::State::Paused,
        RunState::Retrying => proto::import::State::Retrying,
    };
    proto::Import {
        name: described.name,
        stream: described.stream,
        source: described.source,
        spec_toml: described.spec_toml,
        version: described.version,
        owner: described.owner,
        state: state.into(),
        last_error: described.last_error.unwrap_or_default(),
        retries: described.retries,
        object: described.object.unwrap_or_default(),
        next_run_at_ms: described.next_run_at.map_or(0, Timestamp::as_millis),
        run: described.run.map(run),
        last_run: described.last_run.map(run),
        totals: Some(counts(described.totals)),
    }
}

fn run(run: ImportRun) -> proto::ImportRun {
    proto::ImportRun {
        number: run.number,
        trigger: trigger_word(run.trigger).to_owned(),
        begun_at_ms: run.begun_at.as_millis(),
        ended_at_ms: run.ended_at.map_or(0, Timestamp::as_millis),
        counts: Some(counts(run.counts)),
        error: run.error,
    }
}

fn counts(counts: ImportCounts) -> proto::ImportCounts {
    let ImportCounts { seen, imported, skipped, failed, records, bytes, set_aside, replayed } = counts;
    proto::ImportCounts { seen, imported, skipped, failed, records, bytes, set_aside, replayed }
}

fn object(object: ImportObject) -> proto::ImportObject {
    proto::ImportObject {
        url: object.url,
        e_tag: object.e_tag,
        size_bytes: object.size_bytes,
        written_at_ms: object.written_at.as_millis(),
        state: state_word(object.state).to_owned(),
        rows: object.rows,
        records: object.records,
        set_aside: object.set_aside,
        error: object.error,
        run: object.run,
        ended_at_ms: object.ended_at.map_or(0, Timestamp::as_millis),
    }
}
