//! What a request claims: a key, a scope, a time, the headers that are signed, and the signature. In the `Authorization`
//! header, or in the query of a presigned URL. Nothing of it is believed here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime, Utc};
use millrace_storage::time::Timestamp;
use ring::digest::{SHA256, digest};

use super::canonical::{ALGORITHM, decoded};
use super::error::SigV4Error;
use super::request::SignedParts;

/// The most bytes of an `Authorization` header, and of a query with a signature.
const CLAIM_BYTES_MAX: usize = 8 << 10;
/// The most headers that a signature covers.
const SIGNED_HEADERS_MAX: usize = 128;
/// The parameter that the signature of a presigned URL stands in.
pub(super) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// A signature and what it claims to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
    /// As it was sent, for the string to sign.
    pub(super) date: String,
    pub(super) time: Timestamp,
    /// In lower case, sorted.
    pub(super) signed_headers: Vec<String>,
    /// In hexadecimal, as it was sent.
    pub(super) signature: String,
    /// The seconds that a presigned URL lives; `None` in the header form.
    pub(super) expires: Option<u64>,
    pub(super) has_session_token: bool,
}

/// The credential scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) day: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) terminator: String,
}

impl Scope {
    pub(super) fn text(&self) -> String {
        let Self { day, region, service, terminator } = self;
        format!("{day}/{region}/{service}/{terminator}")
    }
}

impl Claim {
    /// Reads the claim, of the header or the query.
    pub(super) fn of(parts: &SignedParts<'_>) -> Result<Self, SigV4Error> {
        let parameters = Parameters::of(parts.query)?;
        let header = parts.value("authorization")?;
        match (header, parameters.is_signed()) {
            (Some(_), true) => Err(SigV4Error::incomplete(
                "Only one auth mechanism is allowed: the X-Amz-Algorithm query parameter or the Authorization header.",
            )),
            (Some(header), false) => Self::of_header(parts, header),
            (None, true) => Self::of_query(&parameters),
            (None, false) => Err(SigV4Error::missing()),
        }
    }

    fn of_header(parts: &SignedParts<'_>, header: &str) -> Result<Self, SigV4Error> {
        if header.trim().is_empty() {
            return Err(SigV4Error::missing());
        }
        if header.len() > CLAIM_BYTES_MAX {
            let message = format!("Authorization header is longer than {CLAIM_BYTES_MAX} bytes.");
            return Err(SigV4Error::incomplete(message));
        }
        let fields = match header.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')) {
            Some(fields) => read_fields(fields, header)?,
            None => Vec::new(),
        };
        let field = |name: &str| -> Result<Option<&str>, SigV4Error> {
            let mut found = fields.iter().filter(|(own, _)| *own == name);
            let value = found.next().map(|(_, value)| *value).filter(|value| !value.is_empty());
            if found.next().is_some() {
                return Err(SigV4Error::incomplete(format!("Authorization header has '{name}' more than once.")));
            }
            Ok(value)
        };
        let (credential, signed, signature) = (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
        let date = parts.value("x-amz-date")?.or(parts.value("date")?);
        let mut lacks = Vec::new();
        for (name, value) in [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed)] {
            if value.is_none() {
                lacks.push(format!("Authorization header requires '{name}' parameter."));
            }
        }
        if date.is_none() {
            lacks.push(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".to_owned(),
            );
        }
        let (Some(credential), Some(signed), Some(signature), Some(date)) = (credential, signed, signature, date)
        else {
            let (lacks, hash) = (lacks.join(" "), hashed(header));
            return Err(SigV4Error::incomplete(format!(
                "{lacks} (Hashed with SHA-256 and encoded with Base64) Authorization={hash}"
            )));
        };
        let (date, time) = read_date(date)?;
        let (access_key_id, scope) = read_credential(credential)?;
        Ok(Self {
            access_key_id,
            scope,
            date,
            time,
            signed_headers: read_signed_headers(signed)?,
            signature: read_signature(signature)?,
            expires: None,
            has_session_token: parts.values("x-amz-security-token").next().is_some(),
        })
    }

    fn of_query(parameters: &Parameters) -> Result<Self, SigV4Error> {
        let algorithm = parameters.required("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(SigV4Error::incomplete(format!("X-Amz-Algorithm only supports \"{ALGORITHM}\".")));
        }
        let (date, time) = read_date(parameters.required("X-Amz-Date")?)?;
        let (access_key_id, scope) = read_credential(parameters.required("X-Amz-Credential")?)?;
        let expires = parameters.required("X-Amz-Expires")?;
        let expires =
            expires.parse::<u64>().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
                SigV4Error::incomplete("X-Amz-Expires should be a number of seconds, and more than 0.")
            })?;
        Ok(Self {
            access_key_id,
            scope,
            date,
            time,
            signed_headers: read_signed_headers(parameters.required("X-Amz-SignedHeaders")?)?,
            signature: read_signature(parameters.required(SIGNATURE_PARAMETER)?)?,
            expires: Some(expires),
            has_session_token: parameters.find("X-Amz-Security-Token")?.is_some(),
        })
    }
}

