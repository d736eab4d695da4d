// The JavaScript SDK v3, which speaks HTTP/2 to Kinesis without asking: `javascript.cjs FOLDER ENDPOINT`, where FOLDER holds
// node_modules. Puts, reads, and subscribes with enhanced fan-out; prints what it did as JSON.
const assert = require("node:assert/strict");
const { createRequire } = require("node:module");

const [, , folder, endpoint] = process.argv;
const sdk = createRequire(`${folder}/x.js`)("@aws-sdk/client-kinesis");
const credentials = { accessKeyId: "test", secretAccessKey: "test" };
const kinesis = new sdk.KinesisClient({ endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
const send = (name, input) => kinesis.send(new sdk[`${name}Command`](input));
const text = (record) => Buffer.from(record.Data).toString();
const versions = new Set();

kinesis.middlewareStack.add(
  (next) => async (context) => {
    const answer = await next(context);
    versions.add(answer.response.headers["x-amzn-requestid"] ? "answered" : "no id");
    return answer;
  },
  { step: "deserialize", priority: "low" },
);

async function main() {
  assert.equal(kinesis.config.requestHandler.constructor.name, "NodeHttp2Handler", "the SDK's default is HTTP/2");
  await send("CreateStream", { StreamName: "js", ShardCount: 1 });
  const { StreamDescription: stream } = await send("DescribeStream", { StreamName: "js" });
  assert.ok(Date.now() - stream.StreamCreationTimestamp < 60_000);
  const ShardId = stream.Shards[0].ShardId;
  const Records = Array.from({ length: 50 }, (_, n) => ({ Data: Buffer.from(`event ${n}`), PartitionKey: `k${n}` }));
  const stored = await send("PutRecords", { StreamName: "js", Records });
  assert.equal(stored.FailedRecordCount, 0);
  const { ShardIterator } = await send("GetShardIterator", { StreamName: "js", ShardId, ShardIteratorType: "TRIM_HORIZON" });
  const read = await send("GetRecords", { ShardIterator });
  assert.deepEqual(read.Records.map(text), Records.map(text));
  assert.deepEqual(
    read.Records.map((record) => record.SequenceNumber),
    stored.Records.map((record) => record.SequenceNumber),
  );
  await assert.rejects(send("DescribeStream", { StreamName: "none" }), (error) => {
    assert.ok(error instanceof sdk.ResourceNotFoundException, error.name);
    assert.match(error.message, /Stream none under account 000000000000 not found/);
    return true;
  });
  await assert.rejects(send("CreateStream", { StreamName: "js", ShardCount: 1 }), sdk.ResourceInUseException);

  const { Consumer } = await send("RegisterStreamConsumer", { StreamARN: stream.StreamARN, ConsumerName: "app" });
  const position = { Type: "AFTER_SEQUENCE_NUMBER", SequenceNumber: stored.Records[9].SequenceNumber };
  const subscribe = { ConsumerARN: Consumer.ConsumerARN, ShardId, StartingPosition: position };
  const { EventStream } = await send("SubscribeToShard", subscribe);
  const pushed = [];
  let next = 0;
  for await (const event of EventStream) {
    pushed.push(...event.SubscribeToShardEvent.Records.map(text));
    if (pushed.length >= 40 && next < 10) {
      await send("PutRecord", { StreamName: "js", Data: Buffer.from(`live ${next++}`), PartitionKey: "k" });
    }
    if (pushed.length === 50) break;
  }
  const live = Array.from({ length: 10 }, (_, n) => `live ${n}`);
  assert.deepEqual(pushed, [...Records.slice(10).map(text), ...live]);
  await assert.rejects(send("SubscribeToShard", subscribe), sdk.ResourceInUseException);
  await send("DeleteStream", { StreamName: "js", EnforceConsumerDeletion: true });
  assert.deepEqual([...versions], ["answered"]);
  kinesis.destroy();
  console.log(JSON.stringify({ read: read.Records.length, pushed: pushed.length }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
