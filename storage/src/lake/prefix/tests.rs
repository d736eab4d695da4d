//! Prefixes are evaluated as Firehose evaluates them, and never leave their place.

use super::*;

// 2013-01-01T10:07:05.042Z, a Tuesday
const TIME: Timestamp = Timestamp(1_357_034_825_042);

#[track_caller]
fn check(prefix: &str, expected: &str) {
    assert_eq!(prefix.parse::<Prefix>().unwrap().evaluate(TIME, &[]), expected);
}

#[test]
fn prefixes_are_evaluated_in_utc() {
    check(DEFAULT_PREFIX, "year=2013/month=01/date=01/hour=10/");
    check("", "");
    check("raw/!{timestamp:yyyy/MM/dd/HH}/", "raw/2013/01/01/10/");
    check("!{timestamp:yyyy-MM-dd'T'HH.mm}_", "2013-01-01T10.07_");
    check("!{timestamp:'year='yyyy}/ü/", "year=2013/ü/");
    check("!{timestamp:''yyyy''}", "'2013'");
}

#[test]
fn every_letter_means_what_java_means() {
    check("!{timestamp:y yy yyy yyyy}", "2013 13 2013 2013");
    check("!{timestamp:M MM MMM MMMM}", "1 01 Jan January");
    check("!{timestamp:d dd D DD DDD}", "1 01 1 01 001");
    check("!{timestamp:E EEE EEEE}", "Tue Tue Tuesday");
    check("!{timestamp:H HH h hh a}", "10 10 10 10 AM");
    check("!{timestamp:m mm s ss S SS SSS}", "7 07 5 05 0 04 042");
    let evening = Timestamp(1_357_081_200_000); // 2013-01-01T23:00:00Z
    let prefix: Prefix = "!{timestamp:hh a}".parse().unwrap();
    assert_eq!(prefix.evaluate(evening, &[]), "11 PM");
}

#[test]
fn another_zone_has_its_own_days() {
    let prefix: Prefix = "!{timestamp:yyyy-MM-dd HH}".parse().unwrap();
    let of = |zone: &str, time: i64| prefix.clone().in_zone(zone).unwrap().evaluate(Timestamp(time), &[]);
    // 2013-07-01T23:30:00Z: summer time counts.
    let summer = 1_372_721_400_000;
    assert_eq!(of("Europe/Berlin", summer), "2013-07-02 01");
    assert_eq!(of("America/New_York", summer), "2013-07-01 19");
    assert_eq!(of("Asia/Kathmandu", summer), "2013-07-02 05");
    assert_eq!(of("UTC", summer), "2013-07-01 23");
    // The hour that comes twice, before and after the clock goes back, is one folder.
    let (first, second) = (1_382_833_800_000, 1_382_837_400_000);
    assert_eq!(of("Europe/Berlin", first), of("Europe/Berlin", second));
    let error = prefix.in_zone("Mars/Olympus").unwrap_err().to_string();
    assert!(error.contains("Mars/Olympus") && error.contains("Europe/Berlin"), "{error}");
}

#[test]
fn keys_stand_where_they_are_asked_for() {
    let prefix: Prefix =
        "c=!{partitionKeyFromQuery:c}/r=!{partitionKeyFromTransform:r}/!{partitionKeyFromLambda:r}-!{partitionKeyFromQuery:c}/"
            .parse()
            .unwrap();
    assert_eq!(prefix.keys(), [KeyName::Query("c".into()), KeyName::Transform("r".into())]);
    let keys = ["one".to_owned(), "two".to_owned()];
    assert_eq!(prefix.evaluate(TIME, &keys), "c=one/r=two/two-one/");
    prefix.check_keys(&keys).unwrap();
    let long = |prefix: &str, bytes: usize| prefix.parse::<Prefix>().unwrap().check_keys(&["a".repeat(bytes)]);
    long("c=!{partitionKeyFromQuery:c}/", 253).unwrap();
    let error = long("c=!{partitionKeyFromQuery:c}/", 254).unwrap_err();
    assert!(error.contains("a folder of 256 bytes; the limit is 255"), "{error}");
    let three = "!{partitionKeyFromQuery:c}/!{partitionKeyFromQuery:c}/!{partitionKeyFromQuery:c}/";
    let error = long(three, 200).unwrap_err();
    assert!(error.contains("603 bytes long once evaluated; the limit is 512"), "{error}");
}

