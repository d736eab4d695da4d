//! Processors as the steps of a transform chain.
//!
//! Their order is kept, but for the two that Firehose has a place for itself: aggregates of a source stream are taken apart
//! first, and delimiters are appended last.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};

use super::destination::{ProcessingConfiguration, Processor};
use super::prefix;
use crate::api::aws::protocol::AwsError;

/// Transforms that a function may be called by name; any other name is that of a module.
const BUILT_IN: [&str; 3] = ["newline", "split", "deaggregate"];

/// What processors become.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Steps {
    pub(super) transforms: Vec<Value>,
    /// For the prefix: by name, a path into each record.
    pub(super) partition_keys: BTreeMap<String, String>,
    /// Whether the prefix's keys come from a step rather than from paths.
    pub(super) keys_of_step: bool,
}

impl Steps {
    /// The steps of a configuration.
    ///
    /// # Errors
    /// `InvalidArgumentException` where a processor or one of its parameters means nothing here.
    pub(super) fn of(processing: Option<&ProcessingConfiguration>, data_prefix: &str) -> Result<Self, AwsError> {
        let mut steps = Self::default();
        let Some(processing) = processing.filter(|processing| processing.enabled == Some(true)) else {
            return Ok(steps);
        };
        let mut last = Vec::new();
        for processor in &processing.processors {
            match processor.r#type.as_str() {
                "RecordDeAggregation" => steps.transforms.push(split(processor)?),
                "Decompression" => steps.transforms.push(decompress(processor)?),
                "CloudWatchLogProcessing" => steps.extract_messages(processor)?,
                "Lambda" => steps.transforms.push(function(processor)?),
                "MetadataExtraction" => steps.extract_keys(processor, data_prefix)?,
                "AppendDelimiterToRecord" => last.push(append(processor)?),
                other => return Err(AwsError::invalid(format!("the processor {other} is not supported"))),
            }
        }
        steps.transforms.extend(last);
        Ok(steps)
    }

    /// A decompression of CloudWatch's envelopes comes first, and gives messages instead.
    fn extract_messages(&mut self, processor: &Processor) -> Result<(), AwsError> {
        let wanted = parameter(processor, "DataMessageExtraction").unwrap_or("false");
        let wanted = matches!(wanted.to_ascii_lowercase().as_str(), "true");
        let envelope = self.transforms.iter_mut().find(|step| step.get("type") == Some(&Value::from("decompress")));
        let Some(Value::Table(envelope)) = envelope else {
            return Err(AwsError::invalid("CloudWatchLogProcessing needs a Decompression processor before it"));
        };
        if wanted {
            envelope.insert("format".to_owned(), Value::from("cloudwatch_logs"));
            envelope.insert("extract".to_owned(), Value::from("messages"));
        }
        Ok(())
    }

    fn extract_keys(&mut self, processor: &Processor, data_prefix: &str) -> Result<(), AwsError> {
        let query = required(processor, "MetadataExtractionQuery")?;
        if let Some(engine) = parameter(processor, "JsonParsingEngine").filter(|engine| *engine != "JQ-1.6") {
            return Err(AwsError::invalid(format!("JsonParsingEngine {engine} is not supported; JQ-1.6 is")));
        }
        match paths(query) {
            Some(paths) => {
                let used = prefix::query_keys(data_prefix);
                if let Some((unused, _)) = paths.iter().find(|(name, _)| !used.contains(&name.as_str())) {
                    return Err(AwsError::invalid(format!(
                        "MetadataExtractionQuery gives the partition key {unused}, which Prefix does not use"
                    )));
                }
                self.partition_keys.extend(paths);
            }
            None => {
                self.keys_of_step = true;
                self.transforms.push(step("jq", &[("query", query), ("to", "partition_keys")]));
            }
        }
        Ok(())
    }
}

fn step(r#type: &str, fields: &[(&str, &str)]) -> Value {
    let fields = [("type", r#type)].into_iter().chain(fields.iter().copied());
    Value::Table(fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Table>())
}

fn parameter<'p>(processor: &'p Processor, name: &str) -> Option<&'p str> {
    let found = processor.parameters.iter().find(|parameter| parameter.parameter_name == name);
    found.map(|parameter| parameter.parameter_value.as_str())
}

