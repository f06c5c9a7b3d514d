"""Schedules as documents of `-o json`."""

from __future__ import annotations

from stepwell.cli.documents import camel
from stepwell.cli.json_text import Json
from stepwell.client.resource_names import id_in
from stepwell.v1 import workflows_pb2 as pb


def schedules(message: pb.WorkflowSchedules) -> Json:
    """Of one workflow."""
    return {
        "tenant": id_in(message.name, "tenants"),
        "workflow": id_in(message.name, "workflows"),
        "paused": message.paused,
        "schedules": [_active(each) for each in message.schedules],
    }


def _active(message: pb.ActiveSchedule) -> Json:
    coming, last = message.next_tick_time, message.last_tick_time
    return {
        "cron": message.schedule.cron,
        "timezone": message.schedule.timezone,
        "catchUp": catch_up_text(message.schedule.catch_up),
        "nextTickTime": coming.ToJsonString() if message.HasField("next_tick_time") else None,
        "lastTickTime": last.ToJsonString() if message.HasField("last_tick_time") else None,
    }


def catch_up_text(catch_up: pb.CatchUp.ValueType) -> str:
    """none, last, all"""
    known = pb.CatchUp.DESCRIPTOR.values_by_number.get(catch_up)
    return str(catch_up) if known is None else camel(known.name, "CATCH_UP_")
