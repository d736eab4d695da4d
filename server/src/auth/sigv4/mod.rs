//! Signature Version 4, verified: the header form and presigned URLs, for every service but S3.
//!
//! The order of the checks is that of the costs, and nothing that the request claims is used before the signature holds but to
//! find out which secret to verify it with.

mod error;
mod request;
mod canonical;
mod claim;
mod signing_key;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::http::request::Parts;
use chrono::DateTime;
use millrace_storage::time::Timestamp;
use ring::hmac;

pub use error::{SigV4Code, SigV4Error};

use super::caller::Caller;
use super::directory::{Directory, FoundKey};
use super::settings::SigV4Settings;
use claim::{Claim, SIGNATURE_PARAMETER};
use request::SignedParts;
use signing_key::SigningKeys;

const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Verifies signatures.
#[derive(Debug)]
pub(super) struct Verifier {
    settings: SigV4Settings,
    keys: SigningKeys,
}

impl Verifier {
    pub(super) fn new(settings: SigV4Settings) -> Self {
        Self { settings, keys: SigningKeys::default() }
    }

    pub(super) fn verify(
        &self,
        parts: &Parts,
        body: &[u8],
        service: &str,
        directory: &Directory,
    ) -> Result<Caller, SigV4Error> {
        self.verify_parts(&SignedParts::of(parts), body, service, directory)
    }

    fn verify_parts(
        &self,
        parts: &SignedParts<'_>,
        body: &[u8],
        service: &str,
        directory: &Directory,
    ) -> Result<Caller, SigV4Error> {
        let claim = Claim::of(parts)?;
        if claim.has_session_token {
            // There are no temporary credentials here, so that none can be right.
            return Err(SigV4Error::unrecognized());
        }
        let key = directory.key(&claim.access_key_id).ok_or_else(SigV4Error::unrecognized)?;
        self.check_scope(&claim, service)?;
        self.check_time(&claim, directory.clock().now())?;
        check_signed_headers(parts, &claim)?;
        let payload_hash = self.payload_hash(parts, body)?;
        self.check_signature(parts, &claim, &payload_hash, &key)?;
        key.principal.admit().map_err(|_| SigV4Error::unrecognized())?;
        Ok(Caller::of(key.principal))
    }