fn required<'p>(processor: &'p Processor, name: &str) -> Result<&'p str, AwsError> {
    let missing = || AwsError::invalid(format!("the processor {} needs the parameter {name}", processor.r#type));
    parameter(processor, name).ok_or_else(missing)
}

fn split(processor: &Processor) -> Result<Value, AwsError> {
    match (required(processor, "SubRecordType")?, parameter(processor, "Delimiter")) {
        ("JSON", None) => Ok(Value::from("split")),
        ("DELIMITED", Some(delimiter)) => match STANDARD.decode(delimiter).as_deref() {
            Ok(b"\n") => Ok(step("split", &[("by", "lines")])),
            Ok(_) => Err(AwsError::invalid(
                "RecordDeAggregation with a Delimiter other than a line feed (base64 Cg==) is not supported",
            )),
            Err(_) => Err(AwsError::invalid("the Delimiter of RecordDeAggregation must be base64")),
        },
        ("DELIMITED", None) => Err(AwsError::invalid("RecordDeAggregation of DELIMITED records needs a Delimiter")),
        (kind, _) => Err(AwsError::invalid(format!("RecordDeAggregation does not take the SubRecordType {kind} so"))),
    }
}

fn decompress(processor: &Processor) -> Result<Value, AwsError> {
    match parameter(processor, "CompressionFormat").unwrap_or("GZIP") {
        "GZIP" => Ok(step("decompress", &[("format", "gzip")])),
        other => Err(AwsError::invalid(format!("Decompression of {other} is not supported; GZIP is"))),
    }
}

/// A function's name is that of a transform.
fn function(processor: &Processor) -> Result<Value, AwsError> {
    let arn = required(processor, "LambdaArn")?;
    let parts: Vec<&str> = arn.split(':').collect();
    let (name, version) = match parts.as_slice() {
        ["arn", _, "lambda", _, _, "function", name] => (*name, None),
        ["arn", _, "lambda", _, _, "function", name, "$LATEST"] => (*name, None),
        ["arn", _, "lambda", _, _, "function", name, version] => (*name, Some(*version)),
        _ => return Err(AwsError::invalid(format!("LambdaArn {arn} is not the ARN of a function"))),
    };
    if BUILT_IN.contains(&name) && version.is_none() {
        return Ok(Value::from(name));
    }
    let Value::Table(mut module) = step("wasm", &[("module", name)]) else { return Ok(Value::from(name)) };
    if let Some(version) = version {
        let number = version.parse::<i64>().map_err(|_| {
            AwsError::invalid(format!(
                "LambdaArn {arn} has the alias {version}; a version's number or none is supported"
            ))
        })?;
        module.insert("version".to_owned(), Value::from(number));
    }
    Ok(Value::Table(module))
}

fn append(processor: &Processor) -> Result<Value, AwsError> {
    let delimiter = parameter(processor, "Delimiter").unwrap_or("\\n");
    // Clients write the escape, since a parameter of white space alone breaks the model.
    let delimiter = delimiter.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    if delimiter == "\n" {
        return Ok(Value::from("newline"));
    }
    Ok(step("newline", &[("delimiter", &delimiter)]))
}

/// The keys of a query that is an object of plain paths, such as `{customer: .customer.id, kind: .kind}`.
fn paths(query: &str) -> Option<BTreeMap<String, String>> {
    let inner = query.trim().strip_prefix('{')?.strip_suffix('}')?;
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let entry = |entry: &str| {
        let (name, path) = match entry.split_once(':') {
            Some((name, path)) => (name.trim().trim_matches('"').to_owned(), path.trim().to_owned()),
            None => (entry.trim().to_owned(), format!(".{}", entry.trim())),
        };
        let is_path = path.strip_prefix('.').is_some_and(|names| names.split('.').all(is_name));
        (is_name(&name) && is_path).then_some((name, path))
    };
    inner.split(',').map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::destination::ProcessorParameter;
    use super::*;

    fn processor(r#type: &str, parameters: &[(&str, &str)]) -> Processor {
        let parameter = |(name, value): &(&str, &str)| ProcessorParameter {
            parameter_name: (*name).to_owned(),
            parameter_value: (*value).to_owned(),
        };
        Processor { r#type: r#type.to_owned(), parameters: parameters.iter().map(parameter).collect() }
    }

    fn steps(processors: Vec<Processor>) -> Result<Steps, AwsError> {
        let processing = ProcessingConfiguration { enabled: Some(true), processors };
        Steps::of(Some(&processing), "k=!{partitionKeyFromQuery:k}/")
    }

    #[track_caller]
    fn check(processors: Vec<Processor>, expected: &str) {
        let made = steps(processors).unwrap();
        assert_eq!(Value::Array(made.transforms).to_string(), expected);
    }

    #[track_caller]
    fn refused(r#type: &str, parameters: &[(&str, &str)], words: &str) {
        let error = steps(vec![processor(r#type, parameters)]).unwrap_err();
        assert_eq!(error.code(), "InvalidArgumentException");
        assert!(error.message().contains(words), "{}", error.message());
    }

    #[test]
    fn processors_become_steps_and_delimiters_come_last() {
        check(
            vec![
                processor("AppendDelimiterToRecord", &[("Delimiter", "\\n")]),
                processor("RecordDeAggregation", &[("SubRecordType", "JSON")]),
            ],
            r#"["split", "newline"]"#,
        );
        check(
            vec![processor("AppendDelimiterToRecord", &[("Delimiter", "|")])],
            "[{ delimiter = \"|\", type = \"newline\" }]",
        );
        check(
            vec![processor("RecordDeAggregation", &[("SubRecordType", "DELIMITED"), ("Delimiter", "Cg==")])],
            "[{ by = \"lines\", type = \"split\" }]",
        );
        check(
            vec![processor("Decompression", &[("CompressionFormat", "GZIP")])],
            "[{ format = \"gzip\", type = \"decompress\" }]",
        );
        let lambda = |arn: &str| processor("Lambda", &[("LambdaArn", arn)]);
        check(vec![lambda("arn:aws:lambda:eu-west-1:000000000000:function:newline")], r#"["newline"]"#);
        check(
            vec![lambda("arn:aws:lambda:eu-west-1:000000000000:function:enrich:7")],
            "[{ module = \"enrich\", type = \"wasm\", version = 7 }]",
        );
        check(
            vec![lambda("arn:aws:lambda:eu-west-1:000000000000:function:enrich:$LATEST")],
            "[{ module = \"enrich\", type = \"wasm\" }]",
        );
    }

    #[test]
    fn what_means_nothing_here_is_refused_with_its_name() {
        refused("RecordDeAggregation", &[("SubRecordType", "DELIMITED"), ("Delimiter", "fA==")], "Delimiter");
        refused("RecordDeAggregation", &[], "SubRecordType");
        refused("Decompression", &[("CompressionFormat", "ZIP")], "ZIP");
        refused("CloudWatchLogProcessing", &[("DataMessageExtraction", "true")], "Decompression");
        refused("Lambda", &[], "LambdaArn");
        refused("Lambda", &[("LambdaArn", "enrich")], "ARN of a function");
        refused("Lambda", &[("LambdaArn", "arn:aws:lambda:eu-west-1:000000000000:function:a:prod")], "alias prod");
        refused("MetadataExtraction", &[("MetadataExtractionQuery", "{other: .a}")], "does not use");
        let engine = [("MetadataExtractionQuery", "{k: .a}"), ("JsonParsingEngine", "JQ-1.7")];
        refused("MetadataExtraction", &engine, "JQ-1.7");
    }

    #[test]
    fn plain_paths_are_partition_keys_and_other_queries_are_steps() {
        let made = steps(vec![processor("MetadataExtraction", &[("MetadataExtractionQuery", "{k: .a.b}")])]).unwrap();
        assert_eq!(made.partition_keys, BTreeMap::from([("k".to_owned(), ".a.b".to_owned())]));
        assert!(made.transforms.is_empty() && !made.keys_of_step);
        let made = steps(vec![processor("MetadataExtraction", &[("MetadataExtractionQuery", "{k: (.a | tostring)}")])]);
        let made = made.unwrap();
        assert!(made.keys_of_step && made.partition_keys.is_empty());
        assert_eq!(made.transforms.len(), 1);
        for (query, is_plain) in
            [("{a}", true), ("{\"a\": .b, c: .d.e}", true), (".a", false), ("{a: .[0]}", false), ("{}", false)]
        {
            assert_eq!(paths(query).is_some(), is_plain, "{query}");
        }
    }

    #[test]
    fn processing_that_is_off_is_none() {
        let off = ProcessingConfiguration { enabled: Some(false), processors: vec![processor("Lambda", &[])] };
        assert_eq!(Steps::of(Some(&off), "").unwrap(), Steps::default());
        assert_eq!(Steps::of(None, "").unwrap(), Steps::default());
    }
}
