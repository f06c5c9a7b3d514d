"""Schedules as documents of `-o json`."""

from __future__ import annotations

from stepwell.cli.documents import enum_text, time_text
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


def declared(message: pb.Schedule) -> dict[str, Json]:
    """As a manifest has it."""
    return {"cron": message.cron, "timezone": message.timezone, "catchUp": catch_up_text(message.catch_up)}


def _active(message: pb.ActiveSchedule) -> Json:
    return {
        **declared(message.schedule),
        "nextTickTime": time_text(message, "next_tick_time"),
        "lastTickTime": time_text(message, "last_tick_time"),
    }


def catch_up_text(catch_up: pb.CatchUp.ValueType) -> str:
    """none, last, all"""
    return enum_text(pb.CatchUp.DESCRIPTOR.values_by_number, catch_up, "CATCH_UP_")
