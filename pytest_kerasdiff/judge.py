"""Judge every layer: run it alone, look at it in the whole, and say which layers are at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np

from pytest_kerasdiff import compact, regions, verdict
from pytest_kerasdiff.align import padding
from pytest_kerasdiff.align.alignment import Alignment, outputs_in_order
from pytest_kerasdiff.align.axes import Axes, AxesError, rearrange, without_units
from pytest_kerasdiff.align.layouts import Layouts
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.feeding import Layout
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.regroup import Regrouping
from pytest_kerasdiff.trace import Array, Candidate, Layer, ReferenceTrace, ReplayError
from pytest_kerasdiff.verdict import Error

SAME_INPUT = 1e-10
"""Relative difference of a layer's inputs below which its cumulative error is its isolated error."""
_SAME_RUN = 1e-7
"""Tolerance between two runs of the port: far above float64's rounding, far below what a random operation does."""
_NEVER_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "softmax", "softplus", "hard_sigmoid", "exp"})


@dataclasses.dataclass(slots=True)
class LayerVerdict:
    """What is known of one layer.

    Attributes:
        status: "pass", "fault", "inherited", "unpaired" or "declared".
        reason: Why, where the status alone does not say.
        isolated: Error of the layer alone on Keras's inputs.
        cumulative: Error in the ordinary forward pass.
        isolated_is_cumulative: The layer's inputs equal Keras's, so that it was not run again.
        inherits_from: Name of the layer at fault whose error this one carries on.
    """

    status: str = "unpaired"
    reason: str = ""
    isolated: Error | None = None
    cumulative: Error | None = None
    isolated_is_cumulative: bool = False
    inherits_from: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the layer's activations alone are over their limit."""
        return self.isolated is not None and not self.isolated.passes


