//! ARNs of streams and consumers: written from the configured region and account, and read back.

use std::fmt;

use millrace_storage::time::Timestamp;

use super::protocol::AwsError;
use super::settings::AwsSettings;
use crate::error::Error;
use crate::streams::StreamName;

/// The region and account that ARNs carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::aws) struct Arns {
    region: String,
    account_id: String,
}

/// The ARN of a registered consumer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::aws) struct ConsumerArn {
    pub(in crate::api::aws) stream: StreamName,
    pub(in crate::api::aws) name: String,
    /// Seconds since the Unix epoch: a consumer that was registered anew has another ARN.
    pub(in crate::api::aws) created_at_seconds: i64,
}

/// What an ARN names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::aws) enum Resource {
    Stream(StreamName),
    Consumer(ConsumerArn),
}

impl Arns {
    /// # Errors
    /// Where the account is not 12 digits, or the region has characters that no region has.
    pub(in crate::api::aws) fn new(settings: &AwsSettings) -> Result<Self, Error> {
        let AwsSettings { region, account_id, .. } = settings;
        if account_id.len() != 12 || !account_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::invalid(format_args!("aws.account_id is {account_id:?}, and must be 12 digits")));
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > 64 || !region.bytes().all(allowed) {
            let rule = "must be 1 to 64 of the characters a-z, 0-9 and '-'";
            return Err(Error::invalid(format_args!("aws.region is {region:?}, and {rule}")));
        }
        Ok(Self { region: region.clone(), account_id: account_id.clone() })
    }

    pub(in crate::api::aws) fn account_id(&self) -> &str {
        &self.account_id
    }

    pub(in crate::api::aws) fn stream(&self, name: &StreamName) -> String {
        format!("arn:aws:kinesis:{}:{}:stream/{name}", self.region, self.account_id)
    }

    pub(in crate::api::aws) fn delivery_stream(&self, name: &str) -> String {
        format!("arn:aws:firehose:{}:{}:deliverystream/{name}", self.region, self.account_id)
    }

    pub(in crate::api::aws) fn consumer(&self, stream: &StreamName, name: &str, created_at: Timestamp) -> String {
        let seconds = created_at.as_millis().div_euclid(1000);
        format!("{}/consumer/{name}:{seconds}", self.stream(stream))
    }

    /// What an ARN names here. Any region and partition is taken, since clients are configured with all kinds; the account
    /// must be ours.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it is no such ARN, `AccessDeniedException` where it is another account's.
    pub(in crate::api::aws) fn parse(&self, arn: &str) -> Result<Resource, AwsError> {
        let invalid = || AwsError::invalid(format!("{} is not the ARN of a stream or consumer", Shown(arn)));
        let mut parts = arn.splitn(6, ':');
        let is_arn = parts.next() == Some("arn") && parts.next().is_some_and(|partition| partition.starts_with("aws"));
        let (service, _region) = (parts.next(), parts.next());
        let (account, resource) = parts.next().zip(parts.next()).ok_or_else(invalid)?;
        if !is_arn || service != Some("kinesis") {
            return Err(invalid());
        }
        if account != self.account_id {
            let message =
                format!("the account {account} of the ARN is not {}, which this server serves", self.account_id);
            return Err(AwsError::new("AccessDeniedException", message));
        }
        let mut path = resource.strip_prefix("stream/").ok_or_else(invalid)?.splitn(3, '/');
        let stream: StreamName = path.next().and_then(|name| name.parse().ok()).ok_or_else(invalid)?;
        let Some(kind) = path.next() else { return Ok(Resource::Stream(stream)) };
        let (name, seconds) = path.next().and_then(|rest| rest.rsplit_once(':')).ok_or_else(invalid)?;
        let created_at_seconds = seconds.parse().map_err(|_| invalid())?;
        if kind != "consumer" || name.is_empty() {
            return Err(invalid());
        }
        Ok(Resource::Consumer(ConsumerArn { stream, name: name.to_owned(), created_at_seconds }))
    }
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(256).try_for_each(|c| write!(f, "{c}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arns() -> Arns {
        Arns::new(&AwsSettings::default()).unwrap()
    }

    #[test]
    fn arns_come_back() {
        let stream: StreamName = "flights".parse().unwrap();
        let arn = arns().stream(&stream);
        assert_eq!(arn, "arn:aws:kinesis:us-east-1:000000000000:stream/flights");
        assert_eq!(arns().parse(&arn).unwrap(), Resource::Stream(stream.clone()));
        let consumer = arns().consumer(&stream, "app", Timestamp(1_700_000_000_999));
        assert_eq!(consumer, "arn:aws:kinesis:us-east-1:000000000000:stream/flights/consumer/app:1700000000");
        let parsed = ConsumerArn { stream, name: "app".to_owned(), created_at_seconds: 1_700_000_000 };
        assert_eq!(arns().parse(&consumer).unwrap(), Resource::Consumer(parsed));
    }

    #[test]
    fn what_is_no_arn_of_ours_is_refused() {
        for (arn, code) in [
            ("", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000", "InvalidArgumentException"),
            ("arn:aws:s3:us-east-1:000000000000:stream/a", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:table/a", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/a b", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/a/consumer/b", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/a/consumer/:1", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/a/queue/b:1", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:111111111111:stream/a", "AccessDeniedException"),
        ] {
            assert_eq!(arns().parse(arn).unwrap_err().code(), code, "{arn}");
        }
        let elsewhere = arns().parse("arn:aws-cn:kinesis:eu-west-1:000000000000:stream/a");
        assert_eq!(elsewhere.unwrap(), Resource::Stream("a".parse().unwrap()));
    }

    #[test]
    fn settings_that_make_no_arns_are_refused() {
        for (region, account_id) in [("", "000000000000"), ("eu west", "000000000000"), ("eu-west-1", "1")] {
            let settings =
                AwsSettings { region: region.into(), account_id: account_id.into(), ..AwsSettings::default() };
            assert!(Arns::new(&settings).is_err(), "{region:?} {account_id:?}");
        }
    }
}
