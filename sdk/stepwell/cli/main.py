"""Where the command begins: the composition root of the CLI.

The top level's help comes from plain text before anything dear is imported; every other way goes through click.
Whatever happens below, it ends in an exit status and a sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments in ([], ["--help"], ["-h"], ["help"]):
            from stepwell.cli.verbs import help_text

            sys.stdout.write(help_text())
            sys.stdout.flush()
            return 0
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        from stepwell.cli.failures import BROKEN_PIPE, hush_stdout

        hush_stdout()
        return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        from stepwell.cli.failures import report
        from stepwell.cli.root import run
    except ModuleNotFoundError as error:
        sys.stderr.write(f"Error: {error.name} is missing: pip install 'stepwell[cli]'\n")
        return 1

    try:
        status = run(list(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        raise
    except Exception as error:
        return report(error, as_json=wants_json(arguments))


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the user asked for JSON, known even where the rest of the command line can't be understood."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    return any(
        (this in ("-o", "--output") and following == "json") or this in ("-ojson", "--output=json", "-o=json")
        for this, following in pairs
    )


if __name__ == "__main__":
    sys.exit(main())
