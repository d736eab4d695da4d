//! The object store: may objects be put, read, listed and deleted, and does it refuse to overwrite when asked to?

use std::time::Instant;

use datafusion::object_store::path::Path;
use datafusion::object_store::{self, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use futures::TryStreamExt;
use millrace_storage::lake::store::{Store, StoreSettings};

use super::Check;

const CONTENT: &[u8] = b"written by millrace doctor";

/// Checks the store that the settings tell, in a folder of its own.
pub(super) async fn check(settings: &StoreSettings) -> Vec<Check> {
    let store = match Store::open(settings) {
        Ok(store) => store,
        Err(error) => return vec![Check::bad("store", error.to_string(), "correct the settings [store]")],
    };
    let folder = store.path(&format!("doctor-{}", uuid::Uuid::new_v4()));
    let checks = probe(&store, store.object_store().as_ref(), &folder).await;
    // What a failed step left behind.
    let _ = store.delete(&folder.clone().join("probe")).await;
    let _ = store.delete(&folder.join("once")).await;
    checks
}

async fn probe(store: &Store, objects: &dyn ObjectStore, folder: &Path) -> Vec<Check> {
    let place = store.root_url();
    let path = folder.clone().join("probe");
    let failed = |check, path: &Path, error: &object_store::Error, right: &str| {
        Check::bad(
            check,
            store.error(path, error).to_string(),
            format!("allow the server's keys to {right} at {place}"),
        )
    };
    let mut checks = Vec::new();
    let started = Instant::now();
    if let Err(error) = objects.put(&path, PutPayload::from_static(CONTENT)).await {
        checks.push(failed("store put", &path, &error, "put objects"));
        return checks;
    }
    let took = started.elapsed().as_secs_f64() * 1e3;
    checks.push(Check::good("store put", format!("an object was put at {place} in {took:.1} ms")));
    checks.push(match read(objects, &path).await {
        Ok(true) => Check::good("store get", "it reads back as it was written"),
        Ok(false) => Check::bad("store get", "other bytes came back than were written", "do not use this store"),
        Err(error) => failed("store get", &path, &error, "get objects"),
    });
    checks.push(match objects.list(Some(folder)).try_collect::<Vec<_>>().await {
        Ok(found) if found.iter().any(|object| object.location == path) => {
            Check::good("store list", "the object is listed at once")
        }
        Ok(_) => Check::bad("store list", "a new object is not listed", "use a store whose lists are consistent"),
        Err(error) => failed("store list", folder, &error, "list objects"),
    });
    checks.push(conditional(store, objects, &folder.clone().join("once")).await);
    checks.push(match objects.delete(&path).await {
        Ok(()) => Check::good("store delete", "the object was deleted"),
        Err(error) => failed("store delete", &path, &error, "delete objects"),
    });
    checks
}

async fn read(objects: &dyn ObjectStore, path: &Path) -> Result<bool, object_store::Error> {
    Ok(objects.get(path).await?.bytes().await?.as_ref() == CONTENT)
}

/// Whether the store refuses the second of two writes that both may only create.
async fn conditional(store: &Store, objects: &dyn ObjectStore, path: &Path) -> Check {
    const NAME: &str = "store conditional write";
    let create = || objects.put_opts(path, PutPayload::from_static(CONTENT), PutOptions::from(PutMode::Create));
    let advice = "this server does not need them, but others that write the same tables may";
    match (create().await, create().await) {
        (Ok(_), Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
            Check::good(NAME, "a second create is refused")
        }
        (Ok(_), Ok(_)) => Check::poor(NAME, "a second create overwrites: the store ignores conditions", advice),
        (Err(error), _) | (_, Err(error)) => Check::poor(NAME, store.error(path, &error).to_string(), advice),
    }
}
