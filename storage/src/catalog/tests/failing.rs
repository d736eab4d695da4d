//! A commit that breaks off anywhere leaves the old table or the new one, and the caller can tell which.

use super::faults::{FaultyMeta, FaultyStore, MetaFault};
use super::*;

#[tokio::test]
async fn a_crash_before_the_pointer_moves_leaves_the_old_table() {
    let (store, meta) = (memory_store(), Arc::new(FaultyMeta::default()));
    let catalog = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store.clone());
    catalog.create(&name(), new_table()).await.unwrap();
    let old = catalog.append(&name(), batch("d", 0)).await.unwrap();

    *meta.next.lock() = Some(MetaFault::Lost);
    let error = catalog.append(&name(), batch("d", 1)).await.unwrap_err();
    assert!(error.is_retryable() && error.may_have_applied(), "{error}");
    for catalog in [&catalog, &Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store)] {
        let table = catalog.load(&name()).await.unwrap();
        assert_eq!(table.metadata_location(), old.metadata_location());
        assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 1);
    }
    let table = catalog.append(&name(), batch("d", 1)).await.unwrap();
    let batches = snapshots(&table).unwrap().into_iter().filter_map(|snapshot| snapshot.batch);
    assert_eq!(batches.map(|batch| batch.batch).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn a_commit_that_applied_although_it_failed_is_a_success() {
    let meta = Arc::new(FaultyMeta::default());
    let catalog = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, memory_store());
    *meta.next.lock() = Some(MetaFault::AppliedAndFailed);
    catalog.create(&name(), new_table()).await.unwrap();
    *meta.next.lock() = Some(MetaFault::AppliedAndFailed);
    let table = catalog.append(&name(), batch("d", 0)).await.unwrap();
    assert_eq!(catalog.load(&name()).await.unwrap().metadata_location(), table.metadata_location());
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 1);
    assert_eq!(*meta.next.lock(), None);
}

#[tokio::test]
async fn a_create_that_fails_leaves_no_table() {
    let meta = Arc::new(FaultyMeta::default());
    let catalog = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, memory_store());
    *meta.next.lock() = Some(MetaFault::Lost);
    let error = catalog.create(&name(), new_table()).await.unwrap_err();
    assert!(error.may_have_applied());
    assert!(catalog.list().await.unwrap().is_empty());
    catalog.create(&name(), new_table()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_refuses_metadata_fails_the_commit_and_only_that() {
    for refused in [".metadata.json", "/snap-", "-m0.avro"] {
        let faulty = Arc::new(FaultyStore::refusing(refused));
        let store = Store::from_object_store("memory:///lake", Arc::clone(&faulty) as Arc<_>).unwrap();
        let catalog = catalog(store);
        catalog.create(&name(), new_table()).await.unwrap();
        faulty.refuse(true);
        let error = catalog.append(&name(), batch("d", 0)).await.unwrap_err();
        assert!(error.is_retryable() && !error.may_have_applied(), "{refused}: {error}");
        assert!(error.to_string().contains("memory:///lake/default/flights/metadata/"), "{refused}: {error}");
        let table = catalog.load(&name()).await.unwrap();
        assert!(snapshots(&table).unwrap().is_empty());
        faulty.refuse(false);
        let table = catalog.append(&name(), batch("d", 0)).await.unwrap();
        assert_eq!(snapshots(&table).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_lost_version_hint_does_not_fail_a_commit() {
    let faulty = Arc::new(FaultyStore::refusing("version-hint"));
    let catalog = catalog(Store::from_object_store("memory:///lake", Arc::clone(&faulty) as Arc<_>).unwrap());
    catalog.create(&name(), new_table()).await.unwrap();
    faulty.refuse(true);
    let table = catalog.append(&name(), batch("d", 0)).await.unwrap();
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_missing_metadata_file_is_told_by_its_url() {
    let store = memory_store();
    let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
    let table = Catalog::new(Arc::clone(&meta), store.clone()).create(&name(), new_table()).await.unwrap();
    let url = table.metadata_location().unwrap();
    store.delete(&store.path_of_url(url).unwrap()).await.unwrap();
    let error = Catalog::new(meta, store).load(&name()).await.unwrap_err();
    assert!(error.to_string().contains(url), "{error}");
}

/// A virtual machine's clock ran an hour ahead and was set back; every append then failed for an hour.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_hold_up_appends() {
    let store = memory_store();
    let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
    let catalog = Catalog::new(Arc::clone(&meta), store.clone());
    catalog.create(&name(), new_table()).await.unwrap();
    let table = catalog.append(&name(), batch("d", 0)).await.unwrap();
    let path = store.path_of_url(table.metadata_location().unwrap()).unwrap();
    let now = table.metadata().last_updated_ms();
    let ahead = now + 3_600_000;
    let metadata = String::from_utf8(store.get(&path).await.unwrap().to_vec()).unwrap();
    store.put(&path, metadata.replace(&now.to_string(), &ahead.to_string()).into_bytes()).await.unwrap();

    let catalog = Catalog::new(meta, store);
    assert_eq!(catalog.load(&name()).await.unwrap().metadata().last_updated_ms(), ahead);
    catalog.append(&name(), batch("d", 1)).await.unwrap();
    let table = catalog.append(&name(), batch("d", 2)).await.unwrap();
    let history = snapshots(&table).unwrap();
    assert_eq!(history.iter().map(|snapshot| snapshot.committed_at.0).collect::<Vec<_>>(), [ahead; 3]);
    assert_eq!(history[2].batch, Some(summary("d", 2, 20, 30)));
    assert_eq!(history[2].total_rows, Some(30));
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 3);
}
