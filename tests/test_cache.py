"""References that are kept: what is found again, what is not, and what leaves."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import cache, child, fingerprint
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule, Manifest, Preprocess
from pytest_kerasdiff.options import Settings
from tests import helpers

NO_KERAS = 'raise ImportError("Keras is not to be imported")'
KEPT = Path(".pytest_cache", "d", "kerasdiff")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.own_cache(tmp_path)
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


def judged(folder: Path, *more: str, port: str = "build") -> dict[str, Any]:
    done = helpers.program(folder, "net.h5", "--torch", f"port:{port}", "--report", "out", *more)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    return report


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in report.items() if k not in ("timing", "memory", "reference")}


# -- whole runs --------------------------------------------------------------------------------------------------------


def test_a_second_run_needs_no_keras_and_says_the_same(folder: Path) -> None:
    first = judged(folder)
    assert first["reference"]["source"] == "made"
    assert {"reference_load_s", "reference_run_s", "judge_s"} <= set(first["timing"])
    assert all(peak > 2**20 for peak in first["memory"].values())
    (folder / "keras.py").write_text(NO_KERAS)
    again = judged(folder)
    assert again["reference"]["source"] == "cached"
    assert "reference_load_s" not in again["timing"]
    assert without_run(again) == without_run(first)
    wrong = judged(folder, port="wrong")
    assert wrong["reference"]["source"] == "cached"
    assert helpers.at(wrong, "fault") == {"conv2d_3", "dense"}


def test_other_weights_are_another_reference(folder: Path) -> None:
    judged(folder)
    weights = helpers.tiny_weights()
    weights["dense"]["bias"] = weights["dense"]["bias"] + 0.125
    (folder / "old.h5").write_bytes((folder / "net.h5").read_bytes())
    helpers.write_keras(folder / "net.h5", helpers.tiny_config(), weights)
    assert judged(folder)["reference"]["source"] == "made"
    # The port reads the old weights: what was kept of them must not let it pass.
    (folder / "stale.py").write_text("import port\n\n\ndef build():\n    return port.build('old.h5')\n")
    done = helpers.program(folder, "net.h5", "--torch", "stale:build")
    assert done.returncode == 1


def test_nothing_is_kept_where_that_is_asked_for(folder: Path) -> None:
    assert judged(folder, "--no-cache")["reference"]["source"] == "made"
    assert not (folder / KEPT).exists()


@pytest.mark.promise("a damaged cache, or one that two runs share, is never believed wrongly")
def test_a_damaged_entry_is_made_anew(folder: Path) -> None:
    judged(folder)
    (entry,) = (folder / KEPT).glob("*.h5")
    for damage, path in ((turn, entry), (cut, child.further_of(entry))):
        damage(path)
        assert judged(folder)["reference"]["source"] == "made"
    assert judged(folder)["reference"]["source"] == "cached"


def turn(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Leave nothing of a file, as a power cut may."""
    path.write_bytes(b"")


def replace(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


@pytest.mark.promise("a damaged cache, or one that two runs share, is never believed wrongly")
@pytest.mark.parametrize("damage", [turn, cut, replace, Path.unlink])
@pytest.mark.parametrize("suffix", [".h5", ".further", ".json"])
def test_a_damaged_file_of_an_entry_is_no_entry(suffix: str, damage: Callable[[Path], object], tmp_path: Path) -> None:
    entry = tmp_path / "abc.h5"
    entry.write_bytes(bytes(range(200)))
    child.further_of(entry).write_bytes(bytes(range(100)))
    cache.complete(entry, [["a", "Dense", {}]])
    assert cache.use(entry) == [["a", "Dense", {}]]
    damage(entry.with_suffix(suffix))
    assert cache.use(entry) is None
    assert list(tmp_path.iterdir()) == [], "what is there would stand in the way"


def test_pytest_keeps_it_in_its_cache_and_shows_and_clears_it(folder: Path) -> None:
    (folder / "pytest.ini").write_text("[pytest]\nkerasdiff_torch = port:build\n")
    command = ("--keras-model=net.h5", "-q", "--kerasdiff-report=out")
    for source in ("made", "cached"):
        assert helpers.run_pytest(folder, *command).returncode == 0
        report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
        assert report["reference"]["source"] == source
    (entry,) = (folder / KEPT).glob("*.h5")
    assert f"kerasdiff/{entry.name}" in helpers.run_pytest(folder, "--cache-show", "kerasdiff/*").stdout
    assert helpers.run_pytest(folder, *command, "--cache-clear").returncode == 0
    report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    assert report["reference"]["source"] == "made"


def test_without_pytests_cache_nothing_is_kept(folder: Path) -> None:
    done = helpers.run_pytest(
        folder, "--keras-model=net.h5", "--kerasdiff-torch=port:build", "-p", "no:cacheprovider", "-q"
    )
    assert done.returncode == 0, done.stdout
    assert list((folder / ".pytest_cache").iterdir()) == []


@pytest.mark.promise("a damaged cache, or one that two runs share, is never believed wrongly")
def test_of_two_runs_at_once_one_makes_it(folder: Path) -> None:
    command = ("net.h5", "--torch", "port:build", "--report")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda out: helpers.program(folder, *command, out), ("a", "b")))
    assert [d.returncode for d in done] == [0, 0]
    sources = [json.loads((folder / out / "report.json").read_text("utf-8"))["reference"]["source"] for out in "ab"]
    assert sorted(sources) == ["cached", "made"]


