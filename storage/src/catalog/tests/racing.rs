//! Writers of one table in several processes: nobody's batch is lost and none is there twice.

use super::*;
use crate::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_all_commit_once() {
    let (store, meta) = (memory_store(), Arc::new(MemoryMeta::new()));
    // A catalog of its own for each writer is what a process of its own would have.
    let catalog = || Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store.clone());
    catalog().create(&name(), new_table()).await.unwrap();
    let (writers, batches) = (4, 10);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let catalog = catalog();
            tokio::spawn(async move {
                for number in 0..batches {
                    commit_until_it_applies(&catalog, &format!("d{writer}"), number).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let catalog = catalog();
    let table = catalog.load(&name()).await.unwrap();
    let files = catalog.files(&table).await.unwrap();
    let mut unique = urls(&files);
    unique.dedup();
    assert_eq!((files.entries.len() as u64, unique.len() as u64), (writers * batches, writers * batches));
    for writer in 0..writers {
        let delivery = format!("d{writer}");
        let history = snapshots(&table).unwrap().into_iter().filter_map(|snapshot| snapshot.batch);
        let numbers: Vec<_> = history.filter(|batch| batch.delivery == delivery).map(|batch| batch.batch).collect();
        assert_eq!(numbers, (0..batches).collect::<Vec<_>>(), "{delivery}");
        let checkpoint = keys::get(&*meta, &CheckpointKey { delivery }).await.unwrap();
        assert_eq!(checkpoint.unwrap().value.next_batch, batches);
    }
}

/// What a delivery does: its checkpoint moves with the batch, and a commit that lost too often is tried again.
async fn commit_until_it_applies(catalog: &Catalog, delivery: &str, number: u64) {
    let key = CheckpointKey { delivery: delivery.to_owned() };
    let found = keys::get(&*catalog.meta, &key).await.unwrap();
    let next = CheckpointValue { next_batch: number + 1, ..CheckpointValue::default() };
    let append = Append {
        conditions: vec![keys::as_found(&key, found.as_ref())],
        writes: vec![keys::put(&key, &next)],
        ..batch(delivery, number)
    };
    loop {
        match catalog.append(&name(), append.clone()).await {
            Ok(_) => return,
            Err(error @ Error::Contended { .. }) => assert!(error.is_retryable()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_failed_condition_of_the_caller_is_told_and_moves_nothing() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    let key = CheckpointKey { delivery: "d".to_owned() };
    let checkpoint = |next_batch| CheckpointValue { next_batch, ..CheckpointValue::default() };
    let first =
        Append { conditions: vec![keys::absent(&key)], writes: vec![keys::put(&key, &checkpoint(1))], ..batch("d", 0) };
    let table = catalog.append(&name(), first.clone()).await.unwrap();
    // The same batch again, as from a worker that does not know that another one did it.
    let again = Append { writes: vec![keys::put(&key, &checkpoint(7))], ..first };
    let error = catalog.append(&name(), again).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { key: conflict, .. } if *conflict == keys::Key::encode(&key)));
    assert!(!error.is_retryable() && !error.may_have_applied());
    let expected =
        "the commit to table default.flights was refused: the value of checkpoint/d was changed by another writer";
    assert_eq!(error.to_string(), expected);
    let unmoved = catalog.load(&name()).await.unwrap();
    assert_eq!(unmoved.metadata_location(), table.metadata_location());
    assert_eq!(keys::get(&*catalog.meta, &key).await.unwrap().unwrap().value, checkpoint(1));
}

#[tokio::test]
async fn an_append_to_a_stale_state_is_redone_on_the_new_one() {
    let (store, meta) = (memory_store(), Arc::new(MemoryMeta::new()));
    let one = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store.clone());
    let other = Catalog::new(meta, store);
    one.create(&name(), new_table()).await.unwrap();
    other.load(&name()).await.unwrap();
    one.append(&name(), batch("a", 0)).await.unwrap();
    let table = other.append(&name(), batch("b", 0)).await.unwrap();
    assert_eq!(other.files(&table).await.unwrap().entries.len(), 2);
    let table = one.load(&name()).await.unwrap();
    assert_eq!(one.files(&table).await.unwrap().entries.len(), 2);
}

#[test]
fn calls_may_move_between_threads() {
    fn check(_: impl Send) {}
    let (catalog, name) = (catalog(memory_store()), name());
    check(catalog.list());
    check(catalog.load(&name));
    check(catalog.create(&name, new_table()));
    check(catalog.append(&name, batch("d", 0)));
    check(async {
        let table = catalog.load(&name).await?;
        catalog.files(&table).await
    });
}
