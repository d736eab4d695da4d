// The AWS SDK for Java 2 with its Netty client: CBOR, which it chooses for Kinesis by itself, HTTP/2 with prior knowledge, and
// enhanced fan-out. `java -cp FOLDER/* Sdk.java ENDPOINT ACCESS_KEY SECRET` prints what it did as JSON.

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.client.config.ClientOverrideConfiguration;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.firehose.FirehoseAsyncClient;
import software.amazon.awssdk.services.firehose.model.InvalidArgumentException;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardRequest;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

public class Sdk {
  static final int RECORDS = 50;
  static final Duration TIME_MAX = Duration.ofSeconds(60);
  /** What the client sent and what the server answered in, by service. */
  static final Set<String> FORMATS = Collections.synchronizedSet(new TreeSet<>());

  /** Notes the content type of each request and of its answer, which the server writes in the request's own format. */
  record Formats(String service) implements ExecutionInterceptor {
    /** What answers a stream of events is asked in JSON by this SDK, and stands for itself. */
    String named(ExecutionAttributes attributes) {
      var operation = attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME);
      return operation.equals("SubscribeToShard") ? operation : service;
    }

    @Override
    public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
      FORMATS.add(named(attributes) + " sends " + context.httpRequest().firstMatchingHeader("Content-Type").orElse("nothing"));
    }

    @Override
    public void afterTransmission(Context.AfterTransmission context, ExecutionAttributes attributes) {
      FORMATS.add(named(attributes) + " gets " + context.httpResponse().firstMatchingHeader("Content-Type").orElse("nothing"));
    }
  }

  static void check(boolean holds, Object what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }

  static <T> T get(CompletableFuture<T> answer) throws Exception {
    return answer.get(TIME_MAX.toSeconds(), TimeUnit.SECONDS);
  }

  static <E extends Throwable> E fails(Class<E> kind, Supplier<CompletableFuture<?>> call) {
    try {
      throw new AssertionError("answered " + call.get().orTimeout(TIME_MAX.toSeconds(), TimeUnit.SECONDS).join());
    } catch (CompletionException error) {
      check(kind.isInstance(error.getCause()), error);
      return kind.cast(error.getCause());
    }
  }

  static ClientOverrideConfiguration overrides(String service) {
    return ClientOverrideConfiguration.builder().addExecutionInterceptor(new Formats(service)).build();
  }

  static List<String> texts(List<Record> records) {
    return records.stream().map(record -> record.data().asUtf8String()).toList();
  }

  public static void main(String[] arguments) throws Exception {
    var endpoint = URI.create(arguments[0]);
    var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create(arguments[1], arguments[2]));
    // A busy machine takes its time.
    var http2 = NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2).maxConcurrency(100).connectionTimeout(TIME_MAX)
        .connectionAcquisitionTimeout(TIME_MAX).readTimeout(TIME_MAX);
    var http1 = NettyNioAsyncHttpClient.builder().connectionTimeout(TIME_MAX).connectionAcquisitionTimeout(TIME_MAX)
        .readTimeout(TIME_MAX);
    try (var kinesis = KinesisAsyncClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1)
            .credentialsProvider(credentials).httpClientBuilder(http2)
            .overrideConfiguration(overrides("kinesis")).build();
        var firehose = FirehoseAsyncClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1)
            .credentialsProvider(credentials).httpClientBuilder(http1)
            .overrideConfiguration(overrides("firehose")).build()) {
      var stored = putAndRead(kinesis);
      var pushed = subscribe(kinesis, stored);
      var delivered = deliver(firehose);
      get(kinesis.deleteStream(stream -> stream.streamName("java").enforceConsumerDeletion(true)));
      var formats = String.join("\",\"", FORMATS);
      System.out.printf("{\"read\":%d,\"pushed\":%d,\"delivered\":%d,\"formats\":[\"%s\"]}%n",
          stored.size(), pushed, delivered, formats);
    }
  }

  /** Puts, reads back, and fails in typed ways; gives the sequence numbers. */
  static List<String> putAndRead(KinesisAsyncClient kinesis) throws Exception {
    get(kinesis.createStream(stream -> stream.streamName("java").shardCount(1)));
    get(kinesis.waiter().waitUntilStreamExists(stream -> stream.streamName("java")));
    var entries = IntStream.range(0, RECORDS).mapToObj(number -> PutRecordsRequestEntry.builder()
        .partitionKey("key " + number).data(SdkBytes.fromUtf8String("event " + number)).build()).toList();
    var answer = get(kinesis.putRecords(put -> put.streamName("java").records(entries)));
    check(answer.failedRecordCount() == 0, answer);
    var numbers = answer.records().stream().map(fate -> fate.sequenceNumber()).toList();
    var shards = get(kinesis.listShards(list -> list.streamName("java"))).shards();
    check(shards.size() == 1, shards);
    var iterator = get(kinesis.getShardIterator(place -> place.streamName("java").shardId(shards.get(0).shardId())
        .shardIteratorType(ShardIteratorType.TRIM_HORIZON))).shardIterator();
    var read = get(kinesis.getRecords(records -> records.shardIterator(iterator)));
    check(texts(read.records()).equals(entries.stream().map(entry -> entry.data().asUtf8String()).toList()), read);
    check(read.records().stream().map(Record::sequenceNumber).toList().equals(numbers), read);
    var age = System.currentTimeMillis() - read.records().get(0).approximateArrivalTimestamp().toEpochMilli();
    check(age >= 0 && age < 60_000 && read.millisBehindLatest() == 0, age);
    var none = fails(ResourceNotFoundException.class, () -> kinesis.describeStream(stream -> stream.streamName("none")));
    check(none.awsErrorDetails().errorMessage().contains("Stream none under account 000000000000 not found"), none);
    check(none.requestId() != null && none.statusCode() == 400, none);
    fails(ResourceInUseException.class, () -> kinesis.createStream(stream -> stream.streamName("java").shardCount(1)));
    fails(software.amazon.awssdk.services.kinesis.model.InvalidArgumentException.class,
        () -> kinesis.getRecords(records -> records.shardIterator("forged")));
    var invalid = fails(KinesisException.class, () -> kinesis.putRecord(put -> put.streamName("a/b")
        .partitionKey("k").data(SdkBytes.fromUtf8String("x"))));
    check(invalid.awsErrorDetails().errorCode().equals("ValidationException"), invalid);
    return numbers;
  }

  /** Subscribes after the tenth record, and puts ten more once it has caught up; gives how many came. */
  static int subscribe(KinesisAsyncClient kinesis, List<String> numbers) throws Exception {
    var described = get(kinesis.describeStreamSummary(stream -> stream.streamName("java"))).streamDescriptionSummary();
    var consumer = get(kinesis.registerStreamConsumer(
        register -> register.streamARN(described.streamARN()).consumerName("app"))).consumer();
    check(consumer.consumerStatus() == ConsumerStatus.ACTIVE, consumer);
    var wanted = new ArrayList<String>();
    IntStream.range(10, RECORDS).forEach(number -> wanted.add("event " + number));
    IntStream.range(0, 10).forEach(number -> wanted.add("live " + number));
    var pushed = Collections.synchronizedList(new ArrayList<String>());
    var caughtUp = new CompletableFuture<Void>();
    var all = new CompletableFuture<Void>();
    var visitor = SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent((SubscribeToShardEvent event) -> {
      pushed.addAll(texts(event.records()));
      if (pushed.size() >= RECORDS - 10) {
        caughtUp.complete(null);
      }
      if (pushed.size() >= wanted.size()) {
        all.complete(null);
      }
    }).build();
    var handler = SubscribeToShardResponseHandler.builder().subscriber(visitor).onError(all::completeExceptionally).build();
    var request = SubscribeToShardRequest.builder().consumerARN(consumer.consumerARN()).shardId("shardId-000000000000")
        .startingPosition(place -> place.type(ShardIteratorType.AFTER_SEQUENCE_NUMBER).sequenceNumber(numbers.get(9)))
        .build();
    var subscription = kinesis.subscribeToShard(request, handler);
    get(caughtUp);
    for (int number = 0; number < 10; number++) {
      var data = SdkBytes.fromUtf8String("live " + number);
      get(kinesis.putRecord(put -> put.streamName("java").partitionKey("k").data(data)));
    }
    get(all);
    check(pushed.equals(wanted), pushed);
    var ignored = SubscribeToShardResponseHandler.builder().subscriber(visitor).build();
    fails(ResourceInUseException.class, () -> kinesis.subscribeToShard(request, ignored));
    // Its consumer goes, and so does the subscription.
    get(kinesis.deregisterStreamConsumer(gone -> gone.consumerARN(consumer.consumerARN())));
    fails(ResourceInUseException.class, () -> subscription);
    fails(ResourceNotFoundException.class, () -> kinesis.subscribeToShard(request, ignored));
    return pushed.size();
  }

  /** A delivery stream and records for it; gives how many it took. */
  static int deliver(FirehoseAsyncClient firehose) throws Exception {
    get(firehose.createDeliveryStream(stream -> stream.deliveryStreamName("java").extendedS3DestinationConfiguration(
        s3 -> s3.bucketARN("arn:aws:s3:::java").roleARN("arn:aws:iam::000000000000:role/any"))));
    var described = get(firehose.describeDeliveryStream(stream -> stream.deliveryStreamName("java")));
    check(described.deliveryStreamDescription().deliveryStreamStatusAsString().equals("ACTIVE"), described);
    var records = IntStream.range(0, RECORDS).mapToObj(number -> software.amazon.awssdk.services.firehose.model.Record
        .builder().data(SdkBytes.fromUtf8String("event " + number + "\n")).build()).toList();
    var answer = get(firehose.putRecordBatch(put -> put.deliveryStreamName("java").records(records)));
    check(answer.failedPutCount() == 0, answer);
    fails(software.amazon.awssdk.services.firehose.model.ResourceNotFoundException.class,
        () -> firehose.describeDeliveryStream(stream -> stream.deliveryStreamName("none")));
    fails(InvalidArgumentException.class, () -> firehose.createDeliveryStream(stream -> stream.deliveryStreamName("none")));
    get(firehose.deleteDeliveryStream(stream -> stream.deliveryStreamName("java")));
    return answer.requestResponses().size();
  }
}
