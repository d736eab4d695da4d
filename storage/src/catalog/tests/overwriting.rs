//! Overwrites: the named files go, others stay, appends that come between are kept, and nothing else happens.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};

fn url(name: &str) -> String {
    format!("memory:///lake/default/flights/data/{name}.parquet")
}

fn overwrite(removed: &[&str], added: &[(&str, u64)]) -> Overwrite {
    Overwrite {
        files: added.iter().map(|(name, rows)| file(&super::name(), name, *rows)).collect(),
        removed: removed.iter().map(|name| url(name)).collect::<HashSet<_>>(),
        schema: None,
        partition_spec_id: None,
        properties: HashMap::from([(REBUILD.to_owned(), "1".to_owned())]),
        conditions: vec![],
        writes: vec![],
    }
}

/// Four batches, two files in the second.
async fn filled(catalog: &Catalog) {
    catalog.create(&name(), new_table()).await.unwrap();
    for number in 0..4 {
        let mut append = batch("d", number);
        if number == 1 {
            append.files.push(file(&name(), "d-extra", 7));
        }
        catalog.append(&name(), append).await.unwrap();
    }
}

#[tokio::test]
async fn named_files_are_replaced_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    for store in [memory_store(), disk_store(&folder)] {
        let catalog = catalog(store);
        filled(&catalog).await;
        let one = "d-000000000001-000";
        let table = catalog.overwrite(&name(), overwrite(&[one, "d-000000000003-000"], &[("new", 5)])).await.unwrap();
        let files = catalog.files(&table).await.unwrap();
        let expected = ["d-000000000000-000", "d-000000000002-000", "d-extra", "new"].map(url);
        assert_eq!(urls(&files), expected);
        let history = snapshots(&table).unwrap();
        let newest = &history[4];
        assert_eq!((newest.operation.as_str(), newest.rebuild.as_deref()), ("overwrite", Some("1")));
        assert_eq!((newest.added_rows, newest.removed_rows, newest.total_rows), (Some(5), Some(20), Some(32)));
        assert_eq!((newest.total_files, newest.total_bytes), (Some(4), Some(320)));
        assert_eq!(ends(&table, "d").unwrap().unwrap()[&ShardId(0)], Offset(40), "the position is not touched");
        // Appends go on, on top of it; and it can be overwritten again.
        catalog.append(&name(), batch("d", 4)).await.unwrap();
        let table = catalog.overwrite(&name(), overwrite(&["new", "d-extra"], &[])).await.unwrap();
        let expected = ["d-000000000000-000", "d-000000000002-000", "d-000000000004-000"].map(url);
        assert_eq!(urls(&catalog.files(&table).await.unwrap()), expected);
        assert_eq!(snapshots(&table).unwrap()[6].total_rows, Some(30));
        let reloaded = Catalog::new(Arc::clone(&catalog.meta), catalog.store.clone());
        let table = reloaded.load(&name()).await.unwrap();
        assert_eq!(urls(&reloaded.files(&table).await.unwrap()), expected, "as another process reads it");
    }
}

#[tokio::test]
async fn a_file_that_is_not_listed_refuses_the_whole() {
    let catalog = catalog(memory_store());
    filled(&catalog).await;
    let before = catalog.load(&name()).await.unwrap();
    let error = catalog.overwrite(&name(), overwrite(&["d-extra", "unheard"], &[("new", 5)])).await.unwrap_err();
    assert!(matches!(&error, Error::FileGone { file, .. } if *file == url("unheard")), "{error}");
    assert!(!error.is_retryable() && !error.may_have_applied());
    let after = catalog.load(&name()).await.unwrap();
    assert_eq!(before.metadata_location(), after.metadata_location());
}

#[tokio::test]
async fn conditions_and_writes_move_with_it() {
    let catalog = catalog(memory_store());
    filled(&catalog).await;
    let key = CheckpointKey { delivery: "d".to_owned() };
    let value = CheckpointValue { next_batch: 9, ..CheckpointValue::default() };
    let once = || Overwrite {
        conditions: vec![keys::absent(&key)],
        writes: vec![keys::put(&key, &value)],
        ..overwrite(&["d-extra"], &[("new", 5)])
    };
    catalog.overwrite(&name(), once()).await.unwrap();
    assert_eq!(keys::get(&*catalog.meta, &key).await.unwrap().unwrap().value, value);
    let again = Overwrite { removed: HashSet::from([url("new")]), ..once() };
    assert!(matches!(catalog.overwrite(&name(), again).await.unwrap_err(), Error::Conflict { .. }));
}

/// Two processes: one appends while the other overwrites.
#[tokio::test]
async fn an_overwrite_of_a_stale_state_keeps_what_came_between() {
    let (store, meta) = (memory_store(), Arc::new(MemoryMeta::new()));
    let one = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store.clone());
    let other = Catalog::new(meta, store);
    filled(&one).await;
    other.load(&name()).await.unwrap();
    one.append(&name(), batch("d", 4)).await.unwrap();
    let table = other.overwrite(&name(), overwrite(&["d-extra"], &[("new", 5)])).await.unwrap();
    assert_eq!(other.files(&table).await.unwrap().entries.len(), 6);
    let table = one.append(&name(), batch("d", 5)).await.unwrap();
    let files = one.files(&table).await.unwrap();
    assert!(urls(&files).contains(&url("new").as_str()) && !urls(&files).contains(&url("d-extra").as_str()));
}