class Judge:
    """Runs and compares; ``verdicts`` is the result."""

    def __init__(
        self,
        reference: ReferenceTrace,
        candidate: Candidate,
        alignment: Alignment,
        input_axes: Mapping[int, Axes],
        manifest: Manifest,
        tol: float,
        precision: str,
        layouts_used: Mapping[str, Layout],
        notes: Sequence[str] = (),
    ) -> None:
        """Know both sides; nothing is run yet."""
        self._reference, self.candidate, self.alignment = reference, candidate, alignment
        self.layouts_used, self.notes = dict(layouts_used), list(notes)
        self._manifest, self._tol, self.precision = manifest, tol, precision
        self.layer_of = {v: i for i, layer in enumerate(reference.layers) for v in layer.outputs}
        self._input_axes = dict(input_axes)
        self.layouts = Layouts(reference, candidate, self._input_axes, alignment.pairs)
        self._float32_from = self._rounded_layers()
        self._unread = padding.unread(reference)
        self.verdicts: list[LayerVerdict] = []
        self._regrouping = Regrouping(self, reference)
        self._nearest: dict[int, tuple[int, str]] = {}
        """Positions of layers behind one at fault → how many layers it is away, and its name."""
        self._unsteady: dict[int, str] = {}
        """Outputs of the port that its operations do not give again → how they differ."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The Keras layers."""
        return self._reference.layers

    def run(self) -> list[LayerVerdict]:
        """Judge all layers; where a layer is at fault, look whether another value of the port is its output.

        A pair found that way is a claim about the program that the values confirm on every element; it can make no
        wrong port pass, because the model's output stays paired with the model's output.
        """
        self._judge()
        stated = self._stated()
        for _ in range(4):
            if not self._regrouping.repair():
                break
            self.judge_again()
        self.notes += [
            f"[layers] {name}: what is named there is not this layer; compared with what is"
            for name, value in stated.items()
            if self._stated().get(name) != value
        ]
        return self.verdicts

    def _stated(self) -> dict[str, int | None]:
        """Torch value of each layer whose partner the manifest names, by the layer's name."""
        return {
            layer.name: self.alignment.pairs.get(layer.outputs[0])
            for position, layer in enumerate(self._reference.layers)
            if self.alignment.methods.get(position) == "manifest"
        }

    def finish(self) -> None:
        """Join what a right port computes in another way; after everything else is settled.

        Raises:
            RunError: Whether it does so, a compact reference does not tell.
        """
        doubtful = [i for i, v in enumerate(self.verdicts) if v.status not in ("pass", "declared")]
        if doubtful and self.outputs_are_right():
            if self._reference.sketches:
                raise RunError(
                    f"the port's outputs are Keras's, and {self.layers[doubtful[0]].name} is not found in it: whether "
                    "it is computed in another way, a compact reference does not tell; record it without "
                    "--kerasdiff-compact"
                )
            regions.join(self, self._reference)

    def judge_again(self) -> None:
        """Judge all layers by the alignment as it is now."""
        axes = self.layouts.keras
        self.layouts = Layouts(self._reference, self.candidate, self._input_axes, self.alignment.pairs, axes)
        self._judge()

    def has_another_size(self, position: int) -> bool:
        """Whether the value of a layer has Keras's rank, batch and channels, and another size: wrong geometry."""
        value = self._reference.layers[position].outputs[0]
        have, want = self.candidate.trace.shapes.get(self.alignment.pairs.get(value, -1)), self._reference.shapes[value]
        if have is None or len(have) != len(want) or have[:1] != want[:1]:
            return False
        return want[-1] in (have[1:2] + have[-1:]) and bool(np.prod(have) != np.prod(want))

    def picks(self, position: int) -> bool:
        """Whether a layer gives the greatest or least of several values: it hides what is wrong with the others."""
        nodes = self.alignment.keras.of_owner.get(position, ())
        return any(n.kind in ("maximum", "minimum") or (n.kind == "pool" and "max" in n.variant) for n in nodes)

    def compute_with(self, position: int, partner: int) -> None:
        """Note that a layer has no value of its own in the port: another layer's operations do its work too."""
        value = self._reference.layers[position].outputs[0]
        with_it = [p for p, other in self.alignment.computed_with.items() if other == position]
        self.alignment.computed_with |= dict.fromkeys((*with_it, position), partner)
        self.alignment.passes_on.pop(value, None)
        self.alignment.pairs.pop(value, None)

    # -- errors ------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        cumulative = self._cumulative()
        self.verdicts = [LayerVerdict() for _ in self._reference.layers]
        for position, layer in enumerate(self._reference.layers):
            self.verdicts[position].cumulative = cumulative.get(layer.outputs[0])
        for position in range(len(self._reference.layers)):
            self._judge_alone(position)
        for position, layer in enumerate(self._reference.layers):
            for value in layer.outputs[1:]:
                self._judge_further(position, value, cumulative.get(value))
        self._nearest.clear()
        for position in range(len(self._reference.layers)):
            self._look_back(position)
            self._conclude(position)
        for keras_value, torch_value in self.outputs():
            self._judge_output(keras_value, torch_value)

    def outputs(self) -> list[tuple[int, int | None]]:
        """The model's outputs, and what the port gives for them."""
        given = outputs_in_order(self._reference, self.candidate.trace)
        return list(zip(self._reference.outputs, given, strict=False))

    @property
    def faults(self) -> int:
        """Number of layers that are at fault or have no partner."""
        return sum(result.status in ("fault", "unpaired") for result in self.verdicts)

    def is_called_so(self, position: int) -> bool:
        """Whether the module that holds a layer's weights has the layer's name."""
        main, name = self.alignment.main.get(position), self.layers[position].name
        module = self.candidate.trace.operations[main].module if main is not None else ""
        return name in module.replace("_", ".").split(".") or name == module

    def outputs_are_right(self) -> bool:
        """Whether all that the port returns is exactly Keras's, and the same twice."""
        return all(
            v not in self._unsteady and regions.is_exact(self._output_error(u, v), self._reference.values[u])
            for u, v in self.outputs()
        )

    def _output_error(self, keras_value: int, torch_value: int | None) -> Error:
        """Error of what the port itself gave, in Keras's layout or with channels first."""
        if torch_value is None:
            return verdict.failed("this output of the port does not depend on its input")
        return self.error_of_output(keras_value, self.candidate.recorded[torch_value])

    def error_of_output(self, keras_value: int, given: Array) -> Error:
        """Error of an array that a port gives as an output of the model."""
        error = self._measure(keras_value, given)
        if given.ndim > 3 or (given.ndim == 3 and (0, 2, 1) in {la.permutation for la in self.layouts_used.values()}):
            error = min(error, self._measure(keras_value, np.moveaxis(given, 1, -1)), key=_seriousness)
        return error

    def error_of_passing_on(self, source: int, keras_value: int) -> Error:
        """Error of one Keras value in the place of another, element by element and not by the names of its axes."""
        return self._measure(keras_value, self._reference.values[source])

    def _judge_output(self, keras_value: int, torch_value: int | None) -> None:
        """Compare what the port itself gave with the model's output, whatever was found for the layer that gives it."""
        position = self.layer_of[keras_value]
        result = self.verdicts[position]
        if keras_value in self.alignment.elsewhere:
            return  # the layer's own output is judged, and the check of the outputs says where it is
        error = self._output_error(keras_value, torch_value)
        if not error.passes and result.status in ("pass", "declared"):
            result.status, result.isolated, result.cumulative = "fault", error, error
            result.reason = "what the port returns is not this output of the Keras model"

    def _rule(self, position: int) -> str:
        return "float32" if self.precision == "float32" or position in self._float32_from else "float64"

    def _measure(self, keras_value: int, array: Array, samples: slice = slice(None)) -> Error:
        """Error of an array in Keras's layout, by the tolerance and the rule of the layer that gives the value."""
        position = self.layer_of[keras_value]
        own = self._manifest.tolerances.get(self._reference.layers[position].name)
        tol = own.tol if own else self._tol
        values, mask = self._reference.values, self._unread.get(keras_value)
        if isinstance(values, compact.Values) and keras_value not in values:
            return values.compare(keras_value, array, tol, self._rule(position))
        expected = values[keras_value]
        if mask is not None and array.shape == expected.shape:
            array = np.where(mask.reshape(*mask.shape, *[1] * (array.ndim - 2)), array, expected)
        glance = self._reference.glance(keras_value, expected)
        scale = glance.largest if glance.is_finite else None
        if samples != slice(None):
            array, expected, scale = array[samples], expected[samples], None
        return verdict.compare(array, expected, tol, self._rule(position), scale)

    def _scale(self, keras_value: int) -> float:
        glance = self._reference.glance(keras_value)
        return glance.largest if glance.is_finite else verdict.scale_of(self._reference.values[keras_value])

    def _compare(self, keras_value: int, torch_value: int, array: Array) -> Error:
        """Error of an array of the port."""
        try:
            if keras_value in self._reference.outputs and not self._output_order_fits(keras_value, torch_value):
                raise AxesError("the output's axes stand in another order")
            return self._measure(keras_value, self.layouts.to_keras(array, torch_value, keras_value))
        except (AxesError, ValueError):
            return self._measure(keras_value, array)

    def _output_order_fits(self, keras_value: int, torch_value: int) -> bool:
        """Whether the model's output has Keras's order of axes, or channels first; what uses it expects no other."""
        want, have = self.layouts.keras[keras_value], self.layouts.resolved(torch_value)
        moved = (want[0], want[-1], *want[1:-1]) if len(want) > 2 else want
        fitting = [_order(without_units(axes, have)) for axes in (want, moved)]
        return _order(without_units(have, want)) in fitting or len(have) != len(want)

    def _cumulative(self) -> dict[int, Error]:
        """Errors in the ordinary forward pass, compared one value at a time as the program runs."""
        wanted: dict[int, list[int]] = {}
        for keras_value, position in self.layer_of.items():
            value = self.alignment.torch_value(keras_value)
            if value is not None and position not in self.alignment.computed_with:
                wanted.setdefault(value, []).append(keras_value)
        errors: dict[int, Error] = {}

        def visit(torch_value: int, array: Array) -> None:
            if torch_value in self.candidate.recorded:
                self._compare_runs(torch_value, array)
            for keras_value in wanted[torch_value]:
                errors[keras_value] = self._compare(keras_value, torch_value, array)

        self.candidate.stream(wanted, visit)
        return errors

    def _compare_runs(self, torch_value: int, again: Array) -> None:
        """Note whether the recorded operations, run again, give what the user's code gave."""
        first = self.candidate.recorded[torch_value]
        error = verdict.compare(again, first, _SAME_RUN, "float32" if self.precision == "float32" else "float64")
        if not error.passes:
            much = error.reason or f"{error.max_abs:.3g} of scale {error.scale:.3g}"
            self._unsteady[torch_value] = (
                f"two runs of the port on the same input differ by {much}: dropout or another random or stateful "
                "operation is active; call .eval()"
            )

    def _judge_alone(self, position: int) -> None:
        layer, result = self._reference.layers[position], self.verdicts[position]
        value = layer.outputs[0]
        if position in self.alignment.computed_with:
            return
        torch_value = self.alignment.torch_value(value)
        if torch_value is None or not layer.inputs:
            result.isolated = result.cumulative
            return
        if value in self.alignment.passes_on:
            self._judge_empty(position)
            return
        if result.cumulative is not None and result.cumulative.passes and self._inputs_are_keras(layer.inputs):
            result.isolated, result.isolated_is_cumulative = result.cumulative, True
            self._miss_activation(position)
            return
        result.isolated = self.alone(position, torch_value)
        self._miss_activation(position)

    def _judge_further(self, position: int, keras_value: int, cumulative: Error | None) -> None:
        """Judge a further output of a layer (a state, a half); the layer's errors are those of its worst output."""
        result, torch_value = self.verdicts[position], self.alignment.torch_value(keras_value)
        if position in self.alignment.computed_with or result.isolated is None or result.cumulative is None:
            return
        if torch_value is None or cumulative is None:
            result.isolated = result.cumulative = None
            result.reason = "no torch value was found for one of its outputs"
            return
        isolated = self.alone(position, torch_value, value=keras_value)
        result.isolated = max(result.isolated, isolated, key=_worse)
        result.cumulative = max(result.cumulative, cumulative, key=_worse)

    def _miss_activation(self, position: int) -> None:
        """A layer whose activation has no torch operation is at fault even where these inputs do not show it."""
        result = self.verdicts[position]
        last = self.alignment.keras.node(self._reference.layers[position].outputs[0])
        missing = position in self.alignment.partial and last is not None and last.kind == "act"
        if missing and result.isolated is not None and result.isolated.passes:
            result.isolated = dataclasses.replace(result.isolated, reason=verdict.NOT_SHOWN)
            result.reason = "no torch operation for this layer's activation"

    def _inputs_are_keras(self, values: Iterable[int]) -> bool:
        """Whether the port computed a layer's inputs as Keras did, to far below the tolerance."""
        for value in values:
            position = self.layer_of[value]
            error = self.verdicts[position].cumulative
            if (
                error is None
                or value in self.alignment.passes_on
                or error.reason
                or error.max_abs > SAME_INPUT * error.scale
            ):
                return False
        return True

    def alone(
        self, position: int, torch_value: int, ignoring: frozenset[int] = frozenset(), value: int | None = None
    ) -> Error:
        """Error of a layer's operations on Keras's inputs.

        Args:
            position: The layer.
            torch_value: The torch value to judge as its output.
            ignoring: Positions of layers whose values are computed by the port, not taken from Keras.
            value: Which output of the layer it is; the first where nothing is said.
        """
        value = self._reference.layers[position].outputs[0] if value is None else value
        try:
            array = self.candidate.run([torch_value], self.feed(position, torch_value, ignoring))[torch_value]
        except compact.UnknownError:
            return verdict.failed(compact.NOT_JUDGED, self._scale(value))
        except (AxesError, ReplayError, ValueError) as error:
            scale = self._scale(value)
            return verdict.failed(f"cannot run on Keras's input: {error}", scale)
        return self._compare(value, torch_value, array)

    def feed(
        self, position: int, torch_value: int, ignoring: frozenset[int] = frozenset(), also: Iterable[int] = ()
    ) -> dict[int, Array]:
        """What a layer is run alone on: torch values, with Keras's elements in the port's layout.

        Args:
            position: The layer.
            torch_value: The torch value to judge as its output.
            ignoring: As in ``alone``.
            also: Further torch values, which a change of the program takes; those that Keras has are among the result.

        Raises:
            AxesError: Keras's elements cannot be brought into the port's layout.
        """
        sources = _Sources(self, position, torch_value, ignoring)
        inside = self.alignment.torch.between(sources, torch_value)
        needed = {operand for v in inside if (n := self.alignment.torch.node(v)) for operand in n.operands} - inside
        return {v: self.in_port_layout(sources[v], v) for v in {*needed, *(v for v in also if v in sources)}}

    def read_of(self, keras_value: int) -> Array | None:
        """Which steps of a value anything reads, (batch, steps); None where all of them."""
        return self._unread.get(keras_value)

    def errors_of(self, keras_value: int, torch_value: int, array: Array) -> list[Error]:
        """Error of an array of the port, and of each of its samples: the probe inputs are drawn independently."""
        expected = self._reference.values[keras_value]
        whole = self._compare(keras_value, torch_value, array)
        if whole.reason and not whole.strange:
            return [whole]
        try:
            converted = self.layouts.to_keras(array, torch_value, keras_value)
        except (AxesError, ValueError):
            converted = array
        if converted.shape != expected.shape or converted.ndim < 2 or len(converted) < 2:
            return [whole]
        return [whole, *(self._measure(keras_value, converted, slice(i, i + 1)) for i in range(len(expected)))]

    def inside(self, position: int, torch_value: int, ignoring: frozenset[int]) -> set[int]:
        """Torch values that ``alone`` computes."""
        return self.alignment.torch.between(_Sources(self, position, torch_value, ignoring), torch_value)

    def inputs_of(self, position: int, ignoring: frozenset[int]) -> list[int]:
        """Inputs of a layer, those of the layers computed with it in the place of theirs."""
        found = []
        for value in self._reference.layers[position].inputs:
            at = self.layer_of[value]
            found += self.inputs_of(at, ignoring) if at in self.alignment.computed_with or at in ignoring else [value]
        return found

    def in_port_layout(self, keras_value: int, torch_value: int) -> Array:
        """Keras's array of a value as the port would hold it.

        Raises:
            AxesError: It cannot be brought into the port's layout.
        """
        array, read = self._reference.values[keras_value], self._unread.get(keras_value)
        if read is not None:  # ports leave zeros where no layer reads, or mask by a product
            array = np.where(read.reshape(*read.shape, *[1] * (array.ndim - 2)), array, 0)
        try:
            return self.layouts.to_torch(array, keras_value, torch_value)
        except AxesError:
            passed_on = self.alignment.passes_on.get(keras_value)
            if passed_on is None or len(self._reference.shapes[passed_on]) != array.ndim:
                raise
            # The port has what the layer was given in its place: its axes are those, one by one.
            return rearrange(array, self.layouts.keras[passed_on], self.layouts.resolved(torch_value))

    def _judge_empty(self, position: int) -> None:
        """A layer without a torch operation is judged as identity; if it is none, together with a neighbour."""
        layer, result = self._reference.layers[position], self.verdicts[position]
        source = self.alignment.passes_on[layer.outputs[0]]
        try:
            keras = self.layouts.keras
            array = rearrange(self._reference.values[source], keras[source], keras[layer.outputs[0]])
            result.isolated = self._measure(layer.outputs[0], array)
        except compact.UnknownError:
            result.isolated = verdict.failed(compact.NOT_JUDGED, self._scale(layer.outputs[0]))
            return
        except (AxesError, ValueError):
            result.isolated = verdict.failed(
                f"shape {self._reference.shapes[source]} is passed on unchanged, expected "
                f"{self._reference.shapes[layer.outputs[0]]}"
            )
        if result.isolated.passes:
            result.reason = "no torch operation for this layer: its input passes through unchanged, as it should"
            if self._needs_operation(position):
                result.isolated = dataclasses.replace(result.isolated, reason=verdict.NOT_SHOWN)
                result.reason = "no torch operation for this layer"
            return
        if not (self._regrouping.with_consumer(position) or self._regrouping.with_producer(position)):
            result.reason = "no torch operation for this layer"

    def _needs_operation(self, position: int) -> bool:
        """Whether a layer that changed nothing on these inputs is an activation that would change others."""
        node = self.alignment.keras.node(self._reference.layers[position].outputs[0])
        if node is None or node.kind != "act":
            return False
        plain = node.variant == "relu" and not any(
            self._reference.layers[position].config.get(key) for key in ("max_value", "negative_slope", "threshold")
        )
        value = node.operands[0]
        while plain and (before := self.alignment.keras.node(value)) is not None:
            if before.kind == "act":
                return before.variant not in _NEVER_NEGATIVE
            if before.kind not in ("pool", "move", "identity", "pad", "crop", "upsample"):
                return True
            value = before.operands[0]
        return True

    def one_cumulative(self, position: int) -> Error | None:
        """Error of one layer in the ordinary forward pass, run for it alone."""
        value = self._reference.layers[position].outputs[0]
        torch_value = self.alignment.torch_value(value)
        if torch_value is None:
            return None
        array = self.candidate.run([torch_value], {})[torch_value]
        return self._compare(value, torch_value, array)

    # -- status ------------------------------------------------------------------------------------------------------

    def _conclude(self, position: int) -> None:
        layer, result = self._reference.layers[position], self.verdicts[position]
        if layer.class_name != "InputLayer" and set(layer.outputs) <= self._reference.masks:
            result.status, result.isolated, result.cumulative = "declared", None, None
            result.reason = "a mask: judged in the layers that use it"
            return
        if not layer.inputs and layer.class_name != "InputLayer":
            result.status = "declared"
            result.reason = "does not depend on the model's input: judged in the layers that use it"
            return
        partner = self.alignment.computed_with.get(position)
        if partner is not None:
            other = self._reference.layers[partner].name
            result.status, result.isolated, result.cumulative = "declared", None, None
            result.reason = (
                f"folded: its weights are a part of those compared as {other}"
                if self.alignment.folded.get(position) == partner
                else f"computed together with {other}"
            )
            if layer.name in self._manifest.declared:
                result.reason = self._manifest.declared[layer.name]
            return
        if result.isolated is None or result.cumulative is None:
            result.status = "unpaired"
            result.reason = result.reason or (
                "no torch operation was found for this layer; name it in the manifest: "
                f'[layers] {layer.name} = "module"'
            )
            if layer.name in self._manifest.declared:
                result.status, result.reason = "declared", self._manifest.declared[layer.name]
        elif result.isolated.reason == compact.NOT_JUDGED:
            result.status, result.reason = "inherited", compact.NOT_JUDGED
            result.inherits_from = self._nearest[position][1] if position in self._nearest else None
        elif not result.isolated.passes and (missing := self._missing_before(layer.inputs)) is not None:
            result.status, result.inherits_from = "inherited", missing
            result.reason = f"the port has one value for two inputs of this layer, because it lacks {missing}"
        elif not result.isolated.passes:
            result.status = "fault"
        elif not result.cumulative.passes:
            result.status = "inherited"
            if position in self._nearest:
                result.inherits_from = self._nearest[position][1]
            else:
                result.reason = "no layer before it is at fault alone: differences within the limit add up"
        else:
            result.status = "pass"
            torch_value = self.alignment.torch_value(layer.outputs[0])
            if layer.outputs[0] in self._reference.outputs and torch_value in self._unsteady:
                result.status, result.reason = "fault", self._unsteady[torch_value]
            elif layer.name in self._manifest.tolerances:
                result.reason = f"tolerance of the manifest: {self._manifest.tolerances[layer.name].reason}"

    def _missing_before(self, inputs: Sequence[int]) -> str | None:
        """A layer at fault that the port lacks, so that one torch value stands for two inputs: ``x + f(x)`` is x + x.

        Such a layer cannot be run on Keras's inputs, of which the two differ.
        """
        stands_for = [self.alignment.torch_value(value) for value in inputs]
        for value, torch_value in zip(inputs, stands_for, strict=True):
            at = self.layer_of[value]
            lacking = value in self.alignment.passes_on and self.verdicts[at].status == "fault"
            others = {v for v, t in zip(inputs, stands_for, strict=True) if t == torch_value}
            if lacking and len(others) > 1:
                return self._reference.layers[at].name
        return None

    def _look_back(self, position: int) -> None:
        """Note the nearest layer at fault that one is computed from; those before it are concluded."""
        for value in self._reference.layers[position].inputs:
            at = self.layer_of[value]
            if self.verdicts[at].status == "fault":
                known: tuple[int, str] | None = (0, self._reference.layers[at].name)
            else:
                known = self._nearest.get(at)
            if known is not None and (position not in self._nearest or known[0] + 1 < self._nearest[position][0]):
                self._nearest[position] = known[0] + 1, known[1]

    def _rounded_layers(self) -> set[int]:
        """Layers judged by the float32 rule: those a fold rounds, and all that are computed from them."""
        rounded: set[int] = set()
        for position, layer in enumerate(self._reference.layers):
            if self.alignment.fold(position) or any(self.layer_of[v] in rounded for v in layer.inputs):
                rounded.add(position)
        return rounded


