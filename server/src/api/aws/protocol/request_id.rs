//! The ids that each answer carries, by which a client and the server's log speak of the same request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// Random bytes behind an extended id.
const EXTENDED_BYTES: usize = 72;

/// The ids of one request.
#[derive(Debug, Clone)]
pub(super) struct RequestId {
    /// `x-amzn-RequestId`.
    pub(super) id: String,
    /// `x-amz-id-2`.
    pub(super) extended: String,
}

impl RequestId {
    pub(super) fn new() -> Self {
        let bytes: [u8; EXTENDED_BYTES] = std::array::from_fn(|_| rand::random());
        Self { id: Uuid::new_v4().to_string(), extended: STANDARD.encode(bytes) }
    }
}
