//! What a target of `tests/fuzz` calls: all that is done with a request before its signature is compared.

use axum::http::request::Parts;

use super::claim::{Claim, SIGNATURE_PARAMETER};
use super::request::SignedParts;
use super::{SigV4Error, Verifier, canonical, check_signed_headers};
use crate::auth::settings::SigV4Settings;

/// Takes a request's claim apart and checks it. It must not panic.
///
/// # Errors
/// As clients get them.
pub fn verify(parts: &Parts, body: &[u8]) -> Result<String, SigV4Error> {
    let verifier = Verifier::new(SigV4Settings::default());
    let parts = SignedParts::of(parts);
    let claim = Claim::of(&parts)?;
    let signed: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
    let left_out = claim.expires.map(|_| SIGNATURE_PARAMETER);
    let request = canonical::request(&parts, &signed, &canonical::hash(body), left_out)?;
    let text = canonical::string_to_sign(&claim.date, &claim.scope.text(), &request);
    verifier.check_scope(&claim, "kinesis")?;
    verifier.check_time(&claim, claim.time)?;
    check_signed_headers(&parts, &claim)?;
    verifier.payload_hash(&parts, body)?;
    Ok(text)
}
