"""`python -m tally --top N < text`"""

import argparse
import sys

from tally.counting import top


def main() -> int:
    """Prints a word and its number on each line."""
    parser = argparse.ArgumentParser(prog="tally", description="Count the words of standard input.")
    parser.add_argument("--top", type=int, default=10, help="how many words to print")
    arguments = parser.parse_args()
    for word, count in top(sys.stdin.read(), arguments.top):
        print(f"{word} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
