//! The published test vectors, and everything that is no valid signature.
//!
//! `vectors.json` is the signing test suite of the AWS Common Runtime as the crate `aws-sigv4` ships it (Apache-2.0, Amazon),
//! one object a vector. Seven of its vectors are for services that do not normalise paths; where that makes a difference
//! they must not verify here.

use std::sync::Arc;

use axum::http::{HeaderValue, Request};
use millrace_storage::time::Clock;
use proptest::prelude::*;
use serde::Deserialize;

use super::canonical::{hash, hex};
use super::claim::Scope;
use super::*;
use crate::auth::metrics::AuthMetrics;
use crate::auth::payer::{Payer, PayerQuota};
use crate::auth::principal::Principal;
use crate::auth::secret::{AccessKeyId, Secret};
use crate::auth::{Action, Grant, Resource};
use crate::metrics::Metrics;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z, when all vectors were signed.
const THEN: i64 = 1_440_938_160_000;

#[derive(Deserialize)]
struct Vector {
    name: String,
    context: Context,
    token: Option<String>,
    header: Form,
    query: Form,
}

#[derive(Deserialize)]
struct Context {
    normalize: bool,
    #[serde(default)]
    omit_session_token: bool,
}

#[derive(Deserialize)]
struct Form {
    canonical_request: String,
    string_to_sign: String,
    signature: String,
    signed_request: String,
}

fn directory(now: i64) -> (Directory, Arc<Principal>) {
    let metrics = AuthMetrics::new(&Metrics::new(), 10);
    let payer = Payer::new("ann", PayerQuota::default(), 1, &metrics);
    let directory = Directory::new(metrics, Clock::new(move || Timestamp(now)));
    let grants = vec![Grant::parse(["put"], "stream/a").unwrap()];
    let principal = Arc::new(Principal::new("ann".parse().unwrap(), grants, payer, false));
    directory.add(Arc::clone(&principal));
    let (id, secret) = (AccessKeyId::of_stored(KEY_ID.to_owned()), Secret::of_test(SECRET));
    directory.add_key(id, &principal, Some(secret), None);
    (directory, principal)
}

fn verifier() -> Verifier {
    Verifier::new(SigV4Settings { region: Some("us-east-1".to_owned()), ..SigV4Settings::default() })
}

/// A request as text: the parts that are signed, and the body. Header values may go on in further lines.
fn parse(text: &str) -> (Vec<(String, String)>, String, String, String, String) {
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.split('\n');
    let first = lines.next().unwrap();
    let (method, rest) = first.split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with(' ') => headers.push((name.to_lowercase(), value.to_owned())),
            _ => {
                let last = headers.last_mut().unwrap();
                last.1 = format!("{}\n{line}", last.1);
            }
        }
    }
    (headers, method.to_owned(), path.to_owned(), query.to_owned(), body.to_owned())
}

