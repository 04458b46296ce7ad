"""Mutated model files: bytes, HDF5 structure, JSON configs, archives. A run of any ends in a verdict or one line.

``python -m tests.fuzzing --read 20000 --run 500 --seed 7`` tries many; ``test_fuzzing.py`` a part of them.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff import child, tracefile
from pytest_kerasdiff.options import Settings
from tests import helpers

Mutate = Callable[[Path, random.Random], None]
SECONDS_PER_CASE = 20.0

# -- bytes -------------------------------------------------------------------------------------------------------------


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 4, 64))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def overwrite(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at, size = draw.randrange(len(data)), draw.choice((1, 8, 100, 4000))
    data[at : at + size] = draw.choice((draw.randbytes(size), bytes(size), b"\xff" * size))
    path.write_bytes(data)


def move(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    at, to, size = draw.randrange(len(data)), draw.randrange(len(data)), draw.choice((1, 16, 512))
    path.write_bytes(data[:to] + data[at : at + size] + data[to:])


BYTES: tuple[Mutate, ...] = (flip, truncate, overwrite, move)

# -- HDF5 --------------------------------------------------------------------------------------------------------------


def _objects(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def _datasets(file: h5py.File) -> list[str]:
    return [name for name in _objects(file) if isinstance(file[name], h5py.Dataset)]


def delete(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        del file[draw.choice(_objects(file))]


def delete_attribute(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        holders = [file, *(file[name] for name in _objects(file))]
        held = [(holder, name) for holder in holders for name in holder.attrs]
        if held:
            holder, name = draw.choice(held)
            del holder.attrs[name]


def retype_attribute(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        holders = [file, *(file[name] for name in _objects(file))]
        holder, name = draw.choice([(holder, name) for holder in holders for name in holder.attrs] or [(file, "new")])
        holder.attrs[name] = draw.choice((3, "text", b"\xff\xfe", np.zeros(3), [b"a", b"b"], "x" * 60000))


def reshape(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        name = draw.choice(_datasets(file))
        array = file[name][()]
        del file[name]
        others = (array.T, array.reshape(-1), array[..., :0], np.concatenate([array, array]), np.float32(1), array[:1])
        file[name] = draw.choice(others)


def retype(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        name = draw.choice(_datasets(file))
        array = file[name][()]
        del file[name]
        other: Any = draw.choice(("float16", "float64", "int32", "complex64", "bytes", "object", "bool"))
        file[name] = np.array([b"text"]) if other == "bytes" else "text" if other == "object" else array.astype(other)


def revalue(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        dataset = file[draw.choice(_datasets(file))]
        array = np.array(dataset[()])
        if array.dtype.kind == "f" and array.size:
            flat = array.reshape(-1)
            flat[draw.randrange(flat.size)] = draw.choice((np.nan, np.inf, -np.inf, 0, 1e30, 1.5, -2.25))
            dataset[...] = array


def exchange(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        first, second = draw.choice(_datasets(file)), draw.choice(_datasets(file))
        one, other = file[first][()], file[second][()]
        del file[first]
        file[first] = other
        if second != first:
            del file[second]
            file[second] = one


def replace_group(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        name = draw.choice(_objects(file))
        is_group = isinstance(file[name], h5py.Group)
        del file[name]
        if is_group:
            file[name] = np.zeros(3)
        else:
            file.create_group(name)


HDF5: tuple[Mutate, ...] = (
    delete, delete_attribute, retype_attribute, reshape, retype, revalue, exchange, replace_group,
)  # fmt: skip

# -- the config --------------------------------------------------------------------------------------------------------

_STRANGE: tuple[Any, ...] = (
    None, -1, 0, 1, 2, 3, 10**6, 10**18, 0.5, -0.0, 1e300, True, "", "same", "valid", "relu", "Dense", [], {}, [1, 2],
    [[]], {"class_name": "Dense", "config": {}}, "dense", "float16", "int32",
)  # fmt: skip


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything in a config."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)


def _changed(config: Any, draw: random.Random) -> Any:
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        places = list(_places(config))
        if not places:
            return config
        holder, key = draw.choice(places)
        kind = draw.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = copy.deepcopy(draw.choice(_STRANGE))
        elif kind == 2:
            other, its = draw.choice(places)
            holder[key] = copy.deepcopy(other[its])
        elif kind == 3 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * draw.choice((-1, 2, 10)) + draw.choice((0, 1))
        elif isinstance(holder, dict):
            holder[draw.choice((key + "_", "name", "units", "class_name"))] = holder.pop(key)
    return config


def _broken(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    return draw.choice(
        (text[:at], text[at:], text[:at] + draw.choice('{}[]",\0') + text[at:], "null", "[]", "3", "{}", "")
    )


def config_of_hdf5(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "a") as file:
        text = str(file.attrs["model_config"])
        made = _broken(text, draw) if draw.random() < 0.1 else json.dumps(_changed(json.loads(text), draw))
        file.attrs["model_config"] = made


def member(path: Path, draw: random.Random) -> None:
    """Change, leave out, rename or exchange members of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    kind = draw.randrange(5)
    if kind < 3:
        text = members["config.json"].decode()
        made = _broken(text, draw) if kind == 2 else json.dumps(_changed(json.loads(text), draw))
        members["config.json"] = made.encode()
    elif kind == 3:
        name = draw.choice(list(members))
        content = members.pop(name)
        if draw.random() < 0.5:
            members[draw.choice((f"{name}_", f"x/{name}", "metadata.json"))] = content
    else:
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder, "inner.h5")
            inner.write_bytes(members["model.weights.h5"])
            draw.choice((*HDF5, *BYTES))(inner, draw)
            members["model.weights.h5"] = inner.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def mutators(path: Path) -> Sequence[Mutate]:
    """What may be done to a file, the finer kinds more often."""
    if zipfile.is_zipfile(path):
        return (*BYTES, *[member] * 8)
    return (*BYTES, *HDF5, *[config_of_hdf5] * 8)


