"""Instances and steps as the API's messages."""

from __future__ import annotations

from data_plane.views import failure_message
from stepwell.engine.records import Failure


def test_an_error_that_the_guest_could_not_rebuild_shows_the_class_that_was_raised() -> None:
    shown = failure_message(Failure("stepwell.errors", "StepError:CardDeclined", "no funds", "Traceback …"))
    assert (shown.type, shown.message, shown.traceback) == ("CardDeclined", "no funds", "Traceback …")
