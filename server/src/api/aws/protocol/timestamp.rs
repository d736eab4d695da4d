//! Points in time on the wire: seconds since the Unix epoch with a fraction in JSON, tagged milliseconds in CBOR.

use ciborium::tag::Required;
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// CBOR's tag of a time since the epoch.
const EPOCH_TAG: u64 = 1;

/// A point in time. Requests are read from the tree, in which CBOR's milliseconds are seconds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::api::aws) struct Time(pub(in crate::api::aws) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        if serializer.is_human_readable() {
            serializer.serialize_f64(millis as f64 / 1000.0)
        } else {
            Required::<i64, EPOCH_TAG>(millis).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // A float is cut to what an integer holds, so that a time of any size is a time.
        #[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
        Ok(Self(Timestamp((seconds * 1000.0).round() as i64)))
    }
}