# -- trying ------------------------------------------------------------------------------------------------------------

_READ = """
import json, sys, traceback
from pathlib import Path
import numpy as np
from pytest_kerasdiff import modelfile, probes
from pytest_kerasdiff.scan import refuse
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings
for name in sys.argv[1:]:
    path = Path(name)
    print(json.dumps([name, "began", ""]), flush=True)
    try:
        refuse.model(path, trust=False)
        file = modelfile.read(path)
        file.layers(), file.keras_major
        inputs = file.inputs()
        probes.given(Settings(path), inputs, Manifest().rules([i.name for i in inputs]))
        found = "read", ""
    except RunError as error:
        found = "line", str(error)
    except BaseException:
        found = "traceback", traceback.format_exc()
    print(json.dumps([name, *found]), flush=True)
"""


def make(sources: Sequence[Path], cases: int, seed: int, folder: Path) -> list[tuple[Path, Path, str]]:
    """(mutated file, its source, what was done) of each case."""
    draw, found = random.Random(seed), []
    for number in range(cases):
        source = draw.choice(sources)
        path = folder / f"{number:05d}{source.suffix}"
        shutil.copy(source, path)
        mutate = draw.choice(mutators(path))
        try:
            mutate(path, draw)
        except Exception:  # what HDF5 or zip do not take cannot be written by others either
            shutil.copy(source, path)
            mutate = flip
            mutate(path, draw)
        found.append((path, source, mutate.__name__))
    return found


def read(paths: Sequence[Path]) -> dict[Path, tuple[str, str]]:
    """What reading each file ends with: "read", "line", "traceback", "hang" or "crash", and the words."""
    found: dict[Path, tuple[str, str]] = {}
    pending = list(paths)
    while pending:
        batch = pending[:200]
        try:
            done = subprocess.run(
                [sys.executable, "-c", _READ, *map(str, batch)], cwd=batch[0].parent, capture_output=True, text=True,
                env=helpers.environment(batch[0].parent), timeout=SECONDS_PER_CASE + len(batch), check=False,
            )  # fmt: skip
            output, how = done.stdout, "crash"
        except subprocess.TimeoutExpired as error:
            output, how = (error.stdout or b"").decode(), "hang"
        last = None
        for line in output.splitlines():
            name, kind, words = json.loads(line)
            last = Path(name)
            if kind != "began":
                found[last] = kind, words
        if last is not None and last not in found:
            found[last] = how, ""
        pending = [path for path in pending if path not in found]
        if last is None:
            raise AssertionError(f"nothing was read: {output}")
    return found


PORT = helpers.TINY_PORT + '\n\ndef original(path):\n    return Tiny("{source}").eval()\n'
"""A port of the unchanged model, whatever was done to the file."""
_STATED = (
    "epsilon",
    "strides",
    "padding",
    "activation",
    "dilation_rate",
    "groups",
    "axis",
    "use_bias",
    "units",
    "filters",
)


def run(cases: Sequence[tuple[Path, Path, str]], source: Path, weights: Path, folder: Path) -> dict[Path, str]:
    """What a whole run of each case against the port of the unchanged model ends with.

    Args:
        cases: As ``make`` gives them.
        source: The unchanged model.
        weights: The ``.h5`` that the port reads its weights from.
        folder: Where jobs go.

    Returns:
        "pass", "fail" or the line; else "FALSE PASS" or the traceback.
    """
    (folder / "port.py").write_text(PORT.replace("{source}", str(weights)))
    jobs = {path: _job(path, folder) for path in (source, *(path for path, _, _ in cases))}
    helpers.work("reference", list(jobs.values()), folder)
    ready = [job for job in jobs.values() if not (job.folder / "error.json").exists()]
    helpers.work("candidate", ready, folder)
    expected = tracefile.read(jobs[source].folder / child.REFERENCE_TRACE)
    found = {}
    for path, job in jobs.items():
        report = helpers.result(job.folder)
        found[path] = report["error"] if "error" in report else report["verdict"]
        if found[path] == "pass" and not _is_the_same(tracefile.read(job.folder / child.REFERENCE_TRACE), expected):
            found[path] = "FALSE PASS"
    assert found.pop(source) == "pass", "the unchanged model"
    return found


