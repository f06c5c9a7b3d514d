"""A driver that does what it is asked, and does not always say so."""

from __future__ import annotations

from typing import Any

from cassandra import OperationTimedOut


class Forgetful:
    """The driver's session, but every other conditional statement is done, and nobody told of it."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._forgets = False

    def execute_async(self, bound: Any, *of: Any, **more: Any) -> Any:
        sent = self._driver.execute_async(bound, *of, **more)
        if " IF " not in bound.prepared_statement.query_string:
            return sent
        self._forgets = not self._forgets
        return Forgotten(sent) if self._forgets else sent


class Forgotten:
    def __init__(self, sent: Any) -> None:
        self._sent = sent

    def add_callbacks(self, answered: Any, failed: Any) -> None:
        self._sent.add_callbacks(lambda _: failed(OperationTimedOut("nobody told")), failed)