#[test]
fn errors_tell_their_cause_and_know_no_keys() {
    let of = |text: &str| Prefix::of_errors(text).map(|prefix| prefix.evaluate_error(TIME, Cause::InvalidJson));
    assert_eq!(of(DEFAULT_ERROR_PREFIX).unwrap(), "errors/invalid_json/year=2013/month=01/date=01/hour=10/");
    assert_eq!(of("e/!{firehose:error-output-type}/").unwrap(), "e/format-conversion-failed/");
    assert!(of("e/!{partitionKeyFromQuery:c}/").unwrap_err().to_string().contains("set aside"));
    let error = "e/!{firehose:error-output-type}/".parse::<Prefix>().unwrap_err().to_string();
    assert!(error.contains("only the prefix of errors"), "{error}");
}

#[test]
fn the_default_is_the_hour() {
    assert_eq!(Prefix::default().evaluate(TIME, &[]), "year=2013/month=01/date=01/hour=10/");
    assert_eq!(Prefix::default().to_string(), DEFAULT_PREFIX);
}

#[test]
fn bad_prefixes_say_what_is_allowed() {
    for (prefix, why) in [
        ("!{timestamp:YYYY}", "unknown pattern \"YYYY\""),
        ("!{timestamp:ww}", "unknown pattern \"ww\""),
        ("!{timestamp:yyyyy}", "unknown pattern \"yyyyy\""),
        ("!{timestamp:}", "unknown expression"),
        ("!{millrace:guid}", "unknown expression"),
        ("!{random}", "unknown expression"),
        ("!{partitionKeyFromQuery:}", "0 bytes"),
        ("!{timestamp:yyyy", "without }"),
        ("!{timestamp:'yyyy}", "open quote"),
        ("/abs/", "empty folder"),
        ("a//b", "empty folder"),
        ("a/../b", "would leave"),
        ("a/!{timestamp:'..'}/b", "would leave"),
        ("a\nb", "control character"),
        ("a!{timestamp:'\0'}b", "control character"),
    ] {
        let error = prefix.parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains(why), "{prefix}: {error}");
    }
}

#[test]
fn the_length_is_limited() {
    let folders = |bytes: usize| format!("{}/", vec!["a".repeat(15); bytes / 16].join("/"));
    assert_eq!(folders(PREFIX_BYTES_MAX).len(), PREFIX_BYTES_MAX);
    assert!(folders(PREFIX_BYTES_MAX).parse::<Prefix>().is_ok());
    let error = format!("b{}", folders(PREFIX_BYTES_MAX)).parse::<Prefix>().unwrap_err().to_string();
    assert!(error.contains("513") && error.contains("512"), "{error}");
    assert!("a".repeat(STEM_BYTES_MAX).parse::<Prefix>().is_ok());
    assert!("a".repeat(STEM_BYTES_MAX + 1).parse::<Prefix>().is_err());
    assert!(format!("{}/", "a".repeat(FOLDER_BYTES_MAX)).parse::<Prefix>().is_ok());
    assert!(format!("{}/", "a".repeat(FOLDER_BYTES_MAX + 1)).parse::<Prefix>().is_err());
}

#[test]
fn times_outside_the_calendar_do_not_panic() {
    for time in [i64::MAX, i64::MIN, 8_210_266_876_799_999, -8_334_601_228_800_000] {
        assert!(!Prefix::default().in_zone("Asia/Tokyo").unwrap().evaluate(Timestamp(time), &[]).is_empty());
    }
}
