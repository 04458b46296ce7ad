"""``python -m benchmarks``: ratios of the product against bare scripts that run in turns with it, as a table.

Ends with 0, whether budgets are met or not, and with 2 where a command fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import machine, models, table
from benchmarks.bench import Bench
from benchmarks.process import CommandError
from benchmarks.rows import registry
from benchmarks.table import Line


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print it, and return the exit status."""
    asked = _parser().parse_args(arguments)
    described = machine.describe()
    print(described, flush=True)
    lines: list[Line] = []
    failure = None
    with tempfile.TemporaryDirectory(prefix="kerasdiff-benchmarks-") as folder:
        try:
            for line in _measure(asked, Path(folder)):
                lines.append(line)
        except CommandError as error:
            failure = str(error)
    if lines:
        print(f"\n{table.render(lines)}\n")
        print("Rows:", *(f"  {row.name}: {row.words}" for row in registry.ROWS if row.name in asked.rows), sep="\n")
    if asked.json is not None:
        measured = [{**dataclasses.asdict(line), "met": line.met} for line in lines]
        asked.json.write_text(
            json.dumps({"machine": described, "repeats": asked.repeats, "lines": measured}, indent=1), "utf-8"
        )
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    return 0


def _measure(asked: argparse.Namespace, folder: Path) -> Iterator[Line]:
    made = Bench(folder, asked.repeats, models.Models(folder))
    for row in registry.ROWS:
        if row.name not in asked.rows:
            continue
        for name in row.models if row.of_model is not None else ("",):
            if name and name not in asked.models:
                continue
            print(f"measuring {' of '.join(filter(None, (row.name, name)))} …", file=sys.stderr, flush=True)
            if row.of_model is not None:
                yield from row.of_model(made, name)
            elif row.alone is not None:
                yield from row.alone(made)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--models", type=_names(models.NAMES), default=models.NAMES, help=f"by commas, of {', '.join(models.NAMES)}"
    )
    parser.add_argument(
        "--rows", type=_names(registry.NAMES), default=registry.NAMES, help=f"by commas, of {', '.join(registry.NAMES)}"
    )
    parser.add_argument("--repeats", type=_count, default=5, help="rounds of each row (5)")
    parser.add_argument("--json", type=_new_file, metavar="PATH", help="write all figures to a file")
    return parser


def _names(valid: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """What reads names parted by commas."""

    def read(text: str) -> tuple[str, ...]:
        given = tuple(name.strip() for name in text.split(","))
        for name in given:
            if name not in valid:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(valid)}")
        return given

    return read


def _new_file(text: str) -> Path:
    """A path that can be written, asked now and not when all is measured."""
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return Path(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
