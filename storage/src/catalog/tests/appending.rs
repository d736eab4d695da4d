//! Creating, appending and reading back, on a disk and in memory.

use futures::TryStreamExt;

use super::*;
use crate::meta::rocks::RocksMeta;

#[tokio::test]
async fn what_was_appended_is_there_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    for store in [memory_store(), disk_store(&folder)] {
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let catalog = Catalog::new(Arc::clone(&meta), store.clone());
        let table = catalog.create(&name(), new_table()).await.unwrap();
        assert_eq!(table.metadata().location(), catalog.location(&name()));
        assert_eq!(ends(&table, "d").unwrap(), None);
        assert!(catalog.files(&table).await.unwrap().entries.is_empty());
        for number in 0..3 {
            catalog.append(&name(), batch("d", number)).await.unwrap();
        }
        check_three_batches(&catalog).await;
        check_three_batches(&Catalog::new(meta, store)).await;
    }
}

async fn check_three_batches(catalog: &Catalog) {
    let table = catalog.load(&name()).await.unwrap();
    let history = snapshots(&table).unwrap();
    let batches: Vec<_> = history.iter().map(|snapshot| snapshot.batch.clone()).collect();
    assert_eq!(
        batches,
        (0..3).map(|number| Some(summary("d", number, number * 10, number * 10 + 10))).collect::<Vec<_>>()
    );
    let totals: Vec<_> = history.iter().map(|snapshot| (snapshot.added_rows, snapshot.total_rows)).collect();
    assert_eq!(totals, [(Some(10), Some(10)), (Some(10), Some(20)), (Some(10), Some(30))]);
    assert_eq!(history[2].total_files, Some(3));
    assert_eq!(history[2].total_bytes, Some(300));
    assert!(history.is_sorted_by_key(|snapshot| snapshot.sequence_number));
    let expected = BTreeMap::from([(ShardId(0), Offset(30)), (ShardId(1), Offset(0))]);
    assert_eq!(ends(&table, "d").unwrap(), Some(expected));
    assert_eq!(ends(&table, "other").unwrap(), None);
    assert_eq!(last_batch(&table, "d").unwrap().map(|batch| batch.batch), Some(2));

    let files = catalog.files(&table).await.unwrap();
    assert_eq!(files.snapshot_id, Some(history[2].id));
    assert!(!files.has_deletes);
    assert_eq!(files.entries.len(), 3);
    let file = &files.entries[0];
    assert_eq!((file.rows(), file.size_bytes(), file.hour()), (10, 100, Some(HOUR)));
    assert_eq!((file.lower(3), file.upper(3)), (Some(&Datum::int(17)), Some(&Datum::int(4_983))));
    assert_eq!((file.nulls(3), file.nulls(2), file.lower(2)), (Some(2), None, None));
    let again = catalog.files(&table).await.unwrap();
    assert!(Arc::ptr_eq(&files, &again), "a second plan of one snapshot reads nothing");
}

#[tokio::test]
async fn a_batch_without_rows_still_moves_the_ends() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    catalog.append(&name(), batch("d", 0)).await.unwrap();
    let empty = Append { files: vec![], summary: summary("d", 1, 10, 25), ..batch("d", 1) };
    let table = catalog.append(&name(), empty.clone()).await.unwrap();
    assert_eq!(ends(&table, "d").unwrap().unwrap()[&ShardId(0)], Offset(25));
    assert_eq!(snapshots(&table).unwrap()[1].batch, Some(empty.summary));
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 1);
    let table = catalog.append(&name(), batch("e", 0)).await.unwrap();
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 2);
    assert_eq!(
        ends(&table, "d").unwrap().unwrap()[&ShardId(0)],
        Offset(25),
        "another delivery's batches do not hide it"
    );
}

#[tokio::test]
async fn an_empty_first_batch_makes_an_empty_snapshot() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    let table = catalog.append(&name(), Append { files: vec![], ..batch("d", 0) }).await.unwrap();
    assert!(catalog.files(&table).await.unwrap().entries.is_empty());
    assert_eq!(ends(&table, "d").unwrap().unwrap()[&ShardId(0)], Offset(10));
}

