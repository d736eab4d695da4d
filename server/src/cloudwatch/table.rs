//! CloudWatch's metrics of Kinesis and Firehose, and ours that they are made of.

/// How a period's value is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    /// What a counter grew by.
    Sum,
    /// The largest of the gauges at the period's end, in another unit.
    Maximum { times: f64 },
    /// The mean of what a histogram took in, in another unit.
    Average { times: f64 },
}

/// A metric of CloudWatch's.
#[derive(Debug)]
pub(super) struct Row {
    /// As the exporter names it: namespace, metric, statistic.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Its dimension.
    pub(super) label: &'static str,
    /// Ours.
    pub(super) of: &'static str,
    /// Our label that its dimension comes from.
    pub(super) by: &'static str,
    /// What that label begins with: streams of Firehose's own, or none of them.
    owner: Owner,
    pub(super) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Whatever has no `$` before it.
    User,
    /// `$firehose.<name>`.
    Firehose,
}

const FIREHOSE: &str = "$firehose.";
const TO_MILLIS: f64 = 1000.0;

impl Row {
    /// The dimension's value for a value of our label; `None` where the row is not about it.
    pub(super) fn shown<'a>(&self, value: &'a str) -> Option<&'a str> {
        match self.owner {
            Owner::User => (!value.starts_with('$')).then_some(value),
            Owner::Firehose => value.strip_prefix(FIREHOSE),
        }
    }
}

const fn kinesis(name: &'static str, of: &'static str, how: How, help: &'static str) -> Row {
    Row { name, help, label: "stream_name", of, by: "stream", owner: Owner::User, how }
}

const fn direct(name: &'static str, of: &'static str, help: &'static str) -> Row {
    Row { name, help, label: "delivery_stream_name", of, by: "stream", owner: Owner::Firehose, how: How::Sum }
}

const fn delivery(name: &'static str, of: &'static str, how: How, help: &'static str) -> Row {
    Row { name, help, label: "delivery_stream_name", of, by: "delivery", owner: Owner::User, how }
}

/// Every metric that is written.
pub(super) static ROWS: &[Row] = &[
    kinesis(
        "aws_kinesis_incoming_bytes_sum",
        "millrace_streams_incoming_bytes_total",
        How::Sum,
        "Bytes put into the stream in the period",
    ),
    kinesis(
        "aws_kinesis_incoming_records_sum",
        "millrace_streams_incoming_records_total",
        How::Sum,
        "Records put into the stream in the period",
    ),
    kinesis(
        "aws_kinesis_get_records_bytes_sum",
        "millrace_streams_outgoing_bytes_total",
        How::Sum,
        "Bytes given to all readers in the period",
    ),
    kinesis(
        "aws_kinesis_get_records_records_sum",
        "millrace_streams_outgoing_records_total",
        How::Sum,
        "Records given to all readers in the period",
    ),
    kinesis(
        "aws_kinesis_write_provisioned_throughput_exceeded_sum",
        "millrace_streams_write_throttled_records_total",
        How::Sum,
        "Records refused by an in quota in the period",
    ),
    kinesis(
        "aws_kinesis_read_provisioned_throughput_exceeded_sum",
        "millrace_streams_read_throttled_total",
        How::Sum,
        "Reads refused or delayed by an out quota in the period",
    ),
    kinesis(
        "aws_kinesis_put_records_latency_average",
        "millrace_streams_put_latency_seconds",
        How::Average { times: TO_MILLIS },
        "Mean time of a put in the period, in milliseconds",
    ),
    kinesis(
        "aws_kinesis_get_records_latency_average",
        "millrace_streams_get_latency_seconds",
        How::Average { times: TO_MILLIS },
        "Mean time of a get in the period, in milliseconds",
    ),
    kinesis(
        "aws_kinesis_get_records_iterator_age_milliseconds_maximum",
        "millrace_streams_iterator_age_seconds",
        How::Maximum { times: TO_MILLIS },
        "How far the slowest reader is behind at the period's end, in milliseconds",
    ),
    direct(
        "aws_firehose_incoming_bytes_sum",
        "millrace_streams_incoming_bytes_total",
        "Bytes put directly into the delivery stream in the period",
    ),
    direct(
        "aws_firehose_incoming_records_sum",
        "millrace_streams_incoming_records_total",
        "Records put directly into the delivery stream in the period",
    ),
    direct(
        "aws_firehose_throttled_records_sum",
        "millrace_streams_write_throttled_records_total",
        "Records refused by the delivery stream's rates in the period",
    ),
    delivery(
        "aws_firehose_delivery_to_s3_bytes_sum",
        "millrace_delivery_out_bytes_total",
        How::Sum,
        "Bytes of objects delivered in the period",
    ),
    delivery(
        "aws_firehose_delivery_to_s3_records_sum",
        "millrace_delivery_rows_total",
        How::Sum,
        "Records delivered in the period",
    ),
    delivery(
        "aws_firehose_delivery_to_s3_object_count_sum",
        "millrace_delivery_files_total",
        How::Sum,
        "Objects delivered in the period",
    ),
    delivery(
        "aws_firehose_delivery_to_s3_data_freshness_maximum",
        "millrace_delivery_freshness_seconds",
        How::Maximum { times: 1.0 },
        "The age of the oldest record that is not delivered, at the period's end, in seconds",
    ),
];
