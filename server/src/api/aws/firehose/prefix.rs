//! Prefixes of S3 as prefixes of a delivery: the bucket is the first folder, and what Firehose appends is written out.

use crate::api::aws::protocol::AwsError;

const TIMESTAMP: &str = "!{timestamp:";
const ERROR_TYPE: &str = "!{firehose:error-output-type}";
/// What follows a prefix that has no expression of time.
const APPENDED: &str = "!{timestamp:yyyy/MM/dd/HH}/";
const OF_QUERY: &str = "!{partitionKeyFromQuery:";
const OF_LAMBDA: &str = "!{partitionKeyFromLambda:";

/// The prefix of data below `bucket`; an empty bucket is none.
pub(super) fn of_data(bucket: &str, declared: Option<&str>) -> String {
    let declared = declared.unwrap_or_default();
    let appended = if declared.contains(TIMESTAMP) { "" } else { APPENDED };
    format!("{}{declared}{appended}", folder(bucket))
}

/// The prefix of records that failed, below `bucket`.
pub(super) fn of_errors(bucket: &str, declared: Option<&str>) -> String {
    let declared = declared.unwrap_or_default();
    let kind = if declared.contains(ERROR_TYPE) { String::new() } else { format!("{ERROR_TYPE}/") };
    let appended = if declared.contains(TIMESTAMP) { "" } else { APPENDED };
    format!("{}{declared}{kind}{appended}", folder(bucket))
}

fn folder(bucket: &str) -> String {
    if bucket.is_empty() { String::new() } else { format!("{bucket}/") }
}

/// The partition keys that queries give to a prefix.
pub(super) fn query_keys(prefix: &str) -> Vec<&str> {
    prefix.split(OF_QUERY).skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

/// Whether a prefix has partition keys of any kind.
pub(super) fn has_keys(prefix: &str) -> bool {
    prefix.contains(OF_QUERY) || prefix.contains(OF_LAMBDA)
}

/// The prefix whose keys come from a step of the transform chain.
pub(super) fn of_transform(prefix: &str) -> String {
    prefix.replace(OF_QUERY, OF_LAMBDA)
}

/// Checks what the two prefixes must have together.
///
/// # Errors
/// `InvalidArgumentException`.
pub(super) fn check(prefix: Option<&str>, errors: Option<&str>) -> Result<(), AwsError> {
    let has_expressions = prefix.is_some_and(|prefix| prefix.contains("!{"));
    let errors = errors.unwrap_or_default();
    if has_expressions && errors.is_empty() {
        return Err(AwsError::invalid("ErrorOutputPrefix cannot be null or empty when Prefix contains expressions"));
    }
    if errors.contains("!{") && !errors.contains(ERROR_TYPE) {
        return Err(AwsError::invalid(format!("ErrorOutputPrefix must contain {ERROR_TYPE} when it has expressions")));
    }
    if errors.contains("!{partitionKey") {
        return Err(AwsError::invalid("ErrorOutputPrefix cannot have partition keys"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_written_out() {
        for (declared, expected) in [
            (None, "b/!{timestamp:yyyy/MM/dd/HH}/"),
            (Some("logs"), "b/logs!{timestamp:yyyy/MM/dd/HH}/"),
            (Some("y=!{timestamp:yyyy}/"), "b/y=!{timestamp:yyyy}/"),
            (Some("!{firehose:random-string}/"), "b/!{firehose:random-string}/!{timestamp:yyyy/MM/dd/HH}/"),
        ] {
            assert_eq!(of_data("b", declared), expected);
        }
        assert_eq!(of_data("", Some("a/")), "a/!{timestamp:yyyy/MM/dd/HH}/");
        assert_eq!(of_errors("b", None), "b/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/");
        assert_eq!(
            of_errors("b", Some("e/!{firehose:error-output-type}/!{timestamp:yyyy}/")),
            "b/e/!{firehose:error-output-type}/!{timestamp:yyyy}/"
        );
    }

    #[test]
    fn keys_are_found() {
        let prefix = "c=!{partitionKeyFromQuery:c}/x=!{partitionKeyFromQuery:x}/";
        assert_eq!(query_keys(prefix), ["c", "x"]);
        assert_eq!(query_keys(&of_transform(prefix)), Vec::<&str>::new());
        assert!(has_keys(&of_transform(prefix)) && !has_keys("a/!{timestamp:yyyy}/"));
    }

    #[test]
    fn a_prefix_with_expressions_asks_for_one_of_errors() {
        let typed = Some("e/!{firehose:error-output-type}/");
        for (prefix, errors, fits) in [
            (None, None, true),
            (Some("a/"), None, true),
            (Some("a/"), Some("e/"), true),
            (Some("!{timestamp:yyyy}/"), None, false),
            (Some("!{timestamp:yyyy}/"), Some(""), false),
            (Some("!{timestamp:yyyy}/"), typed, true),
            (None, Some("!{timestamp:yyyy}/"), false),
            (None, Some("!{firehose:error-output-type}/!{partitionKeyFromQuery:a}/"), false),
        ] {
            assert_eq!(check(prefix, errors).is_ok(), fits, "{prefix:?} {errors:?}");
        }
    }
}
