// A client of Stepwell: it creates an instance, watches it, sends it the event that it waits for, and prints its output.
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { InstanceService, InstanceStatus, StepKind } from "./gen/stepwell/v1/instances_pb.js";

const withToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.STEPWELL_TOKEN}`);
  return next(request);
};

// http is for a server on this machine; to any other, use https.
const baseUrl = `http://${process.env.STEPWELL_ENDPOINT}`;
const instances = createClient(InstanceService, createGrpcTransport({ baseUrl, interceptors: [withToken] }));
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

// The same call may be sent again after a failure: one requestId is one instance.
const created = await instances.createInstance({
  parent: "tenants/acme/workflows/agent-plan",
  params: json({ goal: "Fewer cold crates" }),
  requestId: "plan-from-typescript",
});

// The loop ends when the instance has. To go on with a watch that broke, give it the last event's cursor.
for await (const event of instances.watchInstance({ name: created.name })) {
  console.log(event.type, event.step?.stepName ?? "");
  if (event.type === "stepStarted" && event.step?.kind === StepKind.WAIT_FOR_EVENT) {
    await instances.sendEvent({
      name: created.name,
      type: "approval",
      payload: json({ approved: true, by: "TypeScript" }),
      requestId: "approval-from-typescript",
    });
  }
}

const ended = await instances.getInstance({ name: created.name });
if (ended.status !== InstanceStatus.COMPLETE) {
  throw new Error(`${InstanceStatus[ended.status]}: ${ended.error?.message}`);
}
console.log(new TextDecoder().decode(ended.output));
