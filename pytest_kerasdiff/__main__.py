"""The program: ``python -m pytest_kerasdiff model.h5 --torch module:callable``, and its commands on reports.

Exit status: 0 equivalent, 1 not equivalent, 2 the run could not be made.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_kerasdiff import manifest, modelfile, options, reportfile, supervisor, text
from pytest_kerasdiff.errors import RunError, in_short, one_line
from pytest_kerasdiff.progress import Progress
from pytest_kerasdiff.writers import changes, files, github, terminal

CACHE = Path(".pytest_cache", "d", "kerasdiff")
"""Where pytest keeps the same, by default; in the current folder."""
_CODES = {"good": 32, "bad": 31, "warn": 33, "faint": 2}
"""Source: ECMA-48, SGR parameters."""


def parser() -> argparse.ArgumentParser:
    """The program's arguments, made from the table of options."""
    made = argparse.ArgumentParser(
        prog="python -m pytest_kerasdiff",
        description="Prove a PyTorch port of a Keras model equal, layer by layer.",
        epilog="Exit status: 0 equivalent, 1 not equivalent, 2 the run could not be made. "
        "Other commands: merge, report (see report --help).",
    )
    made.add_argument("keras_model", metavar="KERAS_MODEL", help="the Keras file: .h5, .hdf5, .keras")
    for option in options.OPTIONS:
        if option.metavar:
            action = "append" if option.repeats else "store"
            made.add_argument(option.program_flag, action=action, metavar=option.metavar, help=option.meaning)
        else:
            made.add_argument(option.program_flag, action="store_const", const="true", help=option.meaning)
    return made


def _merge(arguments: Sequence[str]) -> int:
    """Merge the reports of runs that each took a part of the data."""
    from pytest_kerasdiff.accuracy import merged

    known = argparse.ArgumentParser(
        prog="python -m pytest_kerasdiff merge",
        description="Put the reports of runs with --shard together, and judge the accuracy on all of the data.",
        epilog="Exit status: 0 equivalent, 1 not equivalent, 2 they cannot be merged.",
    )
    known.add_argument("reports", metavar="REPORT", nargs="+", help="report.json of each part, or its folder")
    known.add_argument("--report", metavar="DIR", type=Path, help="folder that receives the merged report.json")
    given = known.parse_args(arguments)
    report = merged.merge({name: reportfile.read(Path(name)) for name in given.reports})
    return _show(report, given.report)


def _report(arguments: Sequence[str]) -> int:
    """Show a report, or what changed between two."""
    known = argparse.ArgumentParser(
        prog="python -m pytest_kerasdiff report",
        description="Show a report once more; of two, what changed from the first to the second.",
        epilog="Exit status: 0 the (last) report says equivalent, 1 it does not, 2 one cannot be read.",
    )
    known.add_argument("reports", metavar="REPORT", nargs="+", help="report.json, or its folder; one or two")
    known.add_argument("--report", metavar="DIR", type=Path, help="folder that receives the (last) report in all forms")
    given = known.parse_args(arguments)
    if len(given.reports) > 2:
        raise RunError(f"report: got {len(given.reports)} reports, expected one, or two to be compared")
    *before, report = (reportfile.read(Path(name)) for name in given.reports)
    if not before:
        return _show(report, given.report)
    lines = list(changes.lines(before[0], report))
    if given.report is not None:
        files.publish(report, given.report)
    for line in lines:
        print(one_line(line))
    return 0 if report["verdict"] == "pass" else 1


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"merge": _merge, "report": _report}


def _show(report: reportfile.Report, folder: Path | None) -> int:
    """Write a report where a folder is given, and print it; the exit status that says what it says."""
    has_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    header = [terminal.Line(words) for words in (*text.header(report), "")]
    lines = [*header, *terminal.summary(report, "program")]
    if folder is not None:
        files.publish(report, folder)
    for line in lines:
        for words in terminal.fold(line.words, width):
            print(f"\x1b[{_CODES[line.style]}m{words}\x1b[0m" if has_colours and line.style else words)
    for command in github.lines(report, os.environ, Path.cwd()):
        print(command)
    return 0 if report["verdict"] == "pass" else 1


def _recorded(settings: options.Settings) -> str:
    assert settings.record is not None
    return f"recorded: {settings.record} ({settings.record.stat().st_size / 1e6:.2f} MB)"


def _over(words: str) -> None:
    """Write a line on a terminal over the one before."""
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{words[:width]:<{width}}" if words else f"\r{'':{width}}\r", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except RunError as error:
        # The engine speaks of options by pytest's names.
        print(f"error: {str(error).replace('--kerasdiff-', '--')}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on; Source: Python's library reference, "Note on SIGPIPE"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, no more files to be opened: nothing of this program is wrong
        with contextlib.suppress(OSError):  # what cannot be written now is not written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or in_short(error)}", file=sys.stderr)
        return 2
    except Exception:  # Python's own status for it is 1, which says that the port is wrong
        traceback.print_exc()
        print(
            "error: this is a fault of pytest-kerasdiff itself; please report it with the lines above", file=sys.stderr
        )
        return 2


def _open_streams() -> None:
    """Let every text be printed: what a terminal has no characters for is written out, what is closed takes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: Sequence[str]) -> int:
    """Do what the arguments say; the exit status."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RunError("the current folder is not there any more") from None
    if words and words[0] in _COMMANDS:
        try:
            return _COMMANDS[words[0]](words[1:])
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise RunError(f"{words[0]}: {reportfile.OTHER_FORM} ({in_short(error)})") from None
    return _compare(words)


def _compare(arguments: Sequence[str]) -> int:
    """Compare two models."""
    given = vars(parser().parse_args(arguments))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # Python in its safe mode leaves it out, and modules are looked for here
    settings = options.resolve(given.pop("keras_model"), given, Path.cwd(), program=True)
    stated = manifest.find(settings.keras_model, settings.manifest, Path.cwd())
    only_records = settings.record is not None and (settings.torch or stated.torch) is None
    sides = ("reference",) if only_records else supervisor.SIDES
    run = supervisor.Run(settings, Path.cwd(), sides=sides, cache=Path.cwd() / CACHE)
    shown = Progress(lambda line: None, _over if sys.stderr.isatty() else None)

    def watch() -> None:
        shown.show(run.doing())

    try:
        run.wait_for_scan()
        file = modelfile.read(settings.keras_model)
        if settings.keras is None:
            file.layers()  # an error of the file is said at once
        if only_records:
            run.finish_reference(watch)
            shown.end()
            print(_recorded(settings))
            return 0
        report = run.wait(watch)
    finally:
        shown.end()
        run.close()
    if settings.record is not None:
        print(_recorded(settings))
    return _show(report, settings.report)


if __name__ == "__main__":
    sys.exit(main())
