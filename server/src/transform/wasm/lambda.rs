//! `handle`: a function in the shape of Firehose's Lambda. The event and the answer are JSON, as the function has them in AWS, but
//! for the base64 of records, which stands apart: a guest reads JSON character by character, and splits lines at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};

use super::call::{Failed, partition_key};
use super::guest::Guest;
use crate::transform::{Input, Outcome, Output, PartitionKeys};

/// How an event begins, but for its id.
const HEAD: &str = r#"","deliveryStreamArn":"arn:aws:firehose:local:000000000000:deliverystream/millrace","region":"local","records":["#;

type Function<'a> = TypedFunc<(&'a str, &'a str), ((String, String),)>;

pub(super) fn function<'a>(store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Function<'a>> {
    instance.get_typed_func(store, "handle")
}

pub(super) fn call(store: &mut Store<Guest>, instance: &Instance, inputs: &[Input]) -> Result<Vec<Outcome>, Failed> {
    let ids: Vec<String> = inputs.iter().map(Input::id).collect();
    let event = event(inputs, &ids)?;
    let handle = function(store, instance).map_err(Failed::host)?;
    let ((answer, data),) = handle.call(store, (&event, &lines(inputs)))?;
    outcomes(&ids, &answer, &data).map_err(Failed::Answer)
}

