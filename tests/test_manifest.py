"""The manifest: read whole, refused where a key or a value is not known, written so that it reads back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_kerasdiff import manifest
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule, Manifest, Tolerance

WHOLE = """
torch = "model.resnet8:build"
[inputs.image]
layout = [0, 3, 1, 2]
shape = [32, 32, 3]
range = [0, 255]
[inputs.mask]
layout = "keras"
[layers]
conv2d_3 = "b2.conv1"
dense = ["fc", "softmax"]
[declared]
"aux_head.weight" = "not used in inference"
[tolerance]
dense = { tol = 1e-4, reason = "measured" }
"""


def read(folder: Path, text: str) -> Manifest:
    path = folder / "kerasdiff.toml"
    path.write_text(text, "utf-8")
    return manifest.read(path)


def test_every_part_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == Manifest(
        tmp_path / "kerasdiff.toml",
        "model.resnet8:build",
        {"image": InputRule((0, 3, 1, 2), (32, 32, 3), (0, 255)), "mask": InputRule("keras")},
        {"conv2d_3": ("b2.conv1", "b2.conv1"), "dense": ("fc", "softmax")},
        {"aux_head.weight": "not used in inference"},
        {"dense": Tolerance(1e-4, "measured")},
    )


def test_every_part_is_optional(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Manifest(tmp_path / "kerasdiff.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layer = 1", "unknown key 'layer'; known: "),
        ("torch = 3", "torch = 3: expected a text"),
        ("[layers", "not TOML"),
        ("layers = 3", r"\[layers\] must be a table"),
        ("[layers]\na = 3", r"\[layers\] a = 3: expected a torch module"),
        ("[layers]\na = ['x', 'y', 'z']", r"\[layers\] a = "),
        ("[inputs]\nsize = 3", r"\[inputs\]: unknown key 'size'; known: layout, range, shape"),
        ("[inputs.x]\nsize = 3", r"\[inputs.x\]: unknown key 'size'"),
        ("[inputs]\nlayout = [0, 1, 3]", r"a permutation of 0 … 2"),
        ("[inputs]\nlayout = ['N', 'C']", r"a permutation of 0 … 1"),
        ("[inputs]\nlayout = [0, 1.0]", r"a permutation of 0 … 1"),
        ("[inputs]\nlayout = 'NCHW'", r"layout = 'NCHW': expected"),
        ("[inputs]\nlayout = 3", r"layout = 3: expected"),
        ("[inputs]\nshape = [0, 3]", r"shape = \[0, 3\]: expected"),
        ("[inputs]\nshape = 3", r"shape = 3: expected"),
        ("[inputs]\nrange = [1, 1]", r"range = \[1, 1\]: expected"),
        ("[inputs]\nrange = [1]", r"range = \[1\]: expected"),
        ("[inputs]\nrange = ['a', 'b']", r"range = .*: expected"),
        ("[declared]\na = 3", r"\[declared\] a = 3: expected a text"),
        ("[declared]\na = ''", r"\[declared\] a = '': expected a reason"),
        ("[tolerance]\na = 1e-4", r"\[tolerance\] a = .*reason"),
        ("[tolerance]\na = { tol = 1e-4 }", r"\[tolerance\] a = .*reason"),
        ("[tolerance]\na = { tol = 1e-4, reason = ' ' }", r"\[tolerance\] a = .*reason"),
        ("[tolerance]\na = { tol = 0, reason = 'x' }", r"\[tolerance\] a = "),
        ("[tolerance]\na = { tol = nan, reason = 'x' }", r"\[tolerance\] a = "),
        ("[tolerance]\na = { tol = inf, reason = 'x' }", r"\[tolerance\] a = "),
    ],
)
def test_what_is_not_valid_names_the_file_and_the_key(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "kerasdiff.toml"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kerasdiff.toml").write_bytes(b"torch = '\xff'\n")
    with pytest.raises(RunError, match="not TOML"):
        manifest.read(tmp_path / "kerasdiff.toml")


def test_it_is_looked_for_beside_the_model_then_in_rootdir(tmp_path: Path) -> None:
    beside, root = tmp_path / "models", tmp_path / "root"
    beside.mkdir()
    root.mkdir()
    model = beside / "model.h5"
    assert manifest.find(model, None, root) == Manifest()
    (root / "kerasdiff.toml").write_text("torch = 'root:build'\n")
    assert manifest.find(model, None, root).torch == "root:build"
    (beside / "kerasdiff.toml").write_text("torch = 'beside:build'\n")
    assert manifest.find(model, None, root).torch == "beside:build"
    (tmp_path / "named.toml").write_text("torch = 'named:build'\n")
    assert manifest.find(model, tmp_path / "named.toml", root).torch == "named:build"
    with pytest.raises(RunError, match="no such file"):
        manifest.find(model, tmp_path / "none.toml", root)
    with pytest.raises(RunError, match="cannot be read"):
        manifest.find(model, tmp_path / "root", root)


def test_rules_of_inputs(tmp_path: Path) -> None:
    one = read(tmp_path, "[inputs]\nrange = [0, 1]\n")
    assert one.rules(["image"]) == {"image": InputRule(range=(0, 1))}
    with pytest.raises(RunError, match=r"\[inputs\] must name the input, as \[inputs.a\].*a, b"):
        one.rules(["a", "b"])
    named = read(tmp_path, "[inputs.b]\nrange = [0, 1]\n")
    assert named.rules(["a", "b"]) == {"b": InputRule(range=(0, 1))}
    with pytest.raises(RunError, match=r"\[inputs.b\]: the Keras model has no such input; it has a"):
        named.rules(["a"])
    assert Manifest().rules(["a"]) == {}


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kerasdiff.toml"
    layers: dict[str, str | tuple[str, str]] = {
        "conv2d": "stem.conv",
        "inner/dense@1": ("fc", "softmax@1"),
        'quote"d': "a.b",
    }
    declared = {"dropout": "inactive: “no” operation", "aux.weight": 'said "so"'}
    manifest.write(path, layers, declared, {"image": (0, 3, 1, 2), "my input": (0, 1)}, "a.b:c")
    back = manifest.read(path)
    assert back.torch == "a.b:c"
    assert back.layers == {name: (span, span) if isinstance(span, str) else span for name, span in layers.items()}
    assert back.declared == declared
    assert back.inputs == {"image": InputRule((0, 3, 1, 2)), "my input": InputRule((0, 1))}


def test_where_it_cannot_be_written_the_old_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kerasdiff.toml"
    path.write_text('torch = "mine:port"\n')

    def full(self: Path, text: str, encoding: str) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match=r"kerasdiff\.toml: cannot be written: No space left on device"):
        manifest.write(path, {}, {}, {}, "other:port")
    assert path.read_text() == 'torch = "mine:port"\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_manifest_stays_one(tmp_path: Path) -> None:
    (tmp_path / "shared.toml").write_text("")
    (tmp_path / "kerasdiff.toml").symlink_to("shared.toml")
    manifest.write(tmp_path / "kerasdiff.toml", {}, {}, {}, "a.b:c")
    assert (tmp_path / "kerasdiff.toml").is_symlink()
    assert manifest.read(tmp_path / "shared.toml").torch == "a.b:c"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tolerance]\ndens = { tol = 1e-3, reason = "x" }\n', r"\[tolerance\] dens: .* did you mean dense\?"),
        ('[declared]\n"fc.weigth" = "unused"\n', r"\[declared\] fc.weigth: .* did you mean fc.weight\?"),
    ],
)
def test_names_of_nothing_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "kerasdiff.toml"
    path.write_text(text)
    with pytest.raises(RunError, match=words):
        manifest.read(path).check_names(["dense"], ["fc.weight"])


def test_names_of_layers_and_parameters_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "kerasdiff.toml"
    path.write_text('[declared]\ndense = "x"\n"fc.weight" = "y"\n[tolerance]\ndense = { tol = 1e-3, reason = "x" }\n')
    manifest.read(path).check_names(["dense"], ["fc.weight"])


def test_what_the_user_stated_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "kerasdiff.toml").write_text(
        '[inputs]\nrange = [0, 255]\nshape = [8, 8, 3]\n[declared]\n"aux.weight" = "not used"\n'
        '[tolerance]\nfc = { tol = 1e-4, reason = "rounded" }\n'
    )
    stated = manifest.read(tmp_path / "kerasdiff.toml")
    manifest.write(tmp_path / "new.toml", {"fc": "head"}, {"drop": "inactive"}, {"image": (0, 3, 1, 2)}, None, stated)
    again = manifest.read(tmp_path / "new.toml")
    assert again.inputs == {"image": manifest.InputRule((0, 3, 1, 2), (8, 8, 3), (0, 255))}
    assert again.tolerances == stated.tolerances
    assert again.declared == {"drop": "inactive", "aux.weight": "not used"}
