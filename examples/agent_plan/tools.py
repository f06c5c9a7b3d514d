"""What the agent can do. Each tool takes its arguments and the number of the attempt, and returns plain data."""

import ast
import hashlib
import operator
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell import NonRetryableError

CORPUS = Path(__file__).parent / "corpus"
PRICES = {"freezer": 640}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_EVERYDAY = frozenset("a an and are be for if in is it its of on or that the they to was were will with".split())


def search(args: dict[str, Any], attempt: int) -> list[str]:
    """The corpus' sentences that share most words with the query, best first."""
    wanted = set(_words(args["query"]))
    sentences = [text for path in sorted(CORPUS.glob("*.md")) for text in _sentences(path.read_text(encoding="utf-8"))]
    scored = [(len(wanted & set(_words(text))), text) for text in sentences]
    return [text for score, text in sorted(scored, key=lambda pair: -pair[0]) if score][: args["limit"]]


def price(args: dict[str, Any], attempt: int) -> dict[str, Any]:
    """The supplier's price. Their service refuses the first call of the day, and every first attempt is one."""
    if attempt == 1:
        raise ConnectionError("the supplier's price service is starting: try again in a second")
    if args["item"] not in PRICES:
        raise NonRetryableError(f"the supplier has no {args['item']!r}; known: {', '.join(PRICES)}")
    return {"item": args["item"], "count": args["count"], "total": PRICES[args["item"]] * args["count"]}


def calculate(args: dict[str, Any], attempt: int) -> float:
    """The value of a sum of numbers with + - * / and brackets."""
    return _value(ast.parse(args["expression"], mode="eval").body)


def summarise(args: dict[str, Any], attempt: int) -> str:
    """The sentences that hold most of what is said most often, in their order."""
    sentences = list(dict.fromkeys(text for texts in args["texts"] for text in texts))
    often = Counter(word for text in sentences for word in _words(text))
    weight = {text: sum(often[word] for word in set(_words(text))) for text in sentences}
    kept = sorted(sentences, key=lambda text: -weight[text])[: args["sentences"]]
    return " ".join(text for text in sentences if text in kept)


TOOLS: dict[str, Callable[[dict[str, Any], int], Any]] = {
    "search": search,
    "price": price,
    "calculate": calculate,
    "summarise": summarise,
}


def place_order(offer: dict[str, Any] | None, currency: str, idempotency_key: str) -> dict[str, Any]:
    """Orders what was offered. The same key is the same order, however often the step runs."""
    if offer is None:
        raise NonRetryableError("the plan found no price, so there is nothing to order")
    number = hashlib.sha256(idempotency_key.encode()).hexdigest()[:8]
    return {
        "number": f"A-{number}",
        "item": offer["item"],
        "count": offer["count"],
        "cost": f"{offer['total']} {currency}",
    }


def checked(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plan, when every call is one that the agent can make."""
    for call in calls:
        if call.get("tool") not in TOOLS or not isinstance(call.get("args"), dict) or not call.get("save_as"):
            raise NonRetryableError(f"not a call: {call!r}; write tool (one of {', '.join(TOOLS)}), args and save_as")
    return calls


def names_in(value: Any) -> list[str]:
    """The names of earlier findings that arguments mention as "$name"."""
    if isinstance(value, str):
        return [value[1:]] if value.startswith("$") else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [name for part in parts for name in names_in(part)]


def filled_in(value: Any, found: dict[str, Any]) -> Any:
    """The arguments with each "$name" replaced by what was found."""
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in found:
            raise NonRetryableError(f"{value!r} names nothing that an earlier call saved")
        return found[value[1:]]
    if isinstance(value, dict):
        return {key: filled_in(part, found) for key, part in value.items()}
    return [filled_in(part, found) for part in value] if isinstance(value, list) else value


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        result: float = _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
        return result
    raise NonRetryableError(f"not a sum: {ast.unparse(node)!r}")


def _sentences(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.findall(r"[^.]+\.", text)]


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _EVERYDAY]
