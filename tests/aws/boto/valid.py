"""A valid request for each operation, as JSON has it. They are sent in any order, so that some fail as they are; all are declared."""

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/firehose"


def of_kinesis(stream, consumer, iterator):
    """A request for each of Kinesis' operations."""
    name, arn = {"StreamName": stream}, {"StreamARN": ARN + stream}
    shard = "shardId-000000000000"
    kms = {**name, "EncryptionType": "KMS", "KeyId": "alias/x"}
    record = {"Data": "aGVsbG8=", "PartitionKey": "key"}
    return {
        "AddTagsToStream": {**name, "Tags": {"a": "b", "c": "d"}},
        "CreateStream": {"StreamName": "created", "ShardCount": 1, "StreamModeDetails": {"StreamMode": "PROVISIONED"}},
        "DecreaseStreamRetentionPeriod": {**name, "RetentionPeriodHours": 24},
        "DeleteResourcePolicy": {"ResourceARN": ARN + stream},
        "DeleteStream": {"StreamName": "created", "EnforceConsumerDeletion": True},
        "DeregisterStreamConsumer": {**arn, "ConsumerName": "other"},
        "DescribeAccountSettings": {},
        "DescribeLimits": {},
        "DescribeStream": {**name, "Limit": 10, "ExclusiveStartShardId": shard},
        "DescribeStreamConsumer": {"ConsumerARN": consumer},
        "DescribeStreamSummary": {**name, **arn},
        "DisableEnhancedMonitoring": {**name, "ShardLevelMetrics": ["ALL", "IncomingBytes"]},
        "EnableEnhancedMonitoring": {**name, "ShardLevelMetrics": ["OutgoingBytes"]},
        "GetRecords": {"ShardIterator": iterator, "Limit": 10, **arn},
        "GetResourcePolicy": {"ResourceARN": ARN + stream},
        "GetShardIterator": {**name, "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.6e9},
        "IncreaseStreamRetentionPeriod": {**name, "RetentionPeriodHours": 48},
        "ListShards": {**name, "MaxResults": 10, "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": 1.6e9}},
        "ListStreamConsumers": {**arn, "MaxResults": 5},
        "ListStreams": {"Limit": 5, "ExclusiveStartStreamName": "a"},
        "ListTagsForResource": {"ResourceARN": consumer},
        "ListTagsForStream": {**name, "Limit": 5, "ExclusiveStartTagKey": "a"},
        "MergeShards": {**name, "ShardToMerge": shard, "AdjacentShardToMerge": "shardId-000000000001"},
        "PutRecord": {**name, **record, "ExplicitHashKey": "12345"},
        "PutRecords": {**name, "Records": [record, {**record, "ExplicitHashKey": "0"}, record]},
        "PutResourcePolicy": {"ResourceARN": ARN + stream, "Policy": '{"Statement": []}'},
        "RegisterStreamConsumer": {**arn, "ConsumerName": "other", "Tags": {"a": "b"}},
        "RemoveTagsFromStream": {**name, "TagKeys": ["a", "b"]},
        "SplitShard": {**name, "ShardToSplit": shard, "NewStartingHashKey": "170141183460469231731687303715884105728"},
        "StartStreamEncryption": kms,
        "StopStreamEncryption": kms,
        "SubscribeToShard": {"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": {"Type": "LATEST"}, "DryRun": True},
        "TagResource": {"ResourceARN": consumer, "Tags": {"a": "b"}},
        "UntagResource": {"ResourceARN": consumer, "TagKeys": ["a"]},
        "UpdateAccountSettings": {"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}},
        "UpdateMaxRecordSize": {**arn, "MaxRecordSizeInKiB": 2048},
        "UpdateShardCount": {**name, "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"},
        "UpdateStreamMode": {**arn, "StreamModeDetails": {"StreamMode": "PROVISIONED"}},
        "UpdateStreamWarmThroughput": {**name, "WarmThroughputMiBps": 4},
    }


def of_firehose(stream):
    """A request for each of Firehose's operations."""
    name, record = {"DeliveryStreamName": stream}, {"Data": "aGVsbG8="}
    s3 = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::bucket"}
    extended = {
        **s3,
        "Prefix": "p/!{timestamp:yyyy}/!{partitionKeyFromQuery:c}/",
        "ErrorOutputPrefix": "failed/!{firehose:error-output-type}/",
        "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
        "CompressionFormat": "GZIP",
        "DynamicPartitioningConfiguration": {"Enabled": True},
        "ProcessingConfiguration": {
            "Enabled": True,
            "Processors": [
                {
                    "Type": "MetadataExtraction",
                    "Parameters": [
                        {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{c: .carrier}"},
                        {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"},
                    ],
                },
                {"Type": "AppendDelimiterToRecord", "Parameters": []},
            ],
        },
    }
    return {
        "CreateDeliveryStream": {
            "DeliveryStreamName": "created",
            "DeliveryStreamType": "DirectPut",
            "ExtendedS3DestinationConfiguration": extended,
            "Tags": [{"Key": "a", "Value": "b"}],
        },
        "DeleteDeliveryStream": {"DeliveryStreamName": "created", "AllowForceDelete": True},
        "DescribeDeliveryStream": {**name, "Limit": 1},
        "ListDeliveryStreams": {"Limit": 5, "DeliveryStreamType": "DirectPut", "ExclusiveStartDeliveryStreamName": "a"},
        "ListTagsForDeliveryStream": {**name, "Limit": 5, "ExclusiveStartTagKey": "a"},
        "PutRecord": {**name, "Record": record},
        "PutRecordBatch": {**name, "Records": [record, record, record]},
        "StartDeliveryStreamEncryption": {
            **name,
            "DeliveryStreamEncryptionConfigurationInput": {"KeyType": "AWS_OWNED_CMK"},
        },
        "StopDeliveryStreamEncryption": name,
        "TagDeliveryStream": {**name, "Tags": [{"Key": "a", "Value": "b"}, {"Key": "c"}]},
        "UntagDeliveryStream": {**name, "TagKeys": ["a"]},
        "UpdateDestination": {
            **name,
            "CurrentDeliveryStreamVersionId": "1",
            "DestinationId": "destinationId-000000000001",
            "ExtendedS3DestinationUpdate": {"CompressionFormat": "GZIP", "Prefix": "q/"},
        },
    }