# -- what it depends on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, s: dataclasses.replace(s, batch=3),
        lambda folder, s: dataclasses.replace(s, seed=1),
        lambda folder, s: dataclasses.replace(s, precision="float32"),
        lambda folder, s: dataclasses.replace(s, inputs=folder / "port.py"),
        lambda folder, s: dataclasses.replace(s, trust=True),
    ],
)
def test_another_setting_is_another_entry(folder: Path, change: Callable[[Path, Settings], Settings]) -> None:
    settings = Settings(folder / "net.h5")
    first = cache.entry(folder, settings, Manifest())
    assert first == cache.entry(folder, dataclasses.replace(settings, tol=1e-4, torch="a:b"), Manifest())
    assert first != cache.entry(folder, change(folder, settings), Manifest())


def test_another_range_or_another_version_is_another_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, stated = Settings(folder / "net.h5"), Manifest(inputs={"": InputRule(range=(0, 1))})
    first = cache.entry(folder, settings, Manifest())
    assert first != cache.entry(folder, settings, stated)
    monkeypatch.setattr(fingerprint, "versions", lambda _: {"keras": "3.0"})
    assert first != cache.entry(folder, settings, Manifest())


def test_code_is_known_with_all_of_the_users_modules_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "prepared"
    package.mkdir()
    files = {
        tmp_path / "entry.py": "import numpy\nfrom prepared import scales\ndef f(x):\n    import late\n",
        package / "__init__.py": "",
        package / "scales.py": "from . import constants\nfrom .deep import more\n",
        package / "constants.py": "SCALE = 255\n",
        package / "deep.py": "from .. import prepared\nmore = 1\nimport entry\n",
        tmp_path / "late.py": "X = 1\n",
        tmp_path / "unrelated.py": "X = 1\n",
    }
    for path, content in files.items():
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)

    def name() -> str:
        return fingerprint.of_run(Settings(tmp_path / "net.h5", keras="entry:f"), Manifest())

    before = name()
    for path, content in files.items():
        path.write_text(content + "# changed\n")
        assert (name() == before) == (path.name == "unrelated.py"), path
        path.write_text(content)
    assert name() == before
    (package / "deep.py").write_text("no python (")
    assert name() != before


def test_what_the_users_code_makes_is_not_kept(folder: Path) -> None:
    settings = Settings(folder / "net.h5")
    assert cache.entry(folder, settings, Manifest()) is not None
    assert cache.entry(None, settings, Manifest()) is None
    assert cache.entry(folder, dataclasses.replace(settings, no_cache=True), Manifest()) is None
    assert cache.entry(folder, dataclasses.replace(settings, keras="port:build"), Manifest()) is None
    assert cache.entry(folder, settings, Manifest(preprocess=Preprocess("a:b", "c:d"))) is None


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "variables" / "data").write_bytes(b"1")
    first = fingerprint.of_files(tmp_path / "saved")
    (tmp_path / "saved" / "variables" / "data").write_bytes(b"2")
    assert first != fingerprint.of_files(tmp_path / "saved")


# -- the folder --------------------------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    long_ago = time.time() - 10_000
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / f"{name}.h5").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.h5", (long_ago - age, long_ago - age))
    cache.shrink(tmp_path, limit_bytes=250)
    assert {p.stem for p in tmp_path.glob("*.h5")} == {"new", "middle"}
    (tmp_path / "middle.further").touch()
    cache.complete(tmp_path / "middle.h5", [["a", "Dense", {}]])
    assert cache.use(tmp_path / "middle.h5") == [["a", "Dense", {}]]
    assert cache.use(tmp_path / "old.h5") is None
    cache.shrink(tmp_path, limit_bytes=150)
    assert {p.stem for p in tmp_path.glob("*.h5")} == {"middle"}


def test_what_may_be_in_use_stays(tmp_path: Path) -> None:
    (tmp_path / "new.h5").write_bytes(bytes(100))
    cache.shrink(tmp_path, limit_bytes=50)
    assert (tmp_path / "new.h5").exists()


def test_a_cache_that_was_cleared_meanwhile_need_not_shrink(tmp_path: Path) -> None:
    cache.shrink(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("a damaged cache, or one that two runs share, is never believed wrongly")
def test_what_a_killed_process_has_begun_is_removed(tmp_path: Path) -> None:
    begun = tmp_path / ".abc.h5.4711"
    begun.write_bytes(b"half")
    (tmp_path / ".gitignore").write_text("*\n")
    for path in (begun, tmp_path / ".gitignore"):
        os.utime(path, (0, 0))
    cache.shrink(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".gitignore"]


def test_a_lock_that_is_held_for_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_WAIT_S", 0.1)
    with cache.locked(tmp_path / "0123456789.h5"), concurrent.futures.ThreadPoolExecutor() as pool:

        def wait() -> None:
            with cache.locked(tmp_path / "0123456789.h5"):
                raise AssertionError("two at once")

        with pytest.raises(RunError, match="--kerasdiff-no-cache"):
            pool.submit(wait).result()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="the cache cannot be written"), cache.locked(tmp_path / "file" / "0123abcd.h5"):
        raise AssertionError("nobody can be here")