#[test]
fn the_published_vectors_verify() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let (verifier, (directory, _)) = (verifier(), directory(THEN));
    let (mut verified, mut foreign) = (0, 0);
    for vector in &vectors {
        for (form, left_out) in [(&vector.header, None), (&vector.query, Some(SIGNATURE_PARAMETER))] {
            let name = &vector.name;
            let (headers, method, path, query, body) = parse(&form.signed_request);
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let parts = SignedParts { method: &method, path: &path, query: &query, headers };
            let outcome = verifier.verify_parts(&parts, body.as_bytes(), "service", &directory);
            if form.signature.trim().len() != 64 {
                // One published signature lacks a digit. It must not verify, and what leads to it must be right.
                assert_eq!(outcome.unwrap_err(), SigV4Error::mismatch(), "{name}");
                continue;
            }
            let claim = Claim::of(&parts).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(claim.signature, form.signature.trim(), "{name}");
            let signed: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
            // A vector that leaves the token out was signed before it was added.
            let later = vector.context.omit_session_token.then_some("X-Amz-Security-Token");
            let bare: String = query
                .split('&')
                .filter(|own| later.is_none_or(|later| !own.starts_with(later)))
                .collect::<Vec<_>>()
                .join("&");
            let covered = SignedParts { query: &bare, headers: parts.headers.clone(), ..parts };
            let request = canonical::request(&covered, &signed, &hash(body.as_bytes()), left_out).unwrap();
            if !vector.context.normalize && request != form.canonical_request.as_bytes() {
                assert_eq!(outcome.unwrap_err(), SigV4Error::mismatch(), "{name}");
                foreign += 1;
                continue;
            }
            assert_eq!(String::from_utf8(request.clone()).unwrap(), form.canonical_request, "{name}");
            let text = canonical::string_to_sign(&claim.date, &claim.scope.text(), &request);
            assert_eq!(text, form.string_to_sign, "{name}");
            match &vector.token {
                // Temporary credentials: nothing here ever gave any out.
                Some(_) => assert_eq!(outcome.unwrap_err(), SigV4Error::unrecognized(), "{name}"),
                None => {
                    let caller = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert_eq!(caller.principal(), Some("ann"), "{name}");
                    verified += 1;
                }
            }
        }
    }
    assert_eq!((vectors.len(), foreign), (38, 12));
    assert!(verified >= 50, "{verified}");
    assert_eq!(verifier.keys.len(), 1, "one day, one region, one service: one signing key");
}

/// Signs as a client does.
#[derive(Clone)]
struct Signer {
    id: String,
    secret: String,
    date: String,
    scope: Scope,
    headers: Vec<(String, String)>,
    signed: Vec<String>,
    body: Vec<u8>,
}

impl Signer {
    fn new() -> Self {
        let scope = Scope {
            day: "20150830".to_owned(),
            region: "us-east-1".to_owned(),
            service: "kinesis".to_owned(),
            terminator: "aws4_request".to_owned(),
        };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            id: KEY_ID.to_owned(),
            secret: SECRET.to_owned(),
            date: "20150830T123600Z".to_owned(),
            scope,
            headers: vec![
                header("content-type", "application/x-amz-json-1.1"),
                header("host", "localhost:7080"),
                header("x-amz-date", "20150830T123600Z"),
                header("x-amz-target", "Kinesis_20131202.PutRecord"),
            ],
            signed: ["content-type", "host", "x-amz-date", "x-amz-target"].map(str::to_owned).to_vec(),
            body: br#"{"StreamName":"a","Data":"YQ==","PartitionKey":"1"}"#.to_vec(),
        }
    }

    fn at(mut self, date: &str) -> Self {
        self.scope.day = date[..8].to_owned();
        date.clone_into(&mut self.date);
        self.set("x-amz-date", date);
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn authorization(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let parts = SignedParts { method: "POST", path: "/", query: "", headers };
        let signed: Vec<&str> = self.signed.iter().map(String::as_str).collect();
        let request = canonical::request(&parts, &signed, &hash(&self.body), None).unwrap();
        let text = canonical::string_to_sign(&self.date, &self.scope.text(), &request);
        let key = signing_key::derive(&Secret::of_test(&self.secret), &self.scope);
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.id,
            self.scope.text(),
            self.signed.join(";")
        )
    }

    fn request(&self) -> (Parts, Vec<u8>) {
        self.request_with(&self.authorization())
    }

    fn request_with(&self, authorization: &str) -> (Parts, Vec<u8>) {
        let mut request = Request::post("/");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (parts, ()) = request.header("authorization", authorization).body(()).unwrap().into_parts();
        (parts, self.body.clone())
    }
}

fn check((parts, body): &(Parts, Vec<u8>), now: i64) -> Result<Caller, SigV4Error> {
    verifier().verify(parts, body, "kinesis", &directory(now).0)
}

fn refused(request: &(Parts, Vec<u8>), now: i64, name: &str, words: &str) {
    let error = check(request, now).unwrap_err();
    assert!(error.name() == name && error.message().contains(words), "{} {error}, not {name} {words}", error.name());
}

