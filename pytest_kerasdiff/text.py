"""The report in words: a block for a layer at fault, and what all forms of the report say alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_kerasdiff.errors import one_line

Layer = Mapping[str, Any]


def header(report: Mapping[str, Any]) -> list[str]:
    """What was compared with what, and how."""
    environment = report["environment"]
    keras = next((f"{name} {environment[name]}" for name in ("keras", "tf_keras") if name in environment), "")
    lines = [
        f"{report['keras_model']} ({keras}) against {report['torch']} (torch {environment.get('torch', '?')})",
        f"precision {report['precision']}, tolerance {report['tolerance']:g}, inputs "
        + ", ".join(f"{name} {tuple(i['shape'])} given as {i['layout']}" for name, i in report["inputs"].items()),
    ]
    if "--trust" in report["command"].split():
        lines.append("code stored in the model files is trusted (--kerasdiff-trust)")
    return lines + [f"note: {note}" for note in report["notes"]]


def _in_lines(node: Any) -> Any:
    """The same with what a name or a message has of line breaks and control characters written out."""
    if isinstance(node, Mapping):
        return {key: _in_lines(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_in_lines(value) for value in node]
    return one_line(node) if isinstance(node, str) else node


def layer_block(layer: Layer) -> str:
    """Why a layer fails: where, how much, against which limit, and what to do next."""
    layer = _in_lines(layer)
    if layer["status"] == "inherited":
        origin = f"inherits from {layer['inherits_from']}" if layer["inherits_from"] else layer["reason"]
        alone = "isolated within the limit" if layer["isolated"] and layer["isolated"]["passes"] else layer["reason"]
        return f"{title(layer)}\n  {origin}: cumulative {measure(layer['cumulative'])}, {alone}"
    lines = [title(layer)]
    if layer["status"] == "unpaired":
        return "\n".join([*lines, f"  unpaired     {layer['reason']}"])
    isolated, cumulative = layer["isolated"], layer["cumulative"]
    mark = "✗ at fault" if layer["status"] == "fault" else "✓"
    lines.append(f"  isolated     {measure(isolated)}      limit {number(isolated['limit'])}     {mark}")
    lines.append(f"  cumulative   {measure(cumulative)}")
    if not isolated["reason"]:
        got, expected = told_apart(isolated["got"], isolated["expected"])
        lines.append(
            f"  where        worst at {tuple(isolated['worst'])}: got {got}, expected {expected}; "
            f"{isolated['differing']:.1%} of elements differ"
        )
    if layer["reason"]:
        lines.append(f"  because      {layer['reason']}")
    lines += _causes(layer)
    if layer["operations"]:
        lines.append(f"  operations   {' → '.join(layer['operations'])}")
    lines.append(f"  matched by   {layer['matched_by']}")
    return "\n".join(lines)


def _causes(layer: Layer) -> Iterator[str]:
    """What repairs the layer, tried out; else what may be the cause, or what the error looks like."""
    for cause in layer["causes"]:
        yield f"  cause        {cause['id']}: {cause['text']}"
        if cause["after"] is not None:
            how = "confirmed on a second input" if cause["confirmed"] else "not confirmed"
            yield f"  tried        {cause['patch']}: {number(cause['before'])} → {number(cause['after'])}   {how}"
        elif cause["patch"]:
            yield f"  remedy       {cause['patch']} (not tried)"
    if layer["pattern"]:
        yield f"  {'pattern' if layer['causes'] else 'unexplained':<12} {layer['pattern']}"


def check_block(check: Mapping[str, Any]) -> str:
    """Why a check fails, in one line: pytest's short summary shows the first one."""
    return one_line(f"{check['layer']}: {check['check']}: {check['message']}")


def counts(report: Mapping[str, Any]) -> list[str]:
    """How many layers and checks came to what."""
    numbers = report["summary"]
    parts = [f"{numbers['passed']} of {numbers['layers']} layers pass"]
    if numbers["faults"]:
        parts.append(f"{count(numbers['faults'], 'layer')} at fault")
    if numbers["inherited"]:
        parts.append(f"{numbers['inherited']} {'inherits' if numbers['inherited'] == 1 else 'inherit'}")
    if numbers["unpaired"]:
        parts.append(f"{numbers['unpaired']} unpaired")
    if numbers["declared"]:
        parts.append(f"{numbers['declared']} declared")
    if numbers["checks"]:
        parts.append(f"{numbers['checks'] - numbers['checks_failed']} of {numbers['checks']} checks pass")
    if numbers["checks_off"]:
        parts.append(f"{numbers['checks_off']} off")
    return parts