/// The event without the data of its records.
fn event(inputs: &[Input], ids: &[String]) -> Result<String, Failed> {
    let bytes: usize = inputs.iter().map(|input| input.partition_key.len() + 160).sum();
    let mut event = String::with_capacity(bytes + 256);
    event.push_str(r#"{"invocationId":""#);
    event.push_str(ids.first().map_or("", String::as_str));
    event.push_str(HEAD);
    for (index, (input, id)) in inputs.iter().zip(ids).enumerate() {
        event.push_str(if index == 0 { r#"{"recordId":""# } else { r#",{"recordId":""# });
        event.push_str(id);
        event.push_str(r#"","approximateArrivalTimestamp":"#);
        event.push_str(&input.origin.arrival_time.as_millis().to_string());
        event.push_str(r#","kinesisRecordMetadata":{"partitionKey":"#);
        event.push_str(&serde_json::to_string(partition_key(input)?).map_err(Failed::host)?);
        event.push_str("}}");
    }
    event.push_str("]}");
    Ok(event)
}

/// The data of records in base64, a line for each.
fn lines(inputs: &[Input]) -> String {
    let bytes = inputs.iter().map(|input| input.data.len().div_ceil(3) * 4 + 1).sum();
    let mut lines = String::with_capacity(bytes);
    for (index, input) in inputs.iter().enumerate() {
        if index > 0 {
            lines.push('\n');
        }
        BASE64_STANDARD.encode_string(&input.data, &mut lines);
    }
    lines
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    records: Vec<Answered<'a>>,
}

/// What a handler says of a record.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(rename = "recordId", borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    result: Cow<'a, str>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "partitionKeys")]
    partition_keys: Option<BTreeMap<String, Value>>,
}

/// What the answer says of each record. One that it does not name has failed, as with Firehose.
fn outcomes(ids: &[String], answer: &str, data: &str) -> Result<Vec<Outcome>, String> {
    let answer: Answer<'_> =
        serde_json::from_str(answer).map_err(|error| format!("the handler's answer cannot be read: {error}"))?;
    let lines: Vec<&str> = if answer.records.is_empty() { Vec::new() } else { data.split('\n').collect() };
    if lines.len() != answer.records.len() {
        let (lines, records) = (lines.len(), answer.records.len());
        return Err(format!("the handler's answer has {lines} lines of data for {records} records"));
    }
    let pairs = answer.records.iter().zip(lines);
    let answered: HashMap<&str, _> = pairs.map(|(record, data)| (record.id.as_ref(), (record, data))).collect();
    let outcome = |id: &String| {
        let (answered, data) = answered.get(id.as_str()).ok_or("the handler gave no answer for the record")?;
        outcome(answered, data)
    };
    Ok(ids.iter().map(|id| outcome(id).unwrap_or_else(|reason| Outcome::Failed(reason.into()))).collect())
}

fn outcome(answered: &Answered<'_>, data: &str) -> Result<Outcome, String> {
    match answered.result.as_ref() {
        "Ok" => {}
        "Dropped" => return Ok(Outcome::Dropped),
        other => return Err(super::call::reason(&format!("the handler gave the result {other}"))),
    }
    let data = BASE64_STANDARD.decode(data).map_err(|error| format!("the handler's data is no base64: {error}"))?;
    let keys = answered.metadata.iter().filter_map(|metadata| metadata.partition_keys.as_ref()).flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let partition_keys = PartitionKeys::new(keys.map(|(name, value)| (name.clone(), text(value))))?;
    Ok(Outcome::One(Output { data: data.into(), partition_keys }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_event_is_that_of_firehose_with_its_data_apart() {
        let input = Input { partition_key: Bytes::from("k\"1\n"), data: Bytes::from("{}"), ..Input::default() };
        let given = [
            input,
            Input { part: 1, ..Input::default() },
            Input { part: 2, data: Bytes::from("a"), ..Input::default() },
        ];
        let ids: Vec<String> = given.iter().map(Input::id).collect();
        let event: Value = serde_json::from_str(&event(&given, &ids).ok().unwrap()).unwrap();
        let record = |id: &str, key: &str| {
            let metadata = serde_json::json!({ "partitionKey": key });
            serde_json::json!({ "recordId": id, "approximateArrivalTimestamp": 0, "kinesisRecordMetadata": metadata })
        };
        assert_eq!(event["invocationId"], "0:0:0");
        let records = [record("0:0:0", "k\"1\n"), record("0:0:1", ""), record("0:0:2", "")];
        assert_eq!(event["records"], serde_json::json!(records));
        assert_eq!(lines(&given), "e30=\n\nYQ==");
    }

    #[test]
    fn an_answer_tells_of_each_record_by_its_id() {
        let ids = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
        let answer = r#"{"records": [
            {"recordId": "b", "result": "Dropped"},
            {"recordId": "a", "result": "Ok", "metadata": {"partitionKeys": {"size": 3, "n\u0061me": "x"}}},
            {"recordId": "c", "result": "ProcessingFailed"},
            {"recordId": "d", "result": "Ok", "metadata": null},
            {"recordId": "e", "result": "Ok"},
            {"recordId": "of nobody", "result": "Ok"}
        ], "more": 1}"#;
        let keys = PartitionKeys::new([("size".to_owned(), "3".to_owned()), ("name".to_owned(), "x".to_owned())]);
        let made = outcomes(&ids, answer, "\ne30K\ne30K\n\nno base64\n").unwrap();
        assert_eq!(made[0], Outcome::One(Output { data: Bytes::from("{}\n"), partition_keys: keys.unwrap() }));
        assert_eq!(made[1], Outcome::Dropped);
        assert_eq!(made[3], Outcome::One(Bytes::new().into()));
        for (index, words) in [(2, "result ProcessingFailed"), (4, "no base64"), (5, "no answer")] {
            let Outcome::Failed(failure) = &made[index] else { panic!("{:?}", made[index]) };
            assert!(failure.message.contains(words), "{failure:?}");
        }
    }

    #[test]
    fn an_answer_that_is_none_fails_the_call() {
        let ids = ["a".to_owned()];
        let fails = |answer: &str, data: &str, words: &str| {
            let reason = outcomes(&ids, answer, data).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        };
        fails("[]", "", "cannot be read");
        fails(r#"{"records": [{"recordId": "a"}]}"#, "", "missing field `result`");
        fails(r#"{"records": [{"recordId": "a", "result": "Ok"}]}"#, "e30K\n", "2 lines of data for 1 records");
        let unnamed = outcomes(&ids, r#"{"records": []}"#, "").unwrap();
        assert!(matches!(&unnamed[..], [Outcome::Failed(_)]), "{unnamed:?}");
    }
}
