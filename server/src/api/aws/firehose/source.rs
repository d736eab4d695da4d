//! Which delivery streams take nothing but what CloudWatch Logs sends. One that decompresses takes records in GZIP alone, and
//! refuses others when they are put, where the producer learns of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_storage::meta::keys::delivery_stream::DeliveryStreamValue;
use parking_lot::RwLock;

use super::destination::Destination;
use super::name::Name;
use crate::api::aws::protocol::AwsError;

/// What a record in GZIP begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const DECOMPRESSION: &str = "Decompression";

/// The delivery streams that decompress, by name. There are no more than delivery streams.
#[derive(Debug, Default)]
pub(super) struct Sources {
    compressed: RwLock<BTreeSet<String>>,
}

impl Sources {
    /// Takes over what a delivery stream is declared as.
    pub(super) fn note(&self, name: &Name, value: &DeliveryStreamValue) {
        let mut compressed = self.compressed.write();
        if decompresses(value) {
            compressed.insert(name.as_str().to_owned());
        } else {
            compressed.remove(name.as_str());
        }
    }

    pub(super) fn forget(&self, name: &Name) {
        self.compressed.write().remove(name.as_str());
    }

    /// Whether a delivery stream takes records from where these come.
    ///
    /// # Errors
    /// `InvalidSourceException`.
    pub(super) fn check<'a>(&self, name: &Name, mut records: impl Iterator<Item = &'a Bytes>) -> Result<(), AwsError> {
        if !self.compressed.read().contains(name.as_str()) || records.all(|data| data.starts_with(&GZIP)) {
            return Ok(());
        }
        let message = format!(
            "Firehose {name} decompresses what CloudWatch Logs sends, and takes only records in GZIP; one of these is not"
        );
        Err(AwsError::new("InvalidSourceException", message).with_field("code", "InvalidSourceException"))
    }
}

fn decompresses(value: &DeliveryStreamValue) -> bool {
    let processing = match Destination::from_json(&value.destination_json) {
        Ok(Destination::S3(s3)) => s3.processing_configuration,
        Ok(Destination::Iceberg(iceberg)) => iceberg.processing_configuration,
        // It is told of where the declaration is carried out.
        Err(_) => None,
    };
    processing.is_some_and(|processing| {
        let is_step = |processor: &super::destination::Processor| processor.r#type == DECOMPRESSION;
        processing.enabled == Some(true) && processing.processors.iter().any(is_step)
    })
}

#[cfg(test)]
mod tests {
    use super::super::destination::{ProcessingConfiguration, Processor, S3Destination};
    use super::*;

    fn declared(kind: &str, enabled: bool) -> DeliveryStreamValue {
        let processors = vec![Processor { r#type: kind.to_owned(), parameters: Vec::new() }];
        let processing = ProcessingConfiguration { enabled: Some(enabled), processors };
        let s3 = S3Destination { processing_configuration: Some(processing), ..S3Destination::default() };
        let destination_json = Destination::S3(Box::new(s3)).to_json().unwrap();
        DeliveryStreamValue { destination_json, ..DeliveryStreamValue::default() }
    }

    #[test]
    fn a_delivery_stream_that_decompresses_takes_records_in_gzip_alone() {
        let (sources, name) = (Sources::default(), Name::parse("logs").unwrap());
        let (gzip, text) = (Bytes::from_static(&[0x1f, 0x8b, 8]), Bytes::from_static(b"text"));
        assert!(sources.check(&name, [&text].into_iter()).is_ok());
        for (kind, enabled, takes_text) in [
            ("Decompression", true, false),
            ("Decompression", false, true),
            ("Decompression", true, false),
            ("AppendDelimiterToRecord", true, true),
        ] {
            sources.note(&name, &declared(kind, enabled));
            assert!(sources.check(&name, [&gzip, &gzip].into_iter()).is_ok());
            assert_eq!(sources.check(&name, [&gzip, &text].into_iter()).is_ok(), takes_text, "{kind} {enabled}");
        }
        sources.note(&name, &declared("Decompression", true));
        let error = sources.check(&name, [&text].into_iter()).unwrap_err();
        assert_eq!(error.code(), "InvalidSourceException");
        sources.forget(&name);
        assert!(sources.check(&name, [&text].into_iter()).is_ok());
    }
}
