//! Whether a request's values have the types of its model: what is not so cannot be read at all, which comes before any
//! constraint.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Shape;
use crate::api::aws::protocol::AwsError;

/// Checks types, and makes whole floating-point numbers integers where the model has integers.
///
/// # Errors
/// `SerializationException` at the first value of another type.
pub(in crate::api::aws) fn conform(value: &mut Value, shape: &Shape) -> Result<(), AwsError> {
    match (shape, &mut *value) {
        (_, Value::Null) | (Shape::Boolean, Value::Bool(_)) | (Shape::Text { .. }, Value::String(_)) => Ok(()),
        (Shape::Structure(members), Value::Object(object)) => {
            members.iter().try_for_each(|member| match object.get_mut(member.name) {
                Some(value) => conform(value, member.shape),
                None => Ok(()),
            })
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.iter_mut().try_for_each(|item| conform(item, member))
        }
        (Shape::Map { value, .. }, Value::Object(object)) => {
            object.values_mut().try_for_each(|entry| conform(entry, value))
        }
        (Shape::Blob { .. }, Value::String(text)) => match STANDARD.decode(&*text) {
            Ok(_) => Ok(()),
            Err(error) => Err(serialization(format!("a blob is not base64: {error}"))),
        },
        (Shape::Timestamp | Shape::Double, Value::Number(_)) => Ok(()),
        // Some SDKs write times as text.
        (Shape::Timestamp, Value::String(text)) => match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => {
                *value = Value::from(time.timestamp_millis() as f64 / 1000.0);
                Ok(())
            }
            Err(_) => Err(serialization(format!("'{}' is not a time", shown(text)))),
        },
        (Shape::Integer { .. } | Shape::Long { .. }, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| whole(number.as_f64()?));
            let fits = |whole: &i64| matches!(shape, Shape::Long { .. }) || i32::try_from(*whole).is_ok();
            let Some(whole) = whole.filter(fits) else {
                return Err(serialization(format!("{number} can not be converted to {}", java(shape))));
            };
            *value = Value::from(whole);
            Ok(())
        }
        (_, Value::Array(_)) => Err(serialization("Start of list found where not expected".to_owned())),
        (_, Value::Object(_)) => Err(serialization("Start of structure or map found where not expected.".to_owned())),
        (_, value) => {
            let found = match value {
                Value::Bool(_) => "class java.lang.Boolean",
                Value::Number(number) if number.is_f64() => "class java.lang.Double",
                Value::Number(_) => "class java.lang.Long",
                _ => "class java.lang.String",
            };
            Err(serialization(format!("{found} can not be converted to {}", java(shape))))
        }
    }
}

/// A floating-point number without a fraction, within the numbers that it can tell apart.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is checked to be whole and within 2^53")]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// A type as the service's own messages name it.
const fn java(shape: &Shape) -> &'static str {
    match shape {
        Shape::Structure(_) => "a structure",
        Shape::List { .. } => "a List",
        Shape::Map { .. } => "a Map",
        Shape::Text { .. } => "an String",
        Shape::Integer { .. } => "an Integer",
        Shape::Long { .. } => "a Long",
        Shape::Double => "a Double",
        Shape::Blob { .. } => "a Blob",
        Shape::Boolean => "a Boolean",
        Shape::Timestamp => "a Timestamp",
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn serialization(message: String) -> AwsError {
    AwsError::serialization(message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::aws::model::KINESIS;

    fn message(operation: &str, mut value: Value) -> Option<String> {
        let input = KINESIS.operation(operation).unwrap().input;
        conform(&mut value, input).err().map(|error| {
            assert_eq!(error.code(), "SerializationException");
            error.message().to_owned()
        })
    }

    #[test]
    fn values_of_another_type_cannot_be_read() {
        for (value, expected) in [
            (json!({"StreamName": 1}), "class java.lang.Long can not be converted to an String"),
            (json!({"StreamName": []}), "Start of list found where not expected"),
            (json!({"StreamName": {}}), "Start of structure or map found where not expected."),
            (json!({"ShardCount": "1"}), "class java.lang.String can not be converted to an Integer"),
            (json!({"ShardCount": true}), "class java.lang.Boolean can not be converted to an Integer"),
            (json!({"ShardCount": 1.5}), "1.5 can not be converted to an Integer"),
            (json!({"ShardCount": 3_000_000_000_u64}), "3000000000 can not be converted to an Integer"),
            (json!({"Tags": "a"}), "class java.lang.String can not be converted to a Map"),
            (json!({"Tags": {"a": 1}}), "class java.lang.Long can not be converted to an String"),
            (json!({"StreamModeDetails": "x"}), "class java.lang.String can not be converted to a structure"),
            (json!([]), "Start of list found where not expected"),
        ] {
            assert_eq!(message("CreateStream", value.clone()).as_deref(), Some(expected), "{value}");
        }
        let blob = message("PutRecord", json!({"Data": "?"})).unwrap();
        assert!(blob.starts_with("a blob is not base64"), "{blob}");
    }

    #[test]
    fn what_can_be_read_is() {
        for value in [
            json!({}),
            json!({"StreamName": null, "Unknown": [1]}),
            json!({"StreamName": "a", "ShardCount": 1, "Tags": {"a": "b"}}),
        ] {
            assert_eq!(message("CreateStream", value), None);
        }
        let mut value = json!({"ShardCount": 2.0});
        conform(&mut value, KINESIS.operation("CreateStream").unwrap().input).unwrap();
        assert_eq!(value, json!({"ShardCount": 2}));
        let mut value = json!({"Timestamp": "2016-04-04T19:58:46.480-00:00"});
        conform(&mut value, KINESIS.operation("GetShardIterator").unwrap().input).unwrap();
        assert_eq!(value, json!({"Timestamp": 1_459_799_926.48}));
    }
}
