//! Random documents, under every policy: each row is in the batch once or set aside once, and a row that is in the batch
//! gives its document again when columns and `_rescued` are merged.

use proptest::prelude::*;
use serde_json::{Map, Number};

use super::*;

/// Whether this test's own reader reads the number's text exactly; a column of doubles may hold whole numbers too.
fn is_read_exactly(number: f64) -> bool {
    Number::from_f64(number).is_some_and(|number| serde_json::from_str(&number.to_string()).ok() == Some(number))
}

/// Whether no column of doubles can hold the number.
fn is_no_double(number: i128) -> bool {
    number as f64 as i128 != number
}

fn doubles() -> impl Strategy<Value = Value> {
    any::<f64>().prop_filter_map("doubles of which text and value are the same number", |number| {
        // The text of a whole double past 2^53 may be another whole number, and a column of longs has that of the text.
        let is_same = number.fract() != 0.0 || !(9_007_199_254_740_992.0..9e18).contains(&number.abs());
        (is_same && is_read_exactly(number)).then(|| Value::from(number))
    })
}

fn values(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>()
            .prop_filter("read exactly", |number| is_no_double(i128::from(*number)) || is_read_exactly(*number as f64))
            .prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        any::<u64>()
            .prop_filter("read exactly", |number| is_no_double(i128::from(*number)) || is_read_exactly(*number as f64))
            .prop_map(Value::from),
        doubles(),
        prop::sample::select(vec![0.5, 1.0, 2.5]).prop_map(Value::from),
        "[a-c\u{e9}\"\\\\\n\u{1F600}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names(), inner), 0..4).prop_map(object),
        ]
    })
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-d]", 1 => prop::sample::select(vec!["", "A", "a.b", "_offset", "x y", "b.element"]).prop_map(str::to_owned)]
}

fn object(fields: Vec<(String, Value)>) -> Value {
    Value::Object(fields.into_iter().collect::<Map<_, _>>())
}

/// Puts rescued fields back to where they came from.
fn merge(into: &mut Value, rescued: Value) {
    match (into, rescued) {
        (Value::Object(into), Value::Object(rescued)) => {
            for (name, value) in rescued {
                match into.get_mut(&name) {
                    Some(there) if there.is_object() && value.is_object() => merge(there, value),
                    _ => {
                        into.insert(name, value);
                    }
                }
            }
        }
        (into, rescued) => *into = rescued,
    }
}

/// What counts as equal: nulls are absent fields, numbers are compared by value.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(name, value)| (name.clone(), normal(value))).collect())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(normal).collect()),
        Value::Number(number) => match number.as_f64() {
            // Larger ones need not be whole numbers of a long, and stay as they are.
            Some(double) if number.is_f64() && double.fract() == 0.0 && double.abs() < 9e18 => {
                Value::from(double as i64)
            }
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

fn policies() -> impl Strategy<Value = SchemaPolicy> {
    prop::sample::select(vec![SchemaPolicy::Evolve, SchemaPolicy::Rescue, SchemaPolicy::Reject])
}

proptest! {
    #[test]
    fn no_value_is_lost_or_changed(
        documents in prop::collection::vec(prop::collection::vec((names(), values(3)), 0..5).prop_map(object), 1..12),
        policy in policies(),
        cut in 0usize..12,
        columns in prop::sample::select(vec![vec![], vec![("a", "long"), ("b", "struct<a: string, c: list<double>>")]]),
    ) {
        let mut converter = converter(ConvertSettings { columns: declare(&columns), ..with_policy(policy) });
        let all: Vec<Row> = documents.iter().enumerate().map(|(n, value)| row(n as u64, value.to_string())).collect();
        // Two calls, so that the schema evolves between batches too.
        let (first, second) = all.split_at(cut.min(all.len()));
        let mut seen = Vec::new();
        for part in [first, second] {
            let converted = converter.convert(part.to_vec()).unwrap();
            let offsets = converted.batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().clone();
            for (offset, mut stored) in offsets.values().iter().zip(read_back(&converted.batch)) {
                let rescued = stored.as_object_mut().unwrap().remove(schema::RESCUED);
                if let Some(Value::String(text)) = rescued {
                    merge(&mut stored, serde_json::from_str(&text).unwrap());
                }
                prop_assert_eq!(normal(&stored), normal(&documents[*offset as usize]));
                seen.push(*offset as u64);
            }
            let adapted = schema::adapt(&converted.batch, converter.arrow_schema()).unwrap();
            prop_assert_eq!(adapted.num_rows(), converted.batch.num_rows());
            for aside in converted.set_aside {
                prop_assert_eq!(policy, SchemaPolicy::Reject);
                prop_assert_eq!(&aside.row, &all[aside.row.offset.0 as usize]);
                seen.push(aside.row.offset.0);
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..all.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(&iceberg::arrow::schema_to_arrow_schema(&converter.schema().schema).unwrap(), &**converter.arrow_schema());
    }

    #[test]
    fn any_bytes_are_kept_or_set_aside(data in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[\\[\\]{}:,\"a-c0-9.eE+\\- \\\\untrfalse]{0,40}".prop_map(String::into_bytes),
    ], 1..20)) {
        let mut converter = converter(with_policy(SchemaPolicy::Evolve));
        let converted = converter.convert(rows(&data)).unwrap();
        prop_assert_eq!(converted.batch.num_rows() + converted.set_aside.len(), data.len());
        for (offset, data) in data.iter().enumerate() {
            let is_object = serde_json::from_slice::<Map<String, Value>>(data).is_ok();
            let is_aside = converted.set_aside.iter().any(|aside| aside.row.offset.0 == offset as u64);
            prop_assert_eq!(is_object, !is_aside, "{}", String::from_utf8_lossy(data));
        }
    }
}
