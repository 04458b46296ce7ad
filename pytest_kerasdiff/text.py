"""The report as text for a terminal: a block for a layer at fault, and the summary of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    return lines + [f"note: {note}" for note in report["notes"]]


def layer_block(layer: Layer) -> str:
    """Why a layer fails: where, how much, against which limit, and what to do next."""
    if layer["status"] == "inherited":
        origin = f"inherits from {layer['inherits_from']}" if layer["inherits_from"] else layer["reason"]
        alone = "isolated within the limit" if layer["isolated"] and layer["isolated"]["passes"] else layer["reason"]
        return f"{_title(layer)}\n  {origin}: cumulative {measure(layer['cumulative'])}, {alone}"
    lines = [_title(layer)]
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
    return f"{check['layer']}: {check['check']}: {check['message']}"


def summary(report: Mapping[str, Any]) -> Iterator[str]:
    """The run in a few lines: the verdict, layers at fault first, what they caused folded."""
    counts = report["summary"]
    failing = [layer for layer in report["layers"] if layer["status"] in ("fault", "unpaired")]
    worst = _worst(report["layers"])
    parts = [f"{counts['passed']} of {counts['layers']} layers pass"]
    if counts["faults"]:
        parts.append(f"{count(counts['faults'], 'layer')} at fault")
    if counts["inherited"]:
        parts.append(f"{counts['inherited']} {'inherits' if counts['inherited'] == 1 else 'inherit'}")
    if counts["unpaired"]:
        parts.append(f"{counts['unpaired']} unpaired")
    if counts["declared"]:
        parts.append(f"{counts['declared']} declared")
    if counts["checks"]:
        parts.append(f"{counts['checks'] - counts['checks_failed']} of {counts['checks']} checks pass")
    if counts["checks_off"]:
        parts.append(f"{counts['checks_off']} off")
    yield f"{verdict(report)}: {', '.join(parts)}"
    for layer in failing:
        yield f"  {layer['status']:<9} {_title(layer)}  {_short(layer)}"
        yield from _remedies(layer)
    yield from _checks(report["checks"])
    yield from (
        f"  accuracy  {check['message']}"
        for check in report["checks"]
        if (check["check"], check["status"]) == ("accuracy", "pass")
    )
    if report["throughput"] is not None:
        for entry in report["throughput"]["measured"]:
            yield f"  speed     {speed(entry)}"
    if report["selftest"] is not None:
        yield from _selftest(report)
    repaired = report["repaired"]
    if repaired is not None and (repaired["before"] is None or repaired["before"] != repaired["after"]):
        before, after = (number(repaired[key]) for key in ("before", "after"))
        yield f"  repaired  the model's output with all confirmed causes undone: {before} → {after}"
    if worst is not None:
        name, error = worst
        yield f"  worst passing layer: {name}, {number(error['max_abs'])} of limit {number(error['limit'])}"
    yield from _left_out(report["layers"])
    if report["unused_parameters"]:
        undeclared = [name for name, reason in report["unused_parameters"].items() if not reason]
        if undeclared:
            more = " …" if len(undeclared) > 6 else ""
            yield f"  torch parameters no operation used: {', '.join(undeclared[:6])}{more}"


def verdict(report: Mapping[str, Any]) -> str:
    """Whether the port is equivalent, in words."""
    if report["verdict"] == "pass":
        return "equivalent"
    failed = {check["check"] for check in report["checks"] if check["status"] == "fail"}
    layers = all(layer["status"] in ("pass", "declared") for layer in report["layers"])
    return "equivalent, but too slow" if layers and failed == {"throughput"} else "NOT equivalent"


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


def _remedies(layer: Layer) -> Iterator[str]:
    """What to do about a layer at fault, in a line for each cause."""
    for cause in layer["causes"]:
        state = "confirmed" if cause["confirmed"] else "not tried" if cause["after"] is None else "not confirmed"
        yield f"    {cause['id']}, {state}: {cause['patch'] or cause['text']}"
    if layer["pattern"] and not layer["causes"]:
        yield f"    unexplained: {layer['pattern']}"


def _selftest(report: Mapping[str, Any]) -> Iterator[str]:
    """What became of the seeded faults, in a line for each id of the catalogue; what was not caught, fault by fault."""
    yield from (f"  selftest  {check['message']}" for check in report["checks"] if check["check"] == "selftest")
    faults = report["selftest"]["faults"]
    for one in dict.fromkeys(fault["id"] for fault in faults):
        own = [fault for fault in faults if fault["id"] == one]
        caught, named, confirmed = (sum(fault[key] for fault in own) for key in ("caught", "named", "confirmed"))
        yield f"    {one:<24} {len(own):>3} seeded, {caught} caught, {named} named, {confirmed} confirmed"
    for fault in faults:
        if not fault["caught"]:
            moved = f"moves {number(fault['effect'])} of limit {number(fault['limit'])}"
            yield f"    {fault['status']:<13} {fault['id']} in {fault['layer']}: {fault['words']}; its output {moved}"
    left_out = report["selftest"]["not_seeded"]
    for reason in dict.fromkeys(left_out.values()):
        yield f"    not seeded, {reason}: {', '.join(one for one, own in left_out.items() if own == reason)}"


def _left_out(layers: Sequence[Layer]) -> Iterator[str]:
    """What the probe inputs did not exercise: a fault there would not show in the activations."""
    found = [(layer["name"], words) for layer in layers for words in layer["not_exercised"]]
    if found:
        several = "; ".join(f"{name}: {words}" for name, words in found[:3])
        several_layers = count(sum(bool(layer["not_exercised"]) for layer in layers), "layer")
        yield f"  not exercised by these inputs: {several_layers} ({several}{' …' * (len(found) > 3)})"


def _checks(checks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Checks that fail, then those that warn, then those that are off."""
    for check in checks:
        if check["status"] == "fail":
            yield f"  {check['check']:<9} {check['layer']}: {check['message']}"
    for check in checks:
        if check["status"] == "pass" and check["cause"]:
            yield f"  {'warning':<9} {check['layer']}: {check['check']}: {check['message']}"
    for check in checks:
        if check["status"] == "off":
            yield f"  {'off':<9} {check['check']} of {check['layer']}: {check['message']}"


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Names in a row; of many the first, and how many there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} … ({len(names)} in all)"


def _worst(layers: list[Layer]) -> tuple[str, Mapping[str, Any]] | None:
    def share(error: Mapping[str, Any]) -> float:
        return float(error["max_abs"] / error["limit"]) if error["limit"] else 0.0

    passing = [(la["name"], la["cumulative"]) for la in layers if la["status"] == "pass" and la["torch"] is not None]
    return max(passing, key=lambda item: share(item[1]), default=None)


def _title(layer: Layer) -> str:
    target = layer["torch"] or "no torch operation"
    source = f"  [{layer['source']}]" if layer["source"] else ""
    return f"{layer['name']} ({layer['class']}) → {target}{source}"


def _short(layer: Layer) -> str:
    if layer["isolated"] is None:
        return str(layer["reason"])
    return f"isolated {measure(layer['isolated'])}, limit {number(layer['isolated']['limit'])}"


def measure(error: Mapping[str, Any] | None) -> str:
    """An error against the scale of its layer, or why there is no number."""
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
    """A number in three digits; none stands for one that is not finite."""
    return "∞" if value is None else f"{value:.3g}"


def count(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
