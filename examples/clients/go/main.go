// A client of Stepwell: it creates an instance, watches it, sends it the event that it waits for, and prints its output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "example/client/gen/stepwell/v1"
)

func main() {
	// Plaintext is for a server on this machine; to any other, use TLS.
	connection, err := grpc.NewClient(os.Getenv("STEPWELL_ENDPOINT"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("STEPWELL_TOKEN"))
	if err := run(ctx, pb.NewInstanceServiceClient(connection)); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, instances pb.InstanceServiceClient) error {
	// The same call may be sent again after a failure: one request_id is one instance.
	created, err := instances.CreateInstance(ctx, &pb.CreateInstanceRequest{
		Parent:    "tenants/acme/workflows/agent-plan",
		Params:    []byte(`{"goal": "Fewer cold crates"}`),
		RequestId: "plan-from-go",
	})
	if err != nil {
		return err
	}

	// To go on with a watch that broke, give it the last event's cursor.
	watch, err := instances.WatchInstance(ctx, &pb.WatchInstanceRequest{Name: created.Name})
	if err != nil {
		return err
	}
	for {
		event, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break // it has ended
		}
		if err != nil {
			return err
		}
		fmt.Println(event.Type, event.GetStep().GetStepName())
		if event.Type == "stepStarted" && event.Step.Kind == pb.StepKind_STEP_KIND_WAIT_FOR_EVENT {
			_, err := instances.SendEvent(ctx, &pb.SendEventRequest{
				Name:      created.Name,
				Type:      "approval",
				Payload:   []byte(`{"approved": true, "by": "Go"}`),
				RequestId: "approval-from-go",
			})
			if err != nil {
				return err
			}
		}
	}

	ended, err := instances.GetInstance(ctx, &pb.GetInstanceRequest{Name: created.Name})
	if err != nil {
		return err
	}
	if ended.Status != pb.InstanceStatus_INSTANCE_STATUS_COMPLETE {
		return fmt.Errorf("%s: %s", ended.Status, ended.GetError().GetMessage())
	}
	fmt.Println(string(ended.Output))
	return nil
}