/// The fields of an `Authorization` header, past the algorithm: each a name and a value.
fn read_fields<'a>(fields: &'a str, header: &str) -> Result<Vec<(&'a str, &'a str)>, SigV4Error> {
    let read = |field: &'a str| {
        field.trim().split_once('=').ok_or_else(|| {
            let hash = hashed(header);
            SigV4Error::incomplete(format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '{hash}'."
            ))
        })
    };
    fields.split(',').map(read).collect()
}

/// What AWS shows of a header, so that logs of clients do not get the header itself.
fn hashed(header: &str) -> String {
    STANDARD.encode(digest(&SHA256, header.as_bytes()))
}

/// The query's parameters that have to do with signing, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: &str) -> Result<Self, SigV4Error> {
        let mut found = Vec::new();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = String::from_utf8_lossy(&decoded(name)).into_owned();
            if !name.starts_with("X-Amz-") {
                continue;
            }
            if query.len() > CLAIM_BYTES_MAX {
                return Err(SigV4Error::incomplete(format!("The query is longer than {CLAIM_BYTES_MAX} bytes.")));
            }
            let value = String::from_utf8(decoded(value))
                .map_err(|_| SigV4Error::incomplete(format!("The query parameter {name} is not plain text.")))?;
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn is_signed(&self) -> bool {
        self.0.iter().any(|(name, _)| name == "X-Amz-Algorithm" || name == SIGNATURE_PARAMETER)
    }

    fn find(&self, wanted: &str) -> Result<Option<&str>, SigV4Error> {
        let mut values = self.0.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(SigV4Error::incomplete(format!("The query has {wanted} more than once.")));
        }
        Ok(value)
    }

    fn required(&self, name: &str) -> Result<&str, SigV4Error> {
        let value = self.find(name)?.filter(|value| !value.is_empty());
        value.ok_or_else(|| SigV4Error::incomplete(format!("AWS query-string parameters must include {name}.")))
    }
}

/// `<access key id>/<day>/<region>/<service>/aws4_request`.
fn read_credential(credential: &str) -> Result<(String, Scope), SigV4Error> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [id, day, region, service, terminator] = parts[..] else {
        let message = format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
            shown(credential)
        );
        return Err(SigV4Error::incomplete(message));
    };
    let scope = Scope {
        day: day.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        terminator: terminator.to_owned(),
    };
    Ok((id.to_owned(), scope))
}

/// A time, in the form of `X-Amz-Date` or that of HTTP's `Date`; with it the form that is signed.
fn read_date(text: &str) -> Result<(String, Timestamp), SigV4Error> {
    let text = text.trim();
    let basic = |text: &str| {
        let is_plain =
            text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'T' || byte == b'Z');
        let time = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok().filter(|_| is_plain)?;
        Some(time.and_utc())
    };
    let time = basic(text).or_else(|| Some(DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc)));
    let time = time.ok_or_else(|| {
        let message = format!(
            "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
            shown(text)
        );
        SigV4Error::incomplete(message)
    })?;
    Ok((time.format("%Y%m%dT%H%M%SZ").to_string(), Timestamp(time.timestamp_millis())))
}

fn read_signed_headers(text: &str) -> Result<Vec<String>, SigV4Error> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    if names.len() > SIGNED_HEADERS_MAX {
        let message = format!("SignedHeaders names {} headers, and may name {SIGNED_HEADERS_MAX}.", names.len());
        return Err(SigV4Error::incomplete(message));
    }
    let is_name = |name: &String| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if !names.iter().all(is_name) || !names.is_sorted_by(|a, b| a < b) {
        return Err(SigV4Error::incomplete(
            "SignedHeaders must be in lower case, sorted, each once, and apart by ';'.",
        ));
    }
    Ok(names)
}

fn read_signature(text: &str) -> Result<String, SigV4Error> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Ok(text.to_owned()) } else { Err(SigV4Error::mismatch()) }
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