def _job(path: Path, folder: Path) -> child.Job:
    own = folder / f"job-{path.stem}"
    own.mkdir()
    return child.Job(Settings(path, torch="port:original"), own, folder, (str(folder), str(helpers.ROOT)))


def _is_the_same(made: Any, expected: Any) -> bool:
    """Whether Keras had the same weights, and what its layers state is the same; names may be others."""
    weights = zip(made.weights.values(), expected.weights.values(), strict=True)
    layers = zip(made.layers, expected.layers, strict=True)
    try:
        return all(np.array_equal(one, other) for one, other in weights) and all(
            _plain(one.config.get(key)) == _plain(other.config.get(key)) for one, other in layers for key in _STATED
        )
    except ValueError:  # there are more of them
        return False


def _plain(setting: Any) -> Any:
    """A setting as it is meant: an axis is one, also in a list, and counted from either end of four."""
    one = setting[0] if isinstance(setting, list | tuple) and len(setting) == 1 else setting
    return one % 4 if isinstance(one, int) and not isinstance(one, bool) and one in (-1, 3) else one


@dataclasses.dataclass
class Tally:
    """What became of the cases."""

    ends: Counter[str] = dataclasses.field(default_factory=Counter)
    bad: list[str] = dataclasses.field(default_factory=list)

    def add(self, case: tuple[Path, Path, str], end: str, words: str) -> None:
        """Count one; it is bad where it ends in neither a verdict nor one clear line."""
        kind = end if end in ("read", "pass", "fail", "line") else "bad"
        if kind == "line" and ("Traceback" in words or "\n" in words.strip() or not words.strip()):
            kind = "bad"
        self.ends[kind] += 1
        if kind == "bad":
            self.bad.append(f"{case[0].name} ({case[2]} of {case[1].name}): {end}: {words[-800:]}")


def try_reading(sources: Sequence[Path], cases: int, seed: int, folder: Path) -> Tally:
    """Read mutated files as a run does before it starts a framework."""
    tally, made = Tally(), make(sources, cases, seed, folder)
    ends = read([path for path, _, _ in made])
    for case in made:
        tally.add(case, *ends[case[0]])
    return tally


def try_running(source: Path, weights: Path, cases: int, seed: int, folder: Path) -> Tally:
    """Run mutated files against the port of the unchanged one."""
    tally, made = Tally(), make([source], cases, seed, folder)
    for case, end in zip(made, run(made, source, weights, folder).values(), strict=True):
        is_line = end not in ("pass", "fail", "FALSE PASS") and "Traceback" not in end
        tally.add(case, "line" if is_line else end, end)
    return tally


KERAS_FILE = """
import sys
import numpy as np
from builders import build
import h5py
model = build()
with h5py.File(sys.argv[1]) as file:
    for layer in model.layers:
        if layer.weights:
            own = file["model_weights"][layer.name]
            layer.set_weights([own[name][()] for name in own.attrs["weight_names"].astype(str)])
model.save(sys.argv[2])
"""


def keras_archive(source: Path, folder: Path) -> Path:
    """The tiny model as Keras saves it in a `.keras`."""
    (folder / "builders.py").write_text(helpers.KERAS_BUILDERS)
    path = folder / "net.keras"
    command = [sys.executable, "-c", KERAS_FILE, str(source), str(path)]
    subprocess.run(command, cwd=folder, env=helpers.environment(folder), check=True, capture_output=True, timeout=120)
    return path


def main() -> int:
    """Try as many as are asked for; the exit status is 1 where one is bad, and its file stays."""
    known = argparse.ArgumentParser(prog="python -m tests.fuzzing")
    known.add_argument("--read", type=int, default=2000)
    known.add_argument("--run", type=int, default=100)
    known.add_argument("--seed", type=int, default=0)
    given = known.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kerasdiff-fuzz-"))
    source = helpers.write_tiny(folder / "net.h5")
    archive = keras_archive(source, folder)
    sources = [source, archive, helpers.ROOT / "model" / "resnet8.h5", *sorted(helpers.DATA.glob("*.h5"))]
    tallies: dict[str, Tally] = {}
    (folder / "read").mkdir()
    tallies["read"] = try_reading(sources, given.read, given.seed, folder / "read")
    for one in (source, archive):
        (folder / one.suffix).mkdir()
        tallies[f"run {one.suffix}"] = try_running(one, source, given.run, given.seed, folder / one.suffix)
    for name, tally in tallies.items():
        print(name, dict(tally.ends))
        for words in tally.bad:
            print("  ", words)
    bad = any(tally.bad for tally in tallies.values())
    if bad:
        print(f"the files are in {folder}")
    else:
        shutil.rmtree(folder)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
