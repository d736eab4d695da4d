//! A message of the Kinesis Producer Library, in its frame and without: what is read is what would be written.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};
use millrace_proto::aggregate::{Aggregate, UserRecord, unpack};

fuzz_target!(|message: &[u8]| {
    let framed = [&[0xf3, 0x89, 0x9a, 0xc2], message, &Md5::digest(message)].concat();
    for data in [Bytes::from(framed), Bytes::copy_from_slice(message)] {
        let Some(records) = unpack(&data) else { continue };
        let mut aggregate = Aggregate::new();
        for UserRecord { partition_key, explicit_hash_key, data } in &records {
            let text = |key: &Bytes| String::from_utf8(key.to_vec()).expect("keys are text");
            aggregate.push(&text(partition_key), explicit_hash_key.as_ref().map(text).as_deref(), data);
        }
        assert_eq!(unpack(&aggregate.finish()), Some(records));
    }
});
