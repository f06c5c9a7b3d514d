"""What is called, and answered, in one line of the trace."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from google.protobuf.message import Message

from stepwell.v1 import instances_pb2 as pb

STATUSES: Final = {number: name.removeprefix("INSTANCE_STATUS_") for name, number in pb.InstanceStatus.items()}


def shown(message: Message) -> str:
    """In one line of the trace: what it is about, and all of it as a checksum."""
    about = ""
    if isinstance(message, pb.Instance):
        about = f"{message.name} {message.uid} {STATUSES[message.status]}"
    elif isinstance(message, pb.BatchCreateInstancesRequest):
        about = f"{message.parent} {len(message.items)}"
    elif isinstance(message, pb.CreateInstanceRequest):
        about = f"{message.parent}/instances/{message.instance_id}"
    elif isinstance(message, pb.ListStepsRequest | pb.ListEventsRequest | pb.BroadcastEventRequest):
        about = message.parent
    elif isinstance(message, pb.ReceivedEvent):
        about = f"{message.number} {message.type} {message.event_id} {pb.EventState.Name(message.state)}"
    elif isinstance(message, pb.BroadcastEventResponse):
        about = f"{message.sent} {message.skipped} {message.failed}"
    elif not isinstance(message, pb.ListStepsResponse):
        about = getattr(message, "name", "")
    return f"{about} {crc32(message.SerializeToString(deterministic=True)):08x}"