    fn check_scope(&self, claim: &Claim, service: &str) -> Result<(), SigV4Error> {
        let scope = &claim.scope;
        if scope.terminator != TERMINATOR {
            let message = format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                scope.terminator
            );
            return Err(SigV4Error::invalid(message));
        }
        if scope.service != service {
            return Err(SigV4Error::invalid(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        if let Some(region) = self.settings.region.as_ref().filter(|region| **region != scope.region) {
            let message =
                format!("Credential should be scoped to a valid region, not '{}'; it is '{region}'.", scope.region);
            return Err(SigV4Error::invalid(message));
        }
        let day = &claim.date[..8];
        if scope.day != day {
            let message = format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', \
                 from '{}'.",
                scope.day, claim.date
            );
            return Err(SigV4Error::invalid(message));
        }
        Ok(())
    }

    fn check_time(&self, claim: &Claim, now: Timestamp) -> Result<(), SigV4Error> {
        let skew = self.settings.clock_skew_max;
        let (date, minutes) = (&claim.date, skew.as_secs() / 60);
        let latest = after(now, skew);
        if claim.time > latest {
            let message = format!(
                "Signature not yet current: {date} is still later than {} ({} + {minutes} min.)",
                basic(latest),
                basic(now)
            );
            return Err(SigV4Error::invalid(message));
        }
        let Some(expires) = claim.expires else {
            let earliest = now.before(skew);
            if claim.time < earliest {
                let message = format!(
                    "Signature expired: {date} is now earlier than {} ({} - {minutes} min.)",
                    basic(earliest),
                    basic(now)
                );
                return Err(SigV4Error::invalid(message));
            }
            return Ok(());
        };
        let life_max = self.settings.presigned_life_max;
        if Duration::from_secs(expires) > life_max {
            let message = format!("X-Amz-Expires must be less than or equal to {} seconds.", life_max.as_secs());
            return Err(SigV4Error::incomplete(message));
        }
        let end = after(claim.time, Duration::from_secs(expires));
        if now > end {
            let message = format!("Request has expired: it ended {}, and it is {} now.", basic(end), basic(now));
            return Err(SigV4Error::new(SigV4Code::RequestExpired, message));
        }
        Ok(())
    }

    /// The payload's hash as it is signed. Where the request names one, the body must have it.
    fn payload_hash(&self, parts: &SignedParts<'_>, body: &[u8]) -> Result<String, SigV4Error> {
        match parts.value("x-amz-content-sha256")? {
            Some(UNSIGNED_PAYLOAD) if self.settings.allow_unsigned_payload => Ok(UNSIGNED_PAYLOAD.to_owned()),
            Some(UNSIGNED_PAYLOAD) => {
                Err(SigV4Error::invalid("The request's payload must be signed: UNSIGNED-PAYLOAD is not accepted."))
            }
            named => {
                let hash = canonical::hash(body);
                if named.is_some_and(|named| named != hash) {
                    return Err(SigV4Error::mismatch());
                }
                Ok(hash)
            }
        }
    }

    fn check_signature(
        &self,
        parts: &SignedParts<'_>,
        claim: &Claim,
        payload_hash: &str,
        key: &FoundKey,
    ) -> Result<(), SigV4Error> {
        let signed: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
        let left_out = claim.expires.map(|_| SIGNATURE_PARAMETER);
        let request = canonical::request(parts, &signed, payload_hash, left_out)?;
        let text = canonical::string_to_sign(&claim.date, &claim.scope.text(), &request);
        let kept = self.keys.get(&claim.access_key_id, &claim.scope);
        let signing_key = match &kept {
            Some(kept) => kept.clone(),
            None => {
                let secret = key.secret.as_ref().ok_or_else(|| {
                    let message = super::directory::is_locked(&claim.access_key_id).to_string();
                    SigV4Error::new(SigV4Code::ServiceUnavailable, message)
                })?;
                signing_key::derive(secret, &claim.scope)
            }
        };
        let signature = canonical::decoded_hex(&claim.signature).ok_or_else(SigV4Error::mismatch)?;
        // Takes the same time wherever the first wrong byte is.
        hmac::verify(&signing_key, text.as_bytes(), &signature).map_err(|_| SigV4Error::mismatch())?;
        if kept.is_none() {
            self.keys.keep(&claim.access_key_id, &claim.scope, signing_key);
        }
        Ok(())
    }
}

/// What names the server, and whatever tells AWS what to do, must be covered; else it could be exchanged on the way.
fn check_signed_headers(parts: &SignedParts<'_>, claim: &Claim) -> Result<(), SigV4Error> {
    let is_signed = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    if !is_signed("host") {
        return Err(SigV4Error::invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    }
    if parts.value("host")?.is_none() {
        return Err(SigV4Error::invalid("The request has no 'Host' header, and it must be signed."));
    }
    // Both would say when, and one would not be covered.
    let needs = |name: &str| name.starts_with("x-amz-") || name == "date" && claim.expires.is_none();
    let has_date = parts.values("x-amz-date").next().is_some();
    let unsigned = parts.headers.iter().map(|(name, _)| *name).find(|name| {
        let is_spare_date = *name == "date" && has_date;
        needs(name) && !is_spare_date && !is_signed(name)
    });
    if let Some(name) = unsigned {
        return Err(SigV4Error::invalid(format!(
            "The header '{name}' must be a 'SignedHeader' in the AWS Authorization."
        )));
    }
    if let Some(name) = claim.signed_headers.iter().find(|name| parts.values(name).next().is_none()) {
        let shown: String = name.chars().take(128).collect();
        return Err(SigV4Error::invalid(format!("The signed header '{shown}' is not in the request.")));
    }
    Ok(())
}

fn after(time: Timestamp, span: Duration) -> Timestamp {
    Timestamp(time.as_millis().saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

/// A time as AWS writes it.
fn basic(time: Timestamp) -> String {
    let time = DateTime::from_timestamp_millis(time.as_millis()).unwrap_or_default();
    time.format("%Y%m%dT%H%M%SZ").to_string()
}
