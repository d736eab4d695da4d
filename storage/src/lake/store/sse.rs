//! Server-side encryption: what an S3-compatible service is told about how to encrypt the objects that it is given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::super::{Error, Result};
use super::settings::{StoreEncryption, StoreSettings};

/// Bytes of a customer's key.
const CUSTOMER_KEY_BYTES: usize = 32;

/// Sets what the settings tell. What does not belong to the chosen encryption is refused, so that nobody believes in a key
/// that is not used.
pub(super) fn encrypt(builder: AmazonS3Builder, settings: &StoreSettings) -> Result<AmazonS3Builder> {
    let StoreSettings { encryption, kms_key_id, bucket_key, customer_key, .. } = settings;
    let by_kms = matches!(encryption, Some(StoreEncryption::Kms | StoreEncryption::DualKms));
    let misplaced = [
        ("kms_key_id", kms_key_id.is_some() && !by_kms, "sse-kms or dsse-kms"),
        ("bucket_key", bucket_key.is_some() && *encryption != Some(StoreEncryption::Kms), "sse-kms"),
        ("customer_key", customer_key.is_some() && *encryption != Some(StoreEncryption::Customer), "sse-c"),
    ];
    if let Some((name, _, needed)) = misplaced.into_iter().find(|(_, misplaced, _)| *misplaced) {
        return Err(Error::Invalid(format!("the store's {name} needs encryption = {needed}")));
    }
    let Some(encryption) = encryption else { return Ok(builder) };
    let with = |builder: AmazonS3Builder, name: &str, value: &str| match name.parse::<AmazonS3ConfigKey>() {
        Ok(key) => Ok(builder.with_config(key, value)),
        Err(error) => Err(Error::Invalid(format!("the store cannot be told its {name}: {error}"))),
    };
    let kind = |builder, value| with(builder, "aws_server_side_encryption", value);
    let builder = match encryption {
        StoreEncryption::Service => kind(builder, "AES256")?,
        StoreEncryption::Kms => kind(builder, "aws:kms")?,
        StoreEncryption::DualKms => kind(builder, "aws:kms:dsse")?,
        StoreEncryption::Customer => {
            let key = customer_key.as_ref().map(|key| key.reveal().trim()).unwrap_or_default();
            if STANDARD.decode(key).map_or(0, |key| key.len()) != CUSTOMER_KEY_BYTES {
                let reason = "encryption = sse-c needs customer_key, 32 bytes in base64";
                return Err(Error::Invalid(format!("the store's {reason}")));
            }
            builder.with_ssec_encryption(key)
        }
    };
    let builder = match kms_key_id {
        Some(id) => with(builder, "aws_sse_kms_key_id", id)?,
        None => builder,
    };
    Ok(match bucket_key {
        Some(bucket_key) => builder.with_bucket_key(*bucket_key),
        None => builder,
    })
}
