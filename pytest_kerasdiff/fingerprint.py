"""What a reference depends on: the content of the model file, the probe inputs, the user's code, the versions."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.machinery
import importlib.metadata
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings

_PACKAGES = ("keras", "tf-keras", "tensorflow", "tensorflow-cpu", "numpy", "h5py")
_FRAMEWORKS = frozenset({"keras", "tf_keras", "tensorflow", "torch", "numpy"})
"""Modules that are known by their version, wherever they lie."""
_OF_OPINION = ("tf2onnx", "onnx", "onnxruntime")


def made_from(settings: Settings, stated: Manifest) -> dict[str, Any]:
    """What the user has given that decides what a reference holds, by name, as JSON gives it back."""
    preprocess = stated.preprocess
    found: dict[str, Any] = {
        "model": of_files(settings.keras_model),
        "keras": _code(settings.keras) if settings.keras else None,
        "precision": settings.precision,
        "batch": settings.batch,
        "seed": settings.seed,
        "inputs": of_files(settings.inputs) if settings.inputs else None,
        "rules": {name: [rule.shape, rule.range] for name, rule in stated.inputs.items()},
        "preprocess": None
        if preprocess is None
        else [_code(preprocess.keras), preprocess.shape, of_files(preprocess.raw) if preprocess.raw else None],
        "trust": settings.trust,
        "onnx": settings.onnx,
    }
    return {name: json.loads(json.dumps(value)) for name, value in found.items()}  # lists where there were tuples


def predicted_from(settings: Settings, stated: Manifest) -> dict[str, Any]:
    """What the user has given that decides Keras's predictions for the user's data, likewise."""
    assert settings.data is not None
    names = ("model", "keras", "trust", "preprocess")
    own = {name: value for name, value in made_from(settings, stated).items() if name in names}
    data = _code(settings.data) if is_code(settings.data) else of_files(Path(settings.data))
    return {**own, "data": data, "shard": str(settings.shard)}


def of_predictions(settings: Settings, stated: Manifest) -> str:
    """One name for all that Keras's predictions depend on."""
    return key({"predicted_from": predicted_from(settings, stated), "versions": versions(False)})


def is_code(data: str) -> bool:
    """Whether data is named by ``module:callable``; paths are absolute."""
    return not os.path.isabs(data)


def versions(asks_for_opinion: bool) -> dict[str, str]:
    """What else decides: the packages that are installed, found without importing them, and this package's code.

    Args:
        asks_for_opinion: Whether the second opinion's packages count.
    """
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in (*_PACKAGES, *(_OF_OPINION if asks_for_opinion else ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    own = Path(__file__).parent
    code = [path for folder in (".", "reference", "accuracy") for path in sorted((own / folder).glob("*.py"))]
    return {**found, "pytest_kerasdiff": _digest(code)}


def of_run(settings: Settings, stated: Manifest) -> str:
    """One name for all that a reference depends on."""
    return key({"made_from": made_from(settings, stated), "versions": versions(settings.onnx)})


def key(parts: Mapping[str, Any]) -> str:
    """One name for what is JSON-serialisable."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def of_files(path: Path) -> str:
    """Digest of a file, or of all files of a folder with their names; empty where there is none."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return key({str(p.relative_to(path)): _digest([p]) for p in files})
    return _digest([path]) if path.is_file() else ""


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _code(spec: str) -> list[str]:
    """A ``module:callable`` with the digest of the module's source and of the user's modules that it imports."""
    return [spec, _digest(_sources(spec.partition(":")[0]))]


def _sources(module: str) -> list[Path]:
    """Files of a module and of all that it imports by statements, what is installed or Python's own aside."""
    found: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        source = None if name.partition(".")[0] in _FRAMEWORKS else _source(name)
        if name in found or source is None or source.suffix != ".py" or _is_installed(source):
            continue
        found[name] = source
        parents = name.split(".")
        pending += [".".join(parents[:i]) for i in range(1, len(parents))]
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        with contextlib.suppress(SyntaxError, ValueError, OSError):
            pending += _imported(ast.parse(source.read_bytes()), package)
    return [found[name] for name in sorted(found)]


def _imported(tree: ast.AST, package: str) -> list[str]:
    """Names that import statements may import as modules."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def _is_installed(source: Path) -> bool:
    own = {sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(source.is_relative_to(folder) for folder in own)


def _source(module: str) -> Path | None:
    """File of a module, found without importing it or its packages."""
    where, spec = sys.path, None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = importlib.machinery.PathFinder.find_spec(name, where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None
