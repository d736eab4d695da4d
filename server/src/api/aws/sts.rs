//! The one question of AWS' Security Token Service that producers ask: who they are, and in which account. The Kinesis Producer
//! Library asks it before it puts anything, to write the ARNs of streams.
//!
//! In AWS' Query protocol, which the JSON protocol's services do not speak: a form as the request, XML as the answer.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::Serialize;

use super::auth::Caller;
use super::protocol::AwsError;

/// Its name in credential scopes and metrics.
pub(in crate::api::aws) const SERVICE: &str = "sts";
/// Its operation here.
pub(in crate::api::aws) const OPERATION: &str = "GetCallerIdentity";
/// The content type of an answer.
pub(in crate::api::aws) const XML: &str = "text/xml";

const FORM: &str = "application/x-www-form-urlencoded";
const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Whether a request is in the Query protocol.
pub(in crate::api::aws) fn is_query(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)))
}

/// Reads the form.
///
/// # Errors
/// As AWS says that an action is missing or unknown.
pub(in crate::api::aws) fn read(form: &[u8]) -> Result<(), AwsError> {
    let value = |name: &str| form_urlencoded::parse(form).find(|(own, _)| own == name).map(|(_, value)| value);
    let Some(action) = value("Action") else {
        return Err(AwsError::new("MissingAction", "the request names no Action"));
    };
    let version = value("Version").unwrap_or_default();
    if action == OPERATION && version == VERSION {
        return Ok(());
    }
    let shown: String = action.chars().take(64).collect();
    let message =
        format!("Could not find operation {shown:?}: this server answers {OPERATION} of version {VERSION} alone");
    Err(AwsError::new("InvalidAction", message))
}

/// The answer of [`OPERATION`] and its status.
pub(in crate::api::aws) fn render(
    answer: Result<&Caller, &AwsError>,
    account_id: &str,
    request_id: &str,
) -> (u16, String) {
    let (status, xml) = match answer {
        Ok(caller) => (200, write("GetCallerIdentityResponse", &Identity::new(caller, account_id, request_id))),
        Err(error) => (error.status(), write("ErrorResponse", &Refusal::new(error, request_id))),
    };
    match xml {
        Ok(xml) => (status, xml),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as XML");
            (500, String::new())
        }
    }
}

fn write<T: Serialize>(root: &str, answer: &T) -> Result<String, quick_xml::SeError> {
    quick_xml::se::to_string_with_root(root, answer)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity<'a> {
    #[serde(rename = "@xmlns")]
    namespace: &'static str,
    get_caller_identity_result: IdentityResult<'a>,
    response_metadata: ResponseMetadata<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IdentityResult<'a> {
    arn: String,
    user_id: &'a str,
    account: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResponseMetadata<'a> {
    request_id: &'a str,
}

impl<'a> Identity<'a> {
    /// With auth off everybody is the account itself.
    fn new(caller: &'a Caller, account_id: &'a str, request_id: &'a str) -> Self {
        let (path, user_id) = match caller.principal() {
            Some(name) => (format!("user/{name}"), name),
            None => ("root".to_owned(), account_id),
        };
        let arn = format!("arn:aws:iam::{account_id}:{path}");
        Self {
            namespace: NAMESPACE,
            get_caller_identity_result: IdentityResult { arn, user_id, account: account_id },
            response_metadata: ResponseMetadata { request_id },
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal<'a> {
    #[serde(rename = "@xmlns")]
    namespace: &'static str,
    error: RefusalError<'a>,
    request_id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RefusalError<'a> {
    r#type: &'static str,
    code: &'static str,
    message: &'a str,
}

impl<'a> Refusal<'a> {
    fn new(error: &'a AwsError, request_id: &'a str) -> Self {
        let r#type = if error.status() < 500 { "Sender" } else { "Receiver" };
        let error = RefusalError { r#type, code: query_code(error.code()), message: error.message() };
        Self { namespace: NAMESPACE, error, request_id }
    }
}

/// What the Query protocol calls an error of the JSON protocol.
fn query_code(code: &'static str) -> &'static str {
    match code {
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "ExpiredTokenException" => "ExpiredToken",
        other => other.strip_suffix("Exception").unwrap_or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_known_by_its_content_type() {
        let headers = |value: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
        assert!(is_query(&headers("application/x-www-form-urlencoded; charset=utf-8")));
        assert!(!is_query(&headers("application/x-amz-json-1.1")) && !is_query(&HeaderMap::new()));
    }

    #[test]
    fn one_operation_of_one_version_is_known() {
        assert_eq!(read(b"Action=GetCallerIdentity&Version=2011-06-15"), Ok(()));
        for (form, code) in [
            ("", "MissingAction"),
            ("Version=2011-06-15", "MissingAction"),
            ("Action=AssumeRole&Version=2011-06-15", "InvalidAction"),
            ("Action=GetCallerIdentity&Version=2010-01-01", "InvalidAction"),
            ("Action=%ff%00&&&=", "InvalidAction"),
        ] {
            assert_eq!(read(form.as_bytes()).unwrap_err().code(), code, "{form}");
        }
    }

    #[test]
    fn what_a_client_wrote_comes_back_escaped() {
        let error = read(b"Action=%3C/Message%3E%26").unwrap_err();
        let (status, xml) = render(Err(&error), "000000000000", "id");
        assert_eq!(status, 400);
        assert!(xml.contains("&lt;/Message&gt;&amp;") && xml.contains("<Code>InvalidAction</Code>"), "{xml}");
    }

    #[tokio::test]
    async fn with_auth_off_everybody_is_the_account() {
        let caller = Caller::anyone(OPERATION).await;
        let (status, xml) = render(Ok(&caller), "123456789012", "an-id");
        assert_eq!(status, 200);
        assert_eq!(
            xml,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId><Account>123456789012</Account>\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>an-id</RequestId></ResponseMetadata>\
             </GetCallerIdentityResponse>"
        );
    }
}
