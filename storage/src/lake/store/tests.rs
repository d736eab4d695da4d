//! What a store promises: durable objects, URLs that round-trip, kinds of errors, secrets that stay hidden.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn a_disk_store_keeps_objects_below_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/lake ~ x", folder.path().display());
    let store = Store::open(&StoreSettings::of_url(&url)).unwrap();
    let path = store.path("default/flights/data/year=2013/a.parquet");
    store.put(&path, Bytes::from_static(b"rows")).await.unwrap();

    assert_eq!(store.get(&path).await.unwrap(), "rows");
    assert_eq!(
        std::fs::read(folder.path().join("lake ~ x/default/flights/data/year=2013/a.parquet")).unwrap(),
        b"rows"
    );
    assert_eq!(store.url(&path), format!("{url}/default/flights/data/year=2013/a.parquet"));
    assert_eq!(store.path_of_url(&store.url(&path)).unwrap(), path);
    assert_eq!(store.root_url(), url);
}

#[tokio::test]
async fn a_missing_object_is_not_found_by_name() {
    let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
    let error = store.get(&store.path("a/b")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(error.to_string(), "lake/a/b is not in the store memory:///lake");
    store.delete(&store.path("a/b")).await.unwrap();
}

#[tokio::test]
async fn an_upload_in_parts_on_a_disk_is_whole_and_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreSettings::of_url(format!("file://{}", folder.path().display()))).unwrap();
    let path = store.path("data/parts");
    let mut upload = store.object_store().put_multipart(&path).await.unwrap();
    upload.put_part(PutPayload::from_static(b"one ")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"two")).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap(), "one two");
}

#[tokio::test]
async fn a_folder_without_rights_is_denied_and_not_retryable() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreSettings::of_url(format!("file://{}/lake", folder.path().display()))).unwrap();
    let root = folder.path().join("lake");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o500)).unwrap();
    let outcome = store.put(&store.path("a"), Bytes::from_static(b"x")).await;
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
    match outcome {
        Err(error) => {
            assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
            assert!(!error.is_retryable());
        }
        // Root may write everywhere; then the mapping is checked on its own.
        Ok(()) => {
            let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(denied) };
            assert!(matches!(store.error(&store.path("a"), &error), Error::PermissionDenied { .. }));
        }
    }
}

#[test]
fn a_full_disk_is_retryable() {
    let store = Store::open(&StoreSettings::of_url("memory:///")).unwrap();
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
    assert!(store.error(&store.path("a"), &error).is_retryable());
}

#[test]
fn a_bad_url_says_what_is_allowed() {
    for (url, why) in [
        ("data", "has an unknown scheme"),
        ("http://host/bucket", "has an unknown scheme"),
        ("file://relative/folder", "has no absolute folder"),
        ("s3://", "has no bucket"),
        ("file:///a/../b", "has a bad path"),
    ] {
        let error = Store::open(&StoreSettings::of_url(url)).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("s3://bucket/prefix"), "{url}: {error}");
    }
}

#[test]
fn s3_settings_are_checked_and_secrets_stay_hidden() {
    let settings = StoreSettings {
        endpoint: Some("http://127.0.0.1:9000".into()),
        access_key_id: Some("id".into()),
        secret_access_key: Some(Secret::new("hunter2")),
        ..StoreSettings::of_url("s3://bucket/lake")
    };
    let error = Store::open(&settings).unwrap_err().to_string();
    assert!(error.contains("allow_http"), "{error}");

    let settings = StoreSettings { allow_http: true, ..settings };
    let store = Store::open(&settings).unwrap();
    assert!(!format!("{settings:?} {store:?}").contains("hunter2"));
    assert_eq!(store.url(&store.path("t/data/x")), "s3://bucket/lake/t/data/x");
    assert_eq!(store.path_of_url("s3a://bucket/lake/t").unwrap(), store.path("t"));
    assert!(store.path_of_url("s3://other/lake/t").is_err());

    let half = StoreSettings { secret_access_key: None, ..settings };
    assert!(Store::open(&half).unwrap_err().to_string().contains("or neither"));
}
