"""Replays as people and programs see them."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.cli.json_text import Json
from stepwell.cli.screen import Cell, Screen, Tone
from stepwell.client.resource_names import id_in
from stepwell.v1 import instances_pb2 as pb

_WORDS = {
    pb.REPLAY_VERDICT_MATCHES: "matches",
    pb.REPLAY_VERDICT_DIFFERS: "differs",
    pb.REPLAY_VERDICT_UNCHECKED: "unchecked",
}


def all_match(replays: Sequence[pb.Replay]) -> bool:
    """Whether each of them came to its end, and found no difference."""
    return all(each.verdict == pb.REPLAY_VERDICT_MATCHES for each in replays)


def document(version: str, replays: Sequence[pb.Replay]) -> Json:
    """Of `-o json`."""
    return {
        "version": version,
        **{word: sum(each.verdict == verdict for each in replays) for verdict, word in _WORDS.items()},
        "replays": [_replay(each) for each in replays],
    }


def _replay(replay: pb.Replay) -> Json:
    differs = replay.verdict == pb.REPLAY_VERDICT_DIFFERS
    return {
        "tenant": id_in(replay.name, "tenants"),
        "workflow": id_in(replay.name, "workflows"),
        "instance": id_in(replay.name, "instances"),
        "verdict": _WORDS.get(replay.verdict, "unknown"),
        "next": replay.next or None,
        "position": replay.position if differs else None,
        "expected": replay.expected or None,
        "got": replay.got or None,
        "reason": replay.reason or None,
    }


def show(screen: Screen, version: str, replays: Sequence[pb.Replay]) -> None:
    """A line for each, and how many went how."""
    if replays:
        headers = ["WORKFLOW", "INSTANCE", "VERDICT", "POSITION", "EXPECTED", "GOT"]
        screen.table(headers, [_row(each) for each in replays])
    counts = {word: sum(each.verdict == verdict for each in replays) for verdict, word in _WORDS.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no instances to replay"
    screen.aside(f"Replayed on {version}: {told}")


def _row(replay: pb.Replay) -> list[Cell | str]:
    match replay.verdict:
        case pb.REPLAY_VERDICT_DIFFERS:
            rest = [str(replay.position), replay.expected, replay.got]
        case pb.REPLAY_VERDICT_MATCHES:
            rest = ["", "", replay.next]
        case _:
            rest = ["", "", replay.reason]
    tone: Tone = "good" if replay.verdict == pb.REPLAY_VERDICT_MATCHES else "bad"
    verdict = Cell(_WORDS.get(replay.verdict, "unknown"), tone)
    return [id_in(replay.name, "workflows") or "", id_in(replay.name, "instances") or "", verdict, *rest]