const INVALID: &str = "InvalidSignatureException";
const INCOMPLETE: &str = "IncompleteSignatureException";
const UNRECOGNIZED: &str = "UnrecognizedClientException";

#[test]
fn who_signed_may_do_what_it_was_granted() {
    let caller = check(&Signer::new().request(), THEN).unwrap();
    assert!(caller.check(Action::Put, &Resource::stream("a")).is_ok());
    assert!(caller.check(Action::Put, &Resource::stream("b")).is_err());
}

#[test]
fn a_signature_holds_for_five_minutes_and_not_one_second_more() {
    let request = Signer::new().request();
    for (seconds, good) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        assert_eq!(check(&request, THEN + seconds * 1000).is_ok(), good, "{seconds}");
    }
    let expired =
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)";
    refused(&request, THEN + 301_000, INVALID, expired);
    refused(&request, THEN - 301_000, INVALID, "Signature not yet current: 20150830T123600Z is still later than");
}

#[test]
fn a_scope_of_another_service_region_day_or_end_is_refused() {
    let signer = |change: fn(&mut Scope)| {
        let mut signer = Signer::new();
        change(&mut signer.scope);
        signer.request()
    };
    refused(&signer(|scope| scope.service = "s3".into()), THEN, INVALID, "scoped to correct service: 'kinesis'");
    refused(&signer(|scope| scope.region = "mars".into()), THEN, INVALID, "valid region, not 'mars'");
    refused(&signer(|scope| scope.day = "20150829".into()), THEN, INVALID, "'20150829' != '20150830'");
    refused(&signer(|scope| scope.terminator = "aws5".into()), THEN, INVALID, "valid terminator: 'aws4_request'");
    let any = Verifier::new(SigV4Settings::default());
    let (parts, body) = signer(|scope| scope.region = "mars".into());
    assert!(any.verify(&parts, &body, "kinesis", &directory(THEN).0).is_ok());
}

#[test]
fn unknown_disabled_deleted_and_ended_keys_are_told_as_aws_does() {
    let mut signer = Signer::new();
    signer.id = "AKIDOTHER".to_owned();
    refused(&signer.request(), THEN, UNRECOGNIZED, "The security token included in the request is invalid.");
    signer.id = KEY_ID.to_owned();
    signer.secret = "wrong".to_owned();
    refused(&signer.request(), THEN, INVALID, "does not match the signature you provided");
    let (verifier, (directory, principal), (parts, body)) = (verifier(), directory(THEN), Signer::new().request());
    let verify = || verifier.verify(&parts, &body, "kinesis", &directory);
    let caller = verify().unwrap();
    principal.set_disabled(true);
    assert_eq!(verify().unwrap_err(), SigV4Error::unrecognized());
    assert!(caller.check(Action::Put, &Resource::stream("a")).is_err(), "requests under way see it too");
    principal.set_disabled(false);
    assert!(verify().is_ok());
    let id = || AccessKeyId::of_stored(KEY_ID.to_owned());
    directory.add_key(id(), &principal, Some(Secret::of_test(SECRET)), Some(Timestamp(THEN)));
    assert_eq!(verify().unwrap_err(), SigV4Error::unrecognized(), "past its end, whatever is cached");
    directory.add_key(id(), &principal, Some(Secret::of_test(SECRET)), None);
    directory.remove(principal.name());
    assert_eq!(verify().unwrap_err(), SigV4Error::unrecognized());
}

#[test]
fn a_secret_whose_master_key_is_away_is_no_wrong_signature() {
    let (directory, principal) = directory(THEN);
    directory.add_key(AccessKeyId::of_stored(KEY_ID.to_owned()), &principal, None, None);
    let (parts, body) = Signer::new().request();
    let error = verifier().verify(&parts, &body, "kinesis", &directory).unwrap_err();
    assert_eq!((error.code(), error.status().as_u16()), (SigV4Code::ServiceUnavailable, 503));
}

