"""A static scan of a Keras file before a framework opens it.

Refused is what would run code, read or write other files, or fill the memory. It is a filter and no sandbox: what it
does not know passes. SECURITY.md says what is promised.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import math
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pytest_kerasdiff import child, computing, modelfile, savedmodel
from pytest_kerasdiff.errors import RunError, in_short

_FRAMEWORKS = frozenset({"keras", "tf_keras"})
_PARTS = frozenset(
    {
        "layers", "initializers", "regularizers", "constraints", "activations", "losses", "metrics", "optimizers",
        "models", "ops", "random", "dtype_policies", "mixed_precision", "engine", "quantizers", "legacy",
    }
)  # fmt: skip
"""Parts of Keras whose objects models are made of; others (utils, config, saving) have functions with side effects."""
_RUN_CODE = {
    "Lambda": "a Lambda layer: its function is code stored in the file",
    "__lambda__": "a lambda: code stored in the file",
    "TFSMLayer": "a TFSMLayer: it opens a SavedModel, which can run code",
    "TorchModuleWrapper": "a TorchModuleWrapper: it opens a pickle, which can run code",
    "JaxLayer": "a JaxLayer: its function is code stored in the file",
    "FlaxLayer": "a FlaxLayer: its function is code stored in the file",
}
_FUNCTIONS = ("residual_fn", "dropout_fn")
"""Settings of wrappers of Keras 2 that hold code, and beginnings of those that say of which kind it is."""
_PASSIVE = "__passive_serialization__"
"""Keras 2 builds what has it wherever it stands. Source: keras/saving/legacy/saved_model/json_utils.py."""
_PATHS = {"vocabulary", "filepath", "file_path", "idf_weights", "asset_path"}
"""Settings of layers that Keras reads a file for where they are text."""
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npz")
_UNREAD = "compile_config"
"""What Keras is not given."""
_NUMBERS = frozenset({"shared_object_id", "seed", "vocabulary", "salt"})
"""Settings that are no sizes, however large."""
_SIZES = frozenset({"units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "projection_dim"})
"""Settings of layers with weights that have at least as many elements."""
_LARGEST = 2**31 - 1
"""Of a number in a config: what a dimension may be at most."""
_MAKE_ARRAYS = frozenset(
    {"ones", "zeros", "fill", "eye", "broadcast_to", "tile", "repeat", "range", "linspace", "one_hot"}
)
_MADE_ELEMENTS = 2**28
"""How many elements a function is let make of constants: 2 GiB in float64."""
_GROWS, _ALWAYS_ALLOWED_BYTES = 100, 2**26
"""How many times the file's size its content may be, beside 64 MiB."""
_DEFLATES = 1100
"""The same of a recorded reference, which is compressed: activations may all be 0. Source: zlib's limit is 1,032."""
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
"""deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf. Others load a library.

Source: HDF5, "Registered Filter Plugins".
"""
_DEEPEST = 200
_LONGEST_S = 60.0
"""A file of 1,700 layers takes less than one."""
_ENDLESS = f"damaged: HDF5's own library crashed over it, or came to no end in {_LONGEST_S:g} s"


def refuse(path: Path, trust: bool, reads_config: bool = True) -> None:
    """Look at a file as it stands, and at nothing that it refers to.

    Args:
        path: A ``.h5``, ``.hdf5``, ``.keras`` or a SavedModel folder.
        trust: Let code stored in it pass; what is no code is refused all the same.
        reads_config: Whether Keras will build the model that the file describes.

    Raises:
        RunError: It is refused, for a reason that names the layer or the member.
    """
    try:
        reason = next(_reasons(path, trust, reads_config), None)
    except RunError:
        raise
    except RecursionError:
        reason = "its config is nested too deeply"
    except Exception as error:  # what h5py and zipfile raise of a damaged file is whatever they meet
        raise RunError(f"{path}: damaged, or not as Keras writes it: {in_short(error)}") from None
    if reason is not None:
        raise RunError(f"{path}: refused: {reason}")


def refuse_recorded(path: Path) -> None:
    """Look at a recorded reference as ``refuse`` does at a model; who reads it says what is no such file.

    Raises:
        RunError: It is refused, for a reason that names the place.
    """
    reason = None
    with contextlib.suppress(Exception), path.open("rb") as stream:
        reason = next(_hdf5(stream, path.stat().st_size, "", _DEFLATES), None)
    if reason is not None:
        raise RunError(f"{path}: refused: {reason}")


