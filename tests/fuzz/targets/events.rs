//! Messages of an event stream, written by the server and read by AWS' own decoder: the first byte chooses the format, and the
//! rest is the payload and the words of an error.
#![no_main]

use aws_smithy_eventstream::frame::read_message_from;
use libfuzzer_sys::fuzz_target;
use millrace_server::api::aws::fuzz;

fuzz_target!(|input: &[u8]| {
    let Some((format, payload)) = input.split_first() else { return };
    let words = String::from_utf8_lossy(payload);
    let [mut initial, mut event, mut exception] = fuzz::events(format & 1 == 1, payload, &words);
    for message in [&mut initial, &mut event, &mut exception] {
        let read = read_message_from(&mut *message).expect("the decoder reads it");
        assert!(message.is_empty(), "all of it");
        let is_event = read.headers()[1].value().as_string().is_ok_and(|kind| kind.as_str() == "SubscribeToShardEvent");
        assert!(!is_event || read.payload() == payload);
    }
});
