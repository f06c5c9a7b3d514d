package example;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.util.Iterator;
import stepwell.v1.CreateInstanceRequest;
import stepwell.v1.GetInstanceRequest;
import stepwell.v1.Instance;
import stepwell.v1.InstanceEvent;
import stepwell.v1.InstanceServiceGrpc;
import stepwell.v1.InstanceServiceGrpc.InstanceServiceBlockingStub;
import stepwell.v1.InstanceStatus;
import stepwell.v1.SendEventRequest;
import stepwell.v1.StepKind;
import stepwell.v1.WatchInstanceRequest;

/** A client of Stepwell: it creates an instance, watches it, sends it the event that it waits for, and prints its output. */
public final class Main {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] arguments) {
    // Plaintext is for a server on this machine; to any other, use TLS.
    ManagedChannel channel = ManagedChannelBuilder.forTarget(System.getenv("STEPWELL_ENDPOINT")).usePlaintext().build();
    Metadata token = new Metadata();
    token.put(AUTHORIZATION, "Bearer " + System.getenv("STEPWELL_TOKEN"));
    try {
      run(InstanceServiceGrpc.newBlockingStub(channel)
          .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(token)));
    } finally {
      channel.shutdownNow();
    }
  }

  private static void run(InstanceServiceBlockingStub instances) {
    // The same call may be sent again after a failure: one request_id is one instance.
    Instance created = instances.createInstance(CreateInstanceRequest.newBuilder()
        .setParent("tenants/acme/workflows/agent-plan")
        .setParams(ByteString.copyFromUtf8("{\"goal\": \"Fewer cold crates\"}"))
        .setRequestId("plan-from-java")
        .build());

    // The iterator ends when the instance has. To go on with a watch that broke, give it the last event's cursor.
    Iterator<InstanceEvent> watch =
        instances.watchInstance(WatchInstanceRequest.newBuilder().setName(created.getName()).build());
    while (watch.hasNext()) {
      InstanceEvent event = watch.next();
      System.out.println(event.getType() + " " + event.getStep().getStepName());
      if (event.getType().equals("stepStarted") && event.getStep().getKind() == StepKind.STEP_KIND_WAIT_FOR_EVENT) {
        instances.sendEvent(SendEventRequest.newBuilder()
            .setName(created.getName())
            .setType("approval")
            .setPayload(ByteString.copyFromUtf8("{\"approved\": true, \"by\": \"Java\"}"))
            .setRequestId("approval-from-java")
            .build());
      }
    }

    Instance ended = instances.getInstance(GetInstanceRequest.newBuilder().setName(created.getName()).build());
    if (ended.getStatus() != InstanceStatus.INSTANCE_STATUS_COMPLETE) {
      throw new IllegalStateException(ended.getStatus() + ": " + ended.getError().getMessage());
    }
    System.out.println(ended.getOutput().toStringUtf8());
  }
}
