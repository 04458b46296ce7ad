"""What each torch operation is, in the words of ``graph.Node``."""

from __future__ import annotations

from typing import Any

from pytest_kerasdiff.align import stated
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.trace import CandidateTrace, Operation, Value

_KINDS: dict[str, tuple[str, str]] = {}


def _table(kind: str, names: str, variant: str | None = None) -> None:
    for name in names.split():
        _KINDS[name] = (kind, name if variant is None else variant)


_table("conv", "conv1d conv2d conv3d convolution _convolution convolution_overrideable mkldnn_convolution", "")
_table("conv", "conv_transpose1d conv_transpose2d conv_transpose3d", "transpose")
_table("linear", "linear addmm addmv baddbmm addbmm", "")
_table(
    "norm",
    "batch_norm native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm instance_norm layer_norm "
    "native_layer_norm group_norm native_group_norm rms_norm _batch_norm_impl_index",
    "",
)
_table(
    "act",
    "relu leaky_relu prelu elu selu celu gelu silu mish softplus sigmoid tanh softmax log_softmax exp erf abs sqrt "
    "rsqrt log neg reciprocal square pow threshold rrelu softsign sin cos expm1 exp2 log1p log2 log10 sinh cosh "
    "tan asin acos atan asinh acosh atanh erfc erfinv logit expit special_expit float_power sign sgn heaviside round "
    "trunc floor ceil frac nan_to_num glu logaddexp xlogy addcdiv hypot atan2 where masked_fill gt ge lt le eq ne "
    "logical_not logical_and logical_or bitwise_not bitwise_and bitwise_or",
)
_table("act", "softshrink", "soft_shrink")
_table("act", "bucketize searchsorted", "discretize")
_table("act", "hardshrink", "hard_shrink")
_table("act", "triu tril")
_table("act", "hardtanh clamp clamp_min clamp_max relu6 clip", "relu")
_table("act", "hardsigmoid", "hard_sigmoid")
_table("act", "hardswish", "hard_silu")
_table("act", "_softmax special_softmax", "softmax")
_table("act", "_log_softmax", "log_softmax")
_table("act", "log_sigmoid log_sigmoid_forward", "log_sigmoid")
_table("act", "_prelu_kernel", "prelu")
_table(
    "pool",
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool1d_with_indices max_pool3d_with_indices",
    "max",
)
_table("pool", "avg_pool1d avg_pool2d avg_pool3d", "avg")
_table(
    "pool",
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d mean "
    "sum nanmean",
    "avg_global",
)
_table("pool", "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax max_reduce", "max_global")
_table("matmul", "cosine_similarity", "")
_table("pool", "linalg_vector_norm norm var std var_mean std_mean logsumexp prod amin", "other_global")
_table(
    "pad",
    "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
    "replication_pad3d _pad_circular",
    "",
)
_table(
    "upsample",
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d "
    "upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa repeat_interleave",
    "",
)
_table(
    "move",
    "view reshape _unsafe_view view_as reshape_as flatten unflatten squeeze unsqueeze permute transpose t numpy_T "
    "mT movedim moveaxis swapaxes swapdims expand expand_as unbind split split_with_sizes chunk tensor_split select "
    "contiguous pixel_shuffle pixel_unshuffle channel_shuffle ravel as_strided repeat tile flip roll rot90 "
    "unfold adjoint numpy_H matrix_H unsafe_chunk unsafe_split narrow slice index_select take_along_dim gather",
)
_table("concat", "stack")
_table("concat", "cat concat concatenate hstack vstack dstack column_stack block_diag", "")
_table("rnn", "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", "")
_table(
    "attention",
    "scaled_dot_product_attention _native_multi_head_attention _scaled_dot_product_flash_attention_for_cpu",
    "",
)
_table("embedding", "embedding embedding_bag one_hot", "")
_table(
    "identity",
    "dropout dropout1d feature_dropout alpha_dropout feature_alpha_dropout native_dropout alias clone detach "
    "to _to_copy lift_fresh type_as float double copy identity resolve_conj resolve_neg",
    "",
)

_TWO_SIDED = {
    "add": "add",
    "sub": "sub",
    "subtract": "sub",
    "rsub": "sub",
    "mul": "mul",
    "multiply": "mul",
    "div": "div",
    "divide": "div",
    "true_divide": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "max": "maximum",
    "min": "minimum",
    "addcmul": "add",
    "lerp": "add",
}
_PRODUCTS = frozenset({"matmul", "mm", "bmm", "mv", "dot", "einsum", "tensordot"})
FACTORS = {
    "linear": ("input", "weight"),
    "addmm": ("mat1", "mat2"),
    "addmv": ("mat", "vec"),
    "baddbmm": ("batch1", "batch2"),
    "addbmm": ("batch1", "batch2"),
    "scaled_dot_product_attention": ("query", "key", "value"),
}
"""Products whose arguments are not all factors: the names of those that are."""

ELEMENTWISE = frozenset({"act", "affine", "add", "sub", "mul", "div", "maximum", "minimum", "identity"})
"""Kinds whose result has the axes of their operands."""


def torch_graph(trace: CandidateTrace) -> Graph:
    """The torch program as a graph over its values."""
    nodes = []
    for i, operation in enumerate(trace.operations):
        found, variant = kind(operation)
        says = stated.of_operation(operation, found, variant, trace)
        nodes.append(Node(found, variant, operation.inputs, i, operation.outputs, says))
    return Graph(nodes, trace.inputs, [o for o in trace.outputs if o is not None])


def kind(operation: Operation) -> tuple[str, str]:
    """(kind, variant) of an operation; the operands count: adding a constant is "affine", adding a value is "add"."""
    op, arguments = operation.op, operation.arguments
    several = len(operation.inputs) > 1
    if op == "overlay":  # a part of a buffer was written: padding, or joining where the buffer held values before
        return ("concat", "") if several else ("pad", "")
    if op in ("max", "min") and not several and "other" not in arguments:
        return "pool", f"{op}_global" if op == "max" else "min_global"
    if op in _TWO_SIDED:
        joined = _TWO_SIDED[op]
        if several:
            return joined, ""
        clips = joined in ("maximum", "minimum")  # with a number
        return ("act", "relu") if clips else ("affine", {"sub": "add", "div": "mul"}.get(joined, joined))
    if op in _PRODUCTS:
        return ("matmul", "") if several else ("linear", "")
    if op in FACTORS and all(isinstance(arguments.get(name), Value) for name in FACTORS[op]):
        return ("matmul", "") if _KINDS[op][0] == "linear" else _KINDS[op]
    if op.startswith(("conv",)) and arguments.get("transposed"):
        return "conv", "transpose"
    if op in ("cat", "concat", "concatenate") and len(operation.inputs) == 1 and operation.constants:
        return "pad", ""  # joined with a constant, which are the zeros of a border
    if op in _KINDS:
        found = _KINDS[op]
        if found == ("conv", "") and (_groups(arguments) or 1) > 1:
            return "conv", "depthwise"
        if found[0] == "pad" and all(isinstance(n, int) and n <= 0 for n in arguments.get("pad") or [1]):
            return "move", "crop"  # a negative padding
        return found
    return "opaque", op


def _groups(arguments: Any) -> int | None:
    groups = arguments.get("groups")
    return groups if isinstance(groups, int) else None
