//! Disks that fail: one that takes no more bytes, and one that returns other bytes than were written.

use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Command;

use super::*;

/// Set for the process that lives with the limit on file sizes; holds its folder.
const CHILD_FOLDER: &str = "MILLRACE_TEST_FULL_DISK";

/// The write-ahead log outgrows a limit on file sizes, so that a write fails as on a full disk. The limit binds a whole
/// process, hence a second one: this very test.
#[tokio::test]
async fn a_failed_write_poisons_the_log_and_loses_nothing() {
    if let Some(path) = std::env::var_os(CHILD_FOLDER) {
        let acknowledged = fill_until_poisoned(Path::new(&path)).await;
        println!("acknowledged={acknowledged}");
        return;
    }
    let files = folder();
    let test = std::env::current_exe().expect("this test");
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""])
        .arg(test)
        .args(["--exact", "--nocapture", "log::rocks::tests::faults::a_failed_write_poisons_the_log_and_loses_nothing"])
        .env(CHILD_FOLDER, files.path())
        .output()
        .expect("a child");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}\n{}", String::from_utf8_lossy(&child.stderr));
    let acknowledged = output.split("acknowledged=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let acknowledged: u64 = acknowledged.expect("a count").parse().expect("a number");
    assert!(acknowledged > 10, "{acknowledged}");

    let log = open(files.path());
    let readable = log.offsets(shard(1, 0));
    assert!(readable.end.0 >= acknowledged, "{readable:?} after {acknowledged}");
    assert_eq!(read_all(&log, shard(1, 0), Offset::ZERO, ALL).await.len() as u64, readable.end.0);
    assert_eq!(put(&log, shard(1, 0), numbered(0, 1)).await.offsets.start, readable.end);
}

/// Appends until a write fails; checks what a poisoned log still does.
async fn fill_until_poisoned(path: &Path) -> u64 {
    let log = open(path);
    let mut acknowledged = 0;
    let cause = loop {
        let ticket = log.append(shard(1, 0), vec![random(100_000)].into()).await.expect("append");
        match ticket.durable().await {
            Ok(appended) => acknowledged = appended.offsets.end.0,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit does not bind");
    };
    assert!(matches!(cause, Error::Poisoned { .. }), "{cause}");
    assert!(cause.may_have_applied());
    assert!(!cause.is_retryable());
    let refused = log.append(shard(2, 0), numbered(0, 1).into()).await.expect_err("poisoned");
    assert_eq!(refused.to_string(), cause.to_string());
    assert!(matches!(log.trim(shard(1, 0), Offset(1)).await, Err(Error::Poisoned { .. })));
    assert!(log.stats().poisoned);
    assert_eq!(log.offsets(shard(1, 0)), range(0, acknowledged));
    assert_eq!(read_all(&log, shard(1, 0), Offset::ZERO, ALL).await.len() as u64, acknowledged);
    log.close().await.expect("close");
    acknowledged
}

/// Flips one bit in the middle of `needle` in whichever blob file holds it.
pub(super) fn flip(path: &Path, needle: &[u8]) {
    for blob in files_ending(path, "blob") {
        let mut file = std::fs::File::options().read(true).write(true).open(&blob).expect("a blob file");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) else { continue };
        let at = at + needle.len() / 2;
        file.seek(SeekFrom::Start(at as u64)).expect("seek");
        file.write_all(&[bytes[at] ^ 1]).expect("write");
        return;
    }
    panic!("no blob file holds the block");
}

#[tokio::test]
async fn a_rotten_block_fails_by_name_and_no_other() {
    let files = folder();
    let log = open(files.path());
    let written = put_blocks(&log).await;
    log.close().await.expect("close");
    flip(files.path(), &written[25].data);

    let log = open(files.path());
    assert_eq!(log.offsets(shard(1, 0)), range(0, 50));
    let before = log.read(shard(1, 0), Offset(3), ALL).await.expect("the blocks before are whole");
    assert_eq!(
        (before.first().map(|r| r.offset), before.last().map(|r| r.offset)),
        (Some(Offset(3)), Some(Offset(19)))
    );
    for from in [20, 25, 29] {
        let error = log.read(shard(1, 0), Offset(from), ALL).await.expect_err("the block is rotten");
        assert!(
            matches!(&error, Error::Corrupt { shard: s, last_offset: Offset(29), .. } if *s == shard(1, 0)),
            "{error}"
        );
    }
    let after = read_all(&log, shard(1, 0), Offset(30), ALL).await;
    assert_eq!(after.len(), 20);
    for (found, written) in after.iter().zip(&written[30..]) {
        assert_eq!(found.data, written.data);
    }
    assert_eq!(read_all(&log, shard(1, 1), Offset::ZERO, ALL).await.len(), 5);
    assert_eq!(log.stats().corrupt_blocks, 3);
    // The log goes on, and a trim takes the rotten block away.
    assert_eq!(put(&log, shard(1, 0), numbered(50, 1)).await.offsets, range(50, 51));
    log.trim(shard(1, 0), Offset(30)).await.expect("trim");
    assert_eq!(read_all(&log, shard(1, 0), Offset::ZERO, ALL).await.len(), 21);
}
