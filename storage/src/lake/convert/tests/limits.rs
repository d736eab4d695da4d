//! Each limit, at it and one past it; and what must not crash.

use super::*;

fn nested(depth: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
}

#[test]
fn nesting_is_limited_for_every_policy_and_kind() {
    let limit = ConvertLimits::default().nesting_depth_max;
    for policy in [SchemaPolicy::Evolve, SchemaPolicy::Rescue] {
        for (inside, deepest) in [("{\"a\":", "}"), ("[", "]")] {
            let of = |depth: usize| format!("{{\"x\":{}1{}}}", inside.repeat(depth - 1), deepest.repeat(depth - 1));
            let converted = converter(with_policy(policy)).convert(rows(&[of(limit), of(limit + 1)])).unwrap();
            assert_eq!(converted.batch.num_rows(), 1, "{policy:?} {inside}");
            assert_eq!(converted.set_aside[0].cause, Cause::TooDeep);
            assert_eq!(converted.set_aside[0].row.offset, Offset(1));
            assert!(converted.set_aside[0].message.contains("32"), "{}", converted.set_aside[0].message);
        }
    }
}

#[test]
fn a_known_deep_column_is_read_as_deep_as_it_is() {
    let mut converter = converter(with_policy(SchemaPolicy::Evolve));
    for _ in 0..2 {
        assert_eq!(converter.convert(rows(&[nested(32)])).unwrap().batch.num_rows(), 1);
    }
    assert_eq!(converter.convert(rows(&[nested(33)])).unwrap().set_aside[0].cause, Cause::TooDeep);
}

#[test]
fn the_deepest_limit_and_any_depth_beyond_do_not_overflow_the_stack() {
    let limits = ConvertLimits { nesting_depth_max: NESTING_DEPTH_CEILING, ..ConvertLimits::default() };
    let mut converter = converter(ConvertSettings { limits, ..with_policy(SchemaPolicy::Evolve) });
    let data = [nested(128), nested(129), nested(250), "[".repeat(1_000_000), nested(200_000)];
    let converted = converter.convert(rows(&data)).unwrap();
    assert_eq!(converted.batch.num_rows(), 1);
    assert!(converted.set_aside.iter().all(|aside| aside.cause == Cause::TooDeep));

    let beyond = ConvertLimits { nesting_depth_max: NESTING_DEPTH_CEILING + 1, ..ConvertLimits::default() };
    let settings = ConvertSettings { limits: beyond, ..with_policy(SchemaPolicy::Evolve) };
    let table = TableSchema::initial(&[], &settings.time, settings.policy, true).unwrap();
    assert!(Converter::new(settings, "events", &table).unwrap_err().to_string().contains("129"));
}

#[test]
fn columns_are_limited_and_a_record_past_it_leaves_no_trace() {
    let wide = |count: usize| {
        let fields: Vec<_> = (0..count).map(|number| format!("\"f{number}\":{number}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let limits = ConvertLimits { columns_max: 100, ..ConvertLimits::default() };
    let mut converter = converter(ConvertSettings { limits, ..with_policy(SchemaPolicy::Evolve) });
    let converted = converter.convert(rows(&[wide(10_000), wide(101), wide(100), wide(99)])).unwrap();
    assert_eq!(converted.batch.num_rows(), 2);
    assert_eq!(converted.batch.num_columns(), 106);
    assert!(converted.set_aside.iter().all(|aside| aside.cause == Cause::TooManyColumns));
    assert!(converted.set_aside[0].message.contains("limit is 100"));
    // Nested fields and list elements count too.
    let converted = converter.convert(rows(&[r#"{"f0":1,"g":[{"h":1}]}"#, r#"{"f0":1}"#])).unwrap();
    assert_eq!(converted.set_aside[0].cause, Cause::TooManyColumns);
    assert_eq!(converted.batch.num_rows(), 1);
}

#[test]
fn ten_thousand_columns_are_set_aside_by_default() {
    let fields: Vec<_> = (0..10_000).map(|number| format!("\"column_{number}\":\"v\"")).collect();
    let record = format!("{{{}}}", fields.join(","));
    let converted =
        converter(with_policy(SchemaPolicy::Evolve)).convert(rows(&[record.as_str(), "{\"a\":1}"])).unwrap();
    assert_eq!(converted.set_aside[0].cause, Cause::TooManyColumns);
    assert_eq!(converted.set_aside[0].row.data, record);
    assert_eq!(read_back(&converted.batch), [serde_json::json!({"a":1})]);
}

#[test]
fn a_long_text_is_kept_whole() {
    let text = "é".repeat(500_000);
    let converted =
        converter(with_policy(SchemaPolicy::Evolve)).convert(rows(&[format!("{{\"t\":\"{text}\"}}")])).unwrap();
    assert_eq!(converted.batch.column_by_name("t").unwrap().as_string::<i32>().value(0), text);
}