def first(job: child.Job, side: str) -> None:
    """Scan a job's model, and its recorded reference, before anything else opens them, and say so.

    HDF5's library loops or crashes on some damaged files. What is said then is written before, because nothing can be
    afterwards; a clock that needs no help of Python's ends the process.

    Raises:
        RunError: See ``refuse``.
    """
    settings = job.settings
    with _outlived(job, side, settings.keras_model):
        modelfile.read(settings.keras_model)  # what is no model at all is said in its own words
        refuse(settings.keras_model, settings.trust, settings.keras is None)
    if settings.reference is not None:
        with _outlived(job, side, settings.reference):
            refuse_recorded(settings.reference)
    (job.folder / child.SCANNED).touch()


@contextlib.contextmanager
def _outlived(job: child.Job, side: str, path: Path) -> Iterator[None]:
    """A context of which something is said whatever becomes of the process in it."""
    child.write_error(job.folder, side, f"{path}: {_ENDLESS}")
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        faulthandler.dump_traceback_later(_LONGEST_S, exit=True, file=nothing)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            child.error_file(job.folder, side).unlink(missing_ok=True)


def _reasons(path: Path, trust: bool, reads_config: bool) -> Iterator[str]:
    if path.is_dir():
        yield from _folder(path, trust)
        elements = None
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from _archive(archive, path.stat().st_size)
            elements = 0
            if modelfile.ARCHIVE_WEIGHTS in archive.namelist():
                member = archive.getinfo(modelfile.ARCHIVE_WEIGHTS)
                with archive.open(member) as stream:
                    # What is stored as it is can be read here and there; else that would unpack it again and again.
                    plain = member.compress_type == zipfile.ZIP_STORED
                    content = stream if plain else io.BytesIO(stream.read())
                    elements = yield from _hdf5(content, member.file_size, f"{modelfile.ARCHIVE_WEIGHTS}: ")
    else:
        with path.open("rb") as stream:
            elements = yield from _hdf5(stream, path.stat().st_size, "")
    if reads_config:
        config = modelfile.read(path).config
        yield from _walk(config, "the model", 0, trust, elements)
        yield from _stuck(config)


# -- zip ---------------------------------------------------------------------------------------------------------------


def _archive(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    """Members that would leave the folder they are put into, hold pickles, or are much larger than the archive."""
    members = archive.infolist()
    names = Counter(member.filename for member in members)
    for member in members:
        name = member.filename
        own = PurePosixPath(name.replace("\\", "/"))
        if own.is_absolute() or ".." in own.parts or ":" in name or "\0" in name:
            yield f"the member {name!r} would be put outside the folder it is unpacked into"
        if stat.S_ISLNK(member.external_attr >> 16):
            yield f"the member {name!r} is a link"
        if own.suffix.lower() in _PICKLES:
            yield f"the member {name!r} may hold a pickle, which can run code"
        if member.flag_bits & 1:
            yield f"the member {name!r} is encrypted"
        if names[name] > 1:
            yield f"the member {name!r} is there twice"
    total = sum(member.file_size for member in members)
    if total > _GROWS * size + _ALWAYS_ALLOWED_BYTES:
        yield f"{size} bytes that unpack to {total}"


# -- HDF5 --------------------------------------------------------------------------------------------------------------


def _hdf5(stream: IO[bytes], size: int, within: str, grows: int = _GROWS) -> Generator[str, None, int]:
    """Links out of the file, values kept or computed elsewhere, arrays that are much larger than the file.

    Returns:
        The number of elements in all arrays.
    """
    import h5py

    if size == 0:
        raise ValueError("an empty file")
    with h5py.File(stream, "r") as file:
        seen: set[int] = set()
        pending: list[tuple[str, Any]] = [("", file)]
        declared = elements = 0
        while pending:
            where, group = pending.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                continue
            seen.add(address)
            for name in group:
                place = f"{where}/{name}"
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    yield f"{within}{place} is a link to another file ({link.filename})"
                elif isinstance(link, h5py.SoftLink):
                    yield f"{within}{place} is a link to {link.path}, which Keras does not write"
                else:
                    item = group[name]
                    if isinstance(item, h5py.Group):
                        pending.append((place, item))
                    elif isinstance(item, h5py.Dataset):
                        yield from _dataset(f"{within}{place}", item)
                        own = item.size if item.shape is not None else 0
                        declared, elements = declared + own * item.dtype.itemsize, elements + own
        if declared > grows * size + _ALWAYS_ALLOWED_BYTES:
            yield f"{within}its arrays declare {declared} bytes, the file has {size}"
    return elements


def _dataset(place: str, dataset: Any) -> Iterator[str]:
    import h5py

    if dataset.external:
        yield f"{place} keeps its values in another file ({dataset.external[0][0]})"
    if dataset.is_virtual:
        yield f"{place} takes its values from other files"
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        yield f"{place} holds references"
    if dataset.dtype.fields or h5py.check_vlen_dtype(dataset.dtype) not in (None, str, bytes):
        yield f"{place} holds records, or arrays of several lengths, which Keras does not write"
    plist = dataset.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if code not in _FILTERS:
            yield f"{place} needs the filter {code} of HDF5, which would be loaded as a library"


# -- the config --------------------------------------------------------------------------------------------------------


def _walk(node: Any, layer: str, depth: int, trust: bool, elements: int | None, sizes: bool = True) -> Iterator[str]:
    """What in a config would run code or read a file, and numbers that no dimension has.

    Args:
        node: A part of the config.
        layer: The layer that it belongs to.
        depth: How many objects it is in.
        trust: Let code pass.
        elements: Of all weights in the file; None where that is not known.
        sizes: Whether numbers may be sizes.
    """
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, layer, depth + 1, trust, elements, sizes)
    elif isinstance(node, dict):
        own = node.get("config")
        name = own.get("name") if isinstance(own, dict) else None
        layer = name if isinstance(name, str) and "class_name" in node else layer
        if not trust:
            yield from _code(node, layer)
        yield from _made_large(node, layer)
        if elements is not None:
            yield from _too_large(node, layer, max(elements, 1))
        for key, value in node.items():
            if key != _UNREAD:
                yield from _walk(value, layer, depth + 1, trust, elements, sizes and key not in _NUMBERS)
    elif isinstance(node, int) and abs(node) > _LARGEST and sizes:
        yield f"layer {layer!r} declares {node}, more than a dimension may be"