class _Sources(Container[int]):
    """Torch values that are taken from Keras when a layer is run alone, with the Keras values that they are."""

    def __init__(self, judge: Judge, position: int, torch_value: int, ignoring: frozenset[int]) -> None:
        self._judge, self._left_out, self._torch_value = judge, ignoring | {position}, torch_value
        own = {judge.alignment.torch_value(v): v for v in judge.inputs_of(position, ignoring) if self._may_be_taken(v)}
        self._own = {known: v for known, v in own.items() if known is not None}

    def _may_be_taken(self, keras_value: int) -> bool:
        at = self._judge.layer_of.get(keras_value)
        return at is not None and at not in self._left_out

    def __contains__(self, torch_value: object) -> bool:
        return isinstance(torch_value, int) and self._find(torch_value) is not None

    def __getitem__(self, torch_value: int) -> int:
        found = self._find(torch_value)
        if found is None:
            raise KeyError(torch_value)
        return found

    def _find(self, torch_value: int) -> int | None:
        if torch_value == self._torch_value:
            return None
        if torch_value in self._own:  # the layer's own inputs decide
            return self._own[torch_value]
        known = self._judge.alignment.pairs.of_torch.get(torch_value, {})
        return next((v for v in reversed(known) if self._may_be_taken(v)), None)


def _order(axes: Axes) -> list[list[tuple[str, int]]]:
    """The axes one after the other, without sizes, which an earlier fault may have changed."""
    return [[(name, stride) for name, stride, _ in dimension] for dimension in axes if dimension]


def _worse(error: Error) -> tuple[bool, bool, float]:
    return (not error.passes, *_seriousness(error))


def _seriousness(error: Error) -> tuple[bool, float]:
    return bool(error.reason), error.max_abs