#[test]
fn what_must_be_signed_must_be_signed() {
    for (name, words) in [
        ("host", "'Host' or ':authority' must be a 'SignedHeader'"),
        ("x-amz-date", "'x-amz-date' must be a 'SignedHeader'"),
        ("x-amz-target", "'x-amz-target' must be a 'SignedHeader'"),
    ] {
        let mut signer = Signer::new();
        signer.signed.retain(|own| own != name);
        refused(&signer.request(), THEN, INVALID, words);
    }
    let mut signer = Signer::new();
    signer.signed.push("x-amz-zzz".to_owned());
    refused(&signer.request(), THEN, INVALID, "'x-amz-zzz' is not in the request");
}

#[test]
fn broken_and_doubled_credentials_are_incomplete() {
    let signer = Signer::new();
    let good = signer.authorization();
    let fields = &good["AWS4-HMAC-SHA256 ".len()..];
    refused(&signer.request_with("AWS4-HMAC-SHA256"), THEN, INCOMPLETE, "requires 'Credential' parameter.");
    refused(&signer.request_with("Bearer x"), THEN, INCOMPLETE, "requires 'Signature' parameter.");
    refused(&signer.request_with(&format!("AWS4-HMAC-SHA512 {fields}")), THEN, INCOMPLETE, "requires 'Credential'");
    refused(&signer.request_with(&good.replace("SignedHeaders=", "Signed=")), THEN, INCOMPLETE, "'SignedHeaders'");
    refused(&signer.request_with(&format!("{good}, Signature={}", "0".repeat(64))), THEN, INCOMPLETE, "more than once");
    refused(&signer.request_with(&good.replace("/kinesis", "")), THEN, INCOMPLETE, "exactly 5 slash-delimited");
    refused(&signer.request_with(&good.replace("content-type;host", "host;content-type")), THEN, INCOMPLETE, "sorted");
    refused(&signer.request_with(&good.replace(";host", ";HOST")), THEN, INCOMPLETE, "lower case");
    refused(&signer.request_with(&good.to_uppercase()), THEN, INCOMPLETE, "requires");
    for bare in [format!("{good},"), format!("{good}, Other"), good.replace(", ", ",,")] {
        refused(&signer.request_with(&bare), THEN, INCOMPLETE, "missing equal-sign");
    }
    refused(&signer.request_with(&format!("{good}{}", " ".repeat(8192))), THEN, INCOMPLETE, "longer than 8192");
    for end in 0..good.len() {
        let error = check(&signer.request_with(&good[..end]), THEN).unwrap_err();
        let wanted = if end == 0 { "MissingAuthenticationTokenException" } else { error.name() };
        assert!([INVALID, INCOMPLETE, UNRECOGNIZED, wanted].contains(&error.name()), "{end} {}", error.name());
        assert!(end > 0 || error.name() == wanted);
    }
    let (mut parts, body) = signer.request();
    parts.headers.append("authorization", HeaderValue::from_str(&good).unwrap());
    refused(&(parts, body), THEN, INCOMPLETE, "more than one 'authorization'");
    for doubled in ["host", "x-amz-date"] {
        let (mut parts, body) = signer.request();
        let value = parts.headers[doubled].clone();
        parts.headers.append(doubled, value);
        assert!(check(&(parts, body), THEN).is_err(), "{doubled}");
    }
    let (mut parts, body) = signer.request();
    parts.headers.remove("authorization");
    refused(&(parts, body), THEN, "MissingAuthenticationTokenException", "Missing Authentication Token");
    let mut signer = Signer::new();
    signer.headers.retain(|(name, _)| name != "x-amz-date");
    refused(&signer.request(), THEN, INCOMPLETE, "existence of either a 'X-Amz-Date' or a 'Date' header");
    refused(&Signer::new().at("20150830T123600Z").request_with(""), THEN, "MissingAuthenticationTokenException", "");
    let mut signer = Signer::new();
    signer.set("x-amz-date", "yesterday");
    refused(&signer.request(), THEN, INCOMPLETE, "ISO-8601 'basic format'. Got 'yesterday'");
}