def _code(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    """What in an object would run code or read a file."""
    if "class_name" in node:
        yield from _object(node, layer)
    if _PASSIVE in node:
        yield f"layer {layer!r} has an object that Keras would build wherever it stands ({_PASSIVE}); {_TRUST}"
    for key, value in node.items():
        if key in _PATHS and isinstance(value, str | dict) and value:
            yield f"layer {layer!r} reads the file {value!r} ({key}); {_TRUST}"
        if key.startswith(_FUNCTIONS) and value is not None:
            yield f"layer {layer!r} has a function stored in the file ({key}); {_TRUST}"


def _too_large(node: Mapping[str, Any], layer: str, elements: int) -> Iterator[str]:
    """Sizes of weights that have more elements than there are in the file."""
    for key in sorted(_SIZES & node.keys()):
        size = node[key]
        if isinstance(size, str | dict) or (isinstance(size, int | float) and size > elements):
            yield f"layer {layer!r} declares {key} = {size}, and all weights in the file have {elements} elements"
    shapes = {
        "kernel_size": node.get("kernel_size"),
        "input_dim × output_dim": [node.get("input_dim"), node.get("output_dim")],
    }
    for key, shape in shapes.items():
        if isinstance(shape, list) and all(isinstance(n, int) for n in shape) and math.prod(shape) > elements:
            yield f"layer {layer!r} declares {key} = {shape}, and all weights in the file have {elements} elements"
    if node.get("class_name") == "__numpy__":
        own = node.get("config")
        dtype = own.get("dtype") if isinstance(own, dict) else None
        if not re.fullmatch(r"bool|(u?int|b?float|complex)\d+", str(dtype)):
            yield f"layer {layer!r} has an array of {dtype!r}"


def _made_large(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    """Constants with which a function of TensorFlow would make an array while the model is built."""
    own = node.get("config")
    function = str(own.get("function")) if isinstance(own, dict) else ""
    if function.rpartition(".")[2] in _MAKE_ARRAYS:
        numbers = [n for n in _flat(node.get("inbound_nodes")) if isinstance(n, int) and n > 1]
        if math.prod(numbers) > _MADE_ELEMENTS:
            yield f"layer {layer!r} calls tf.{function} with {numbers}: an array of {math.prod(numbers)} elements"


def _flat(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    for item in inner or ():
        yield from _flat(item)


def _stuck(node: Any) -> Iterator[str]:
    """Calls of layers that wait for one another, or for one that is not there: Keras 2 would go round for ever.

    Source: ``reconstruct_from_config`` in keras/engine/functional.py. It makes the calls of a layer in their order. A
    model in the model may have had one call before them.
    """
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for part in inner:
        yield from _stuck(part)
    layers = node.get("layers") if isinstance(node, dict) else None
    calling = [
        la for la in (layers if isinstance(layers, list) else ()) if isinstance(la, dict) and "inbound_nodes" in la
    ]
    if isinstance(layers, dict) or any(not isinstance(la["inbound_nodes"], list) for la in calling):
        yield "its layers, or their calls, are not listed as Keras does"
        return
    # Keras 2 goes by the outer name, everything else by the inner one.
    known = {str(la.get("name")): la for la in calling}
    if len(known) < len(calling) or any(modelfile.layer_name(la) != name for name, la in known.items()):
        yield "two of its layers have one name, or one has two"
        return
    waiting = {
        name: [list(_sources(call, known)) for call in la["inbound_nodes"]]
        for name, la in known.items()
        if la["inbound_nodes"]
    }
    made: Counter[str] = Counter()

    def is_there(name: str, number: Any) -> bool:
        extra = int(modelfile.is_model(known[name]))
        counts = isinstance(number, int) and number >= 0
        return counts and (name not in waiting or number < made[name] or extra <= number < made[name] + extra)

    before = -1
    while before < made.total():
        before = made.total()
        for name, calls in waiting.items():
            while made[name] < len(calls) and all(is_there(*source) for source in calls[made[name]]):
                made[name] += 1
    for name, calls in waiting.items():
        if made[name] < len(calls):
            yield f"layer {name!r} is fed with what it gives itself, or with a call of a layer that is not there"


def _sources(call: Any, layers: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Calls whose results a call of a layer takes, as Keras 2 writes them: ``[layer, number of the call, …]``.

    Keras 3 writes a call as a dict, and sees for itself what cannot be made.
    """
    pending = [call] if isinstance(call, list) else []
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, list):
            if len(part) > 2 and isinstance(part[0], str) and part[0] in layers:
                yield part[0], part[1]
                part = part[3:]
            pending += part


def _object(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    kind, module = str(node["class_name"]), node.get("module")
    names = {str(name).rpartition(">")[2] for name in (kind, node.get("spec_name", kind))}
    own = node.get("config")
    what = str(own) if kind == "function" else kind
    for name in names & _RUN_CODE.keys():
        yield f"layer {layer!r} is {_RUN_CODE[name]}; {_TRUST}"
    # Keras looks a dotted name up below the module that is stated.
    if module is not None and (not _is_keras_own(str(module), kind) or any("." in name for name in {*names, what})):
        yield (
            f"layer {layer!r} refers to {module}.{what}, which is no part of Keras that models are made of: name the "
            f"code that builds the model with --kerasdiff-keras; {_TRUST}"
        )
    registered = str(node.get("registered_name") or kind).rpartition(">")[2]
    if not isinstance(node["class_name"], str) or (
        kind == "function" and (not isinstance(own, str) or registered not in (kind, own))
    ):
        yield f"layer {layer!r} has an object whose class is not stated as Keras does; {_TRUST}"
    for call in _unknown_calls(names, own if isinstance(own, dict) else {}):
        yield f"layer {layer!r} {call}, which is not known to do no more than compute; {_TRUST}"


def _unknown_calls(kinds: Collection[str], config: Mapping[str, Any]) -> Iterator[str]:
    """What of TensorFlow a layer of Keras 2 calls by its name, where that is not known to only compute."""
    called = str(config.get("function", ""))
    if not {"TFOpLambda", "SlicingOpLambda"}.isdisjoint(kinds) and not computing.is_function(called):
        yield f"calls tf.{called}"
    elif not {"ClassMethod", "InstanceMethod", "InstanceProperty"}.isdisjoint(kinds):
        # Only a class is stated by its symbol; of what a property is one, the graph says.
        symbol = str(config.get("cls_symbol", "Tensor"))
        for name in (str(config[key]) for key in ("method_name", "attr_name") if key in config):
            if not computing.is_method(name, symbol):
                yield f"calls {symbol}.{name}"
    elif "TensorFlowOpLayer" in kinds:
        stated = config.get("node_def")
        operation = str(stated.get("op")) if isinstance(stated, dict) else str(stated)[:40]
        if not isinstance(stated, dict) or not computing.is_operation(operation):
            yield f"runs {operation!r}"


_TRUST = "if you trust the file, add --kerasdiff-trust"


def _is_keras_own(module: str, kind: str) -> bool:
    if module == "builtins":
        return kind == "function"  # a function of Keras by its name alone, such as an activation
    parts = module.split(".")
    inside = [part for part in parts[1:] if part != "src"]
    return parts[0] in _FRAMEWORKS and (not inside or inside[0] in _PARTS)


# -- SavedModel --------------------------------------------------------------------------------------------------------


def _folder(path: Path, trust: bool) -> Iterator[str]:
    """Links out of the folder; code among the Keras objects, of which not only the model's config is revived."""
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            yield f"{file.relative_to(path)} is a link out of the folder"
    if not trust:
        yield from (f"saved_model.pb holds {what}; {_TRUST}" for what in savedmodel.runs_when_loaded(path))
        for found in savedmodel.objects(path):
            yield from _walk(found, "the model", 0, trust, None)


if __name__ == "__main__":
    child.main("scan", lambda job: first(job, "scan"))
