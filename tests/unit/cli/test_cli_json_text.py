from __future__ import annotations

import json
import sys

import pytest

from stepwell.cli.json_text import dump, pretty, value


@pytest.mark.parametrize(
    "text", ["1.10", "1e400", "-0.0", "9" * 5000, '"\\ud800"', '{"a": 1, "a": 2}', "true", "null", "[]"]
)
def test_a_value_goes_out_as_it_came(text: str) -> None:
    assert dump({"output": value(text.encode())}) == f'{{"output": {text}}}'


def test_a_document_is_one_line_of_ascii() -> None:
    text = '{\r\n\t"é": "\u2028\x7f\u202e🎉"}'
    line = dump([value(text.encode()), "\x9b"])
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == [json.loads(text), "\x9b"]


@pytest.mark.parametrize(
    "payload", [b"1, 2", b"NaN", b"-Infinity", b'"a\nb"', b"\xff", b"[" * 50_000, b"{} }", b"'a'", b" "]
)
def test_what_is_no_json_is_shown_as_that(payload: bytes) -> None:
    document = json.loads(dump({"output": value(payload)}))
    assert list(document) == ["output"]
    assert document["output"]["$stepwell"] == "invalid"


def test_no_payload_is_null() -> None:
    assert dump(value(b"")) == "null"


def test_people_see_numbers_as_written_and_letters_as_they_are() -> None:
    assert pretty(b'{"price":1.10,"name":"\\u00e9","n":' + b"9" * 5000 + b"}") == (
        '{"price": 1.10, "name": "é", "n": ' + "9" * 5000 + "}"
    )
    assert pretty(b'{"a":[1,{}],"b":[]}', indent=2) == '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}'


def test_people_see_deep_values_too() -> None:
    deep = b"[" * (sys.getrecursionlimit() - 100) + b"]" * (sys.getrecursionlimit() - 100)
    assert pretty(deep)