#[tokio::test]
async fn tables_are_listed_created_once_and_dropped() {
    let catalog = catalog(memory_store());
    let other: TableName = "ns.other".parse().unwrap();
    assert!(catalog.list().await.unwrap().is_empty());
    catalog.create(&name(), new_table()).await.unwrap();
    catalog.create(&other, new_table()).await.unwrap();
    assert_eq!(catalog.list().await.unwrap(), [name(), other.clone()]);
    let error = catalog.create(&other, new_table()).await.unwrap_err();
    assert_eq!(error.to_string(), "table ns.other exists already");
    catalog.append(&other, batch("d", 0)).await.unwrap();
    catalog.drop(&other).await.unwrap();
    assert_eq!(catalog.list().await.unwrap(), [name()]);
    for outcome in [
        catalog.load(&other).await.map(drop),
        catalog.drop(&other).await,
        catalog.append(&other, batch("d", 1)).await.map(drop),
        catalog.spec(&other).await.map(drop),
        catalog.set_spec(&other, "").await,
    ] {
        assert_eq!(outcome.unwrap_err().to_string(), "table ns.other does not exist");
    }
    let table = catalog.create(&other, new_table()).await.unwrap();
    assert!(snapshots(&table).unwrap().is_empty());
}

#[tokio::test]
async fn a_changed_declaration_leaves_the_data_alone() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    catalog.append(&name(), batch("d", 0)).await.unwrap();
    assert_eq!(catalog.spec(&name()).await.unwrap(), "name = \"flights\"");
    catalog.set_spec(&name(), "changed").await.unwrap();
    let table = catalog.append(&name(), batch("d", 1)).await.unwrap();
    assert_eq!(catalog.spec(&name()).await.unwrap(), "changed");
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn a_table_needs_a_timestamp_to_be_partitioned_by() {
    let catalog = catalog(memory_store());
    for (column, expected) in [("missing", "no column \"missing\""), ("carrier", "\"carrier\" is string")] {
        let time = TimeSource::Field { field: column.to_owned(), format: TimeFormat::Rfc3339 };
        let new = NewTable { partitioning: Partitioning::hourly(&time), ..new_table() };
        let error = catalog.create(&name(), new).await.unwrap_err().to_string();
        assert!(error.contains("does not fit table default.flights") && error.contains(expected), "{error}");
    }
    assert!(catalog.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_folder_alone_tells_the_newest_metadata_and_keeps_only_some_of_the_old() {
    let store = memory_store();
    let catalog = catalog(store.clone());
    catalog.create(&name(), new_table()).await.unwrap();
    let kept = 100;
    for number in 0..kept + 3 {
        catalog.append(&name(), batch("d", number)).await.unwrap();
    }
    let table = catalog.load(&name()).await.unwrap();
    let hint = store.get(&store.path("default/flights/metadata/version-hint.text")).await.unwrap();
    let newest = format!("{}/metadata/{}.metadata.json", catalog.location(&name()), String::from_utf8_lossy(&hint));
    assert_eq!(table.metadata_location(), Some(&*newest));
    let folder = store.path("default/flights/metadata");
    let objects: Vec<_> = store.object_store().list(Some(&folder)).try_collect().await.unwrap();
    let metadata = objects.iter().filter(|object| object.location.as_ref().ends_with(".metadata.json")).count();
    assert_eq!(metadata as u64, kept + 1, "the newest and those that its log lists");
    for log in table.metadata().metadata_log() {
        store.get(&store.path_of_url(&log.metadata_file).unwrap()).await.expect("a listed file is there");
    }
    assert_eq!(catalog.files(&table).await.unwrap().entries.len() as u64, kept + 3);
}

#[tokio::test]
async fn a_reopened_meta_store_and_disk_hold_the_table() {
    let (meta_folder, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meta = Arc::new(RocksMeta::open(meta_folder.path()).unwrap());
    let catalog = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, disk_store(&lake));
    catalog.create(&name(), new_table()).await.unwrap();
    for number in 0..3 {
        catalog.append(&name(), batch("d", number)).await.unwrap();
    }
    meta.close().await.unwrap();
    let meta = Arc::new(RocksMeta::open(meta_folder.path()).unwrap());
    check_three_batches(&Catalog::new(meta, disk_store(&lake))).await;
}
