// The Kinesis Producer Library: it asks the Security Token Service for its account, speaks TLS alone, and packs user records into
// aggregates. `java -cp FOLDER/* Producer.java HOST PORT ACCESS_KEY SECRET STREAM COUNT` prints what became of them as JSON.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

public class Producer {
  public static void main(String[] arguments) throws Exception {
    var host = arguments[0];
    var port = Integer.parseInt(arguments[1]);
    var credentials = AwsBasicCredentials.create(arguments[2], arguments[3]);
    var settings = new KinesisProducerConfiguration()
        .setKinesisEndpoint(host)
        .setKinesisPort(port)
        .setStsEndpoint(host)
        .setStsPort(port)
        .setVerifyCertificate(false)
        .setRegion("us-east-1")
        .setCredentialsProvider(StaticCredentialsProvider.create(credentials))
        .setMetricsLevel("none");
    var producer = new KinesisProducer(settings);
    List<Future<UserRecordResult>> results = new ArrayList<>();
    for (int number = 0; number < Integer.parseInt(arguments[5]); number++) {
      var data = ByteBuffer.wrap(("{\"number\":" + number + "}").getBytes(StandardCharsets.UTF_8));
      results.add(producer.addUserRecord(arguments[4], "key-" + number % 100, data));
    }
    int stored = 0;
    var places = new HashSet<String>();
    for (var result : results) {
      try {
        var record = result.get();
        stored += record.isSuccessful() ? 1 : 0;
        places.add(record.getShardId() + " " + record.getSequenceNumber());
      } catch (ExecutionException error) {
        if (error.getCause() instanceof UserRecordFailedException failed) {
          failed.getResult().getAttempts().forEach(attempt -> System.err.println(attempt.getErrorMessage()));
        }
        throw error;
      }
    }
    producer.destroy();
    System.out.println("{\"stored\": " + stored + ", \"places\": " + places.size() + "}");
    // The library's threads are none that end by themselves.
    System.exit(0);
  }
}