#[test]
fn temporary_credentials_are_nobodys() {
    let mut signer = Signer::new();
    signer.set("x-amz-security-token", "FwoGZXIvYXdzEBc");
    signer.signed.insert(3, "x-amz-security-token".to_owned());
    refused(&signer.request(), THEN, UNRECOGNIZED, "is invalid");
}

#[test]
fn a_body_may_be_left_out_only_where_that_is_allowed_and_a_named_hash_must_be_its_own() {
    let mut signer = Signer::new();
    signer.set("x-amz-content-sha256", UNSIGNED_PAYLOAD);
    signer.signed.insert(2, "x-amz-content-sha256".to_owned());
    refused(&signer.request(), THEN, INVALID, "UNSIGNED-PAYLOAD is not accepted");
    signer.set("x-amz-content-sha256", &hash(b"another"));
    refused(&signer.request(), THEN, INVALID, "does not match");
    signer.set("x-amz-content-sha256", &hash(&signer.body.clone()));
    assert!(check(&signer.request(), THEN).is_ok());
}

#[test]
fn over_http_2_the_authority_is_the_host() {
    let signer = Signer::new();
    let (mut parts, body) = signer.request();
    parts.headers.remove("host");
    assert!(check(&(parts.clone(), body.clone()), THEN).is_err());
    parts.uri = "http://localhost:7080/".parse().unwrap();
    assert!(check(&(parts.clone(), body.clone()), THEN).is_ok());
    parts.uri = "http://elsewhere:7080/".parse().unwrap();
    assert!(check(&(parts, body), THEN).is_err());
}

/// A presigned URL as the vectors have it.
fn presigned(expires: &str, date: &str) -> (Parts, Vec<u8>) {
    let signer = Signer::new().at(date);
    let credential = format!("{KEY_ID}%2F{}", signer.scope.text().replace('/', "%2F"));
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires={expires}\
         &X-Amz-SignedHeaders=host"
    );
    let parts = SignedParts { method: "GET", path: "/", query: &query, headers: vec![("host", b"h")] };
    let request = canonical::request(&parts, &["host"], &hash(b""), Some(SIGNATURE_PARAMETER)).unwrap();
    let text = canonical::string_to_sign(date, &signer.scope.text(), &request);
    let key = signing_key::derive(&Secret::of_test(SECRET), &signer.scope);
    let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    let uri = format!("/?{query}&X-Amz-Signature={signature}");
    let (parts, ()) = Request::get(uri).header("host", "h").body(()).unwrap().into_parts();
    (parts, Vec::new())
}

#[test]
fn a_presigned_url_lives_as_long_as_it_says_and_at_most_a_week() {
    let request = presigned("3600", "20150830T123600Z");
    for (seconds, good) in [(-301, false), (-300, true), (3600, true), (3601, false)] {
        assert_eq!(check(&request, THEN + seconds * 1000).is_ok(), good, "{seconds}");
    }
    refused(&request, THEN + 3_601_000, "RequestExpired", "it ended 20150830T133600Z");
    assert!(check(&presigned("604800", "20150830T123600Z"), THEN).is_ok());
    refused(&presigned("604801", "20150830T123600Z"), THEN, INCOMPLETE, "less than or equal to 604800");
    for bad in ["0", "-1", "x", ""] {
        refused(&presigned(bad, "20150830T123600Z"), THEN, INCOMPLETE, "X-Amz-Expires");
    }
    let (mut parts, body) = request.clone();
    parts.headers.insert("x-amz-target", HeaderValue::from_static("Kinesis_20131202.DeleteStream"));
    refused(&(parts, body), THEN, INVALID, "'x-amz-target' must be a 'SignedHeader'");
    let (mut parts, body) = request.clone();
    let uri = format!("{}&a=b", parts.uri);
    parts.uri = uri.parse().unwrap();
    refused(&(parts, body), THEN, INVALID, "does not match");
    let (mut parts, body) = request;
    parts.headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 x"));
    refused(&(parts, body), THEN, INCOMPLETE, "Only one auth mechanism");
}