def coverage(report: Mapping[str, Any]) -> list[str]:
    """How much was compared of all there is."""
    numbers = report["coverage"]
    layers, weights, parameters = (numbers[key] for key in ("layers", "weights", "parameters"))
    parts = [f"{layers['compared']} of {layers['all']} layers"]
    parts += [f"{layers['declared']} declared"] * bool(layers["declared"])
    parts.append(f"{weights['compared']} of {weights['all']} weights")
    parts.append(f"{parameters['compared']} of {parameters['all']} parameters and buffers of the port")
    parts += [f"{parameters['declared']} declared"] * bool(parameters["declared"])
    return parts


def verdict(report: Mapping[str, Any]) -> str:
    """The verdict in words."""
    if report["verdict"] == "pass":
        return "equivalent"
    failed = {check["check"] for check in report["checks"] if check["status"] == "fail"}
    layers = all(layer["status"] in ("pass", "declared") for layer in report["layers"])
    return "equivalent, but too slow" if layers and failed == {"throughput"} else "NOT equivalent"


def warns(check: Mapping[str, Any]) -> bool:
    """Whether a check passes with a warning."""
    return bool(check["status"] == "pass" and check["cause"])


def speed(entry: Mapping[str, Any]) -> str:
    """One measurement of throughput in words."""
    place = f"{entry['device']}, batch {entry['batch']}"
    if entry["torch"] is None:
        return f"{place}: {entry['missing']['torch']}"
    words = [f"{entry['torch']['per_second']:.4g} samples/s"]
    if entry["keras"] is not None:
        words.append(f"Keras {entry['keras']['per_second']:.4g}: {times(entry['ratio'])} as fast")
    elif entry["ratio_to_yardstick"] is not None:
        words.append(f"{times(entry['ratio_to_yardstick'])} as fast as the yardstick")
    return f"{place}: {', '.join(words)}"


def times(ratio: Mapping[str, float]) -> str:
    """How many times as fast something is, with quartiles."""
    return f"{ratio['median']:.3g} times ({ratio['low']:.3g} … {ratio['high']:.3g})"


def remedies(layer: Layer) -> Iterator[str]:
    """What to do about a layer at fault, in a line for each cause."""
    for cause in layer["causes"]:
        state = "confirmed" if cause["confirmed"] else "not tried" if cause["after"] is None else "not confirmed"
        yield f"{cause['id']}, {state}: {cause['patch'] or cause['text']}"
    if layer["pattern"] and not layer["causes"]:
        yield f"unexplained: {layer['pattern']}"


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Names in a row; of many the first, and how many there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} … ({len(names)} in all)"


def worst(layers: Sequence[Layer], most: int) -> list[Layer]:
    """Passing layers that have a torch operation, those nearest to their limit first."""

    def share(layer: Layer) -> float:
        error = layer["cumulative"]
        return float(error["max_abs"] / error["limit"]) if error["limit"] else 0.0

    passing = [la for la in layers if la["status"] == "pass" and la["torch"] is not None and la["cumulative"]]
    return sorted(passing, key=share, reverse=True)[:most]


def title(layer: Layer) -> str:
    """The layer, its class, its partner, and the line that called it."""
    target = layer["torch"] or "no torch operation"
    source = f"  [{layer['source']}]" if layer["source"] else ""
    return f"{layer['name']} ({layer['class']}) → {target}{source}"


def in_short(layer: Layer) -> str:
    """A failing layer's error alone, or why there is none."""
    if layer["isolated"] is None:
        return str(layer["reason"])
    return f"isolated {measure(layer['isolated'])}, limit {number(layer['isolated']['limit'])}"


def measure(error: Mapping[str, Any] | None) -> str:
    """An error and the scale it is of."""
    if error is None:
        return "not compared"
    if error["reason"]:
        return str(error["reason"])
    return f"{number(error['max_abs'])} of scale {number(error['scale'])}"


def told_apart(first: float | None, second: float | None) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they differ."""
    for digits in range(3, 17):
        texts = tuple("∞" if value is None else f"{value:.{digits}g}" for value in (first, second))
        if texts[0] != texts[1]:
            break
    return texts[0], texts[1]


def number(value: float | None) -> str:
    """A number in three digits; infinite where there is none."""
    return "∞" if value is None else f"{value:.3g}"


def count(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