/// Whatever byte of the body, a signed header, or the credentials is another, the request is refused.
#[test]
fn a_request_with_one_other_byte_is_refused() {
    let (verifier, (directory, _)) = (verifier(), directory(THEN));
    let is_refused = |parts: &Parts, body: &[u8]| verifier.verify(parts, body, "kinesis", &directory).is_err();
    let (parts, body) = Signer::new().request();
    assert!(!is_refused(&parts, &body));
    for other in others(&body) {
        assert!(is_refused(&parts, &other), "{}", other.escape_ascii());
    }
    for name in ["content-type", "host", "x-amz-date", "x-amz-target", "authorization"] {
        for other in others(parts.headers[name].as_bytes()) {
            let mut parts = parts.clone();
            parts.headers.insert(name, HeaderValue::from_bytes(&other).unwrap());
            assert!(is_refused(&parts, &body), "{name}: {}", other.escape_ascii());
        }
    }
}

/// `bytes` with each of them as each other printable one.
fn others(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = move |at: usize, to: u8| {
        let mut other = bytes.to_vec();
        other[at] = to;
        (bytes[at] != to).then_some(other)
    };
    (0..bytes.len()).flat_map(move |at| (0x21_u8..0x7f).filter_map(move |to| changed(at, to)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nothing that a client can send is more than refused.
    #[test]
    fn no_credentials_panic(header in "[ -~]{0,80}", query in "[!-~&&[^#<>\"`]]{0,80}", name in 0_usize..5) {
        let name = ["AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=", "", "Bearer ", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,"][name];
        let uri = format!("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
        for uri in ["/", uri.as_str()] {
            let Ok(request) = Request::get(uri).header("authorization", format!("{name}{header}")).body(()) else { continue };
            let (mut parts, ()) = request.into_parts();
            prop_assert!(check(&(parts.clone(), Vec::new()), THEN).is_err());
            parts.headers.remove("authorization");
            prop_assert!(check(&(parts, Vec::new()), THEN).is_err());
        }
    }

    /// Nor anything of which the fields are nearly right, in any order and number.
    #[test]
    fn no_nearly_right_credentials_are_taken_or_panic(
        fields in prop::collection::vec(field(), 0..6),
        apart in prop::sample::select(vec![", ", ",", " ,\t", ";"]),
        date in prop_oneof![4 => Just("20150830T123600Z".to_owned()), 1 => "[0-9]{8}T[0-9]{6}Z", 1 => "\\PC{0,20}"],
        hash in prop::option::of("UNSIGNED-PAYLOAD|[0-9a-f]{64}|\\PC{0,10}"),
    ) {
        let header = format!("AWS4-HMAC-SHA256 {}", fields.join(apart));
        let (mut parts, body) = Signer::new().request();
        for (name, value) in [("authorization", Some(header)), ("x-amz-date", Some(date)), ("x-amz-content-sha256", hash)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
                parts.headers.insert(name, value);
            }
        }
        prop_assert!(check(&(parts, body), THEN).is_err());
    }
}

/// A field of credentials; the signature is never right.
fn field() -> impl Strategy<Value = String> {
    let scope = format!("{KEY_ID}/20150830/us-east-1/kinesis/aws4_request");
    let headers = "content-type;host;x-amz-date;x-amz-target".to_owned();
    let right = vec![
        format!("Credential={scope}"),
        format!("SignedHeaders={headers}"),
        format!("SignedHeaders={headers};x-amz-zzz"),
        format!("Signature={}", "0".repeat(64)),
    ];
    let odd = ("Credential|SignedHeaders|Signature|Other", "\\PC{0,40}|[a-z;=/,]{0,30}");
    prop_oneof![8 => prop::sample::select(right), 1 => odd.prop_map(|(name, value)| format!("{name}={value}"))]
}
