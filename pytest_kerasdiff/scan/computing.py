"""Which of TensorFlow's functions and operations only compute: Keras 2 stores calls of any, of thousands, by name.

Source: functions have the names of ``tf_export`` (tensorflow/python/util/tf_export.py); operations, which Keras of
TensorFlow 2.0 to 2.3 stores, those of tensorflow/core/ops.
"""

from __future__ import annotations

# The names stand in texts, which are split: hundreds of quoted ones would be a line each (noqa SIM905).

_PARTS = frozenset(
    {
        "math",
        "nn",
        "linalg",
        "signal",
        "bitwise",
        "image",
        "sparse",
        "ragged",
        "sets",
        "manip",
        "dtypes",
        "quantization",
        "random",
    }
)
"""Parts of TensorFlow all of whose functions compute, but for those below."""
_NOT_IN_PARTS = ("candidate_sampler", "Generator", "get_global_generator", "set_global_generator", "set_seed")
"""Functions of ``nn`` and ``random`` that may read a vocabulary, or change what others draw."""
_OPERATORS = frozenset({"add", "eq", "ne", "getitem", "ragged_getitem"})
_ACTIVATIONS = frozenset(
    """elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish tanh""".split()  # noqa: SIM905
)
_TOP = frozenset(
    """
    abs acos acosh add add_n angle approx_top_k arg_max arg_min argmax argmin argsort asin asinh atan atan2 atanh
    batch_gather batch_to_space batch_to_space_nd betainc bincount bitcast boolean_mask broadcast_dynamic_shape
    broadcast_static_shape broadcast_to cast ceil cholesky cholesky_solve clip_by_global_norm clip_by_norm clip_by_value
    complex concat conj convert_to_tensor
    cos cosh count_nonzero cross cumprod cumsum depth_to_space diag diag_part digamma div div_no_nan divide
    dynamic_partition dynamic_stitch edit_distance eig eigvals einsum ensure_shape equal erf erfc exp expand_dims expm1
    extract_image_patches extract_volume_patches eye fft fft2d fft3d fill floor floor_div floordiv floormod foldl foldr
    gather gather_nd greater greater_equal guarantee_const histogram_fixed_width histogram_fixed_width_bins identity
    identity_n ifft ifft2d ifft3d igamma igammac imag invert_permutation irfft is_finite is_inf is_nan lbeta less
    less_equal lgamma lin_space linspace log log1p log_sigmoid logical_and logical_not logical_or logical_xor matmul
    matrix_band_part matrix_determinant matrix_diag matrix_diag_part matrix_inverse matrix_set_diag matrix_solve
    matrix_square_root matrix_transpose matrix_triangular_solve maximum meshgrid minimum mod multiply negative norm
    not_equal one_hot ones ones_like pad parallel_stack polygamma pow qr range rank real realdiv reciprocal reduce_all
    reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat
    required_space_to_batch_paddings reshape reverse reverse_sequence reverse_v2 rfft rint roll round rsqrt
    saturate_cast scalar_mul scatter_nd searchsorted segment_max segment_mean segment_min segment_prod segment_sum
    self_adjoint_eig self_adjoint_eigvals sequence_mask setdiff1d shape shape_n sigmoid sign sin sinh size slice sort
    space_to_batch space_to_batch_nd space_to_depth sparse_to_dense split sqrt square squared_difference squeeze stack
    stop_gradient strided_slice subtract svd tan tanh tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min
    tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile to_bfloat16 to_complex128 to_complex64 to_double
    to_float to_int32 to_int64 trace transpose truediv truncatediv truncatemod unique unique_with_counts unravel_index
    unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n
    unsorted_segment_sum unstack where zeros zeros_like zeta
    """.split()  # noqa: SIM905
)
_BACKEND = frozenset(
    """
    abs all any arange argmax argmin batch_dot batch_flatten batch_normalization bias_add binary_crossentropy cast
    cast_to_floatx categorical_crossentropy clip concatenate constant conv1d conv2d conv2d_transpose conv3d cos cumprod
    cumsum depthwise_conv2d dot elu equal exp expand_dims eye flatten gather greater greater_equal hard_sigmoid identity
    in_top_k int_shape l2_normalize less less_equal local_conv1d local_conv2d log max maximum mean min minimum ndim
    not_equal one_hot ones ones_like permute_dimensions pool2d pool3d pow prod relu repeat repeat_elements reshape
    resize_images resize_volumes reverse round separable_conv2d shape sigmoid sign sin softmax softplus softsign
    sparse_categorical_crossentropy spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std stop_gradient
    sum tanh temporal_padding tile to_dense transpose var zeros zeros_like
    """.split()  # noqa: SIM905
)
_OPERATIONS = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustHue AdjustSaturation All Angle Any ArgMax ArgMin Asin Asinh
    Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpace BatchToSpaceND Betainc
    BiasAdd BiasAddV1 Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Cast Ceil Cholesky
    ClipByValue Complex ComplexAbs Concat ConcatV2 Conj ConjugateTranspose Const Conv2D Conv2DBackpropInput Conv3D
    Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross CTCGreedyDecoder Cumprod Cumsum CumulativeLogsumexp
    DenseBincount DepthToSpace DepthwiseConv2dNative Diag DiagPart Digamma Dilation2D Div DivNoNan DynamicPartition
    DynamicStitch EditDistance Einsum Elu Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expm1 ExtractImagePatches
    ExtractVolumePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FFT FFT2D
    FFT3D Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2
    Greater GreaterEqual HistogramFixedWidth HSVToRGB Identity IdentityN IFFT IFFT2D IFFT3D Igamma Igammac Imag Inv
    Invert InvertPermutation InTopK InTopKV2 IRFFT IRFFT2D IRFFT3D IsFinite IsInf IsNan L2Loss LeakyRelu LeftShift Less
    LessEqual Lgamma LinSpace Log Log1p LogicalAnd LogicalNot LogicalOr LogSoftmax LRN MatMul MatrixBandPart
    MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3
    MatrixInverse MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixTriangularSolve Max Maximum MaxPool
    MaxPool3D MaxPoolV2 MaxPoolWithArgmax Mean Min Minimum MirrorPad Mod Mul MulNoNan Ndtri Neg NonMaxSuppression
    NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot OnesLike Pack Pad
    PadV2 ParallelDynamicStitch Polygamma PopulationCount Pow PreventGradient Prod Qr QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 RandomStandardNormal RandomUniform RandomUniformInt Range Rank Real RealDiv Reciprocal Relu
    Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 RFFT
    RFFT2D RFFT3D RGBToHSV RightShift Rint Roll Round Rsqrt ScaleAndTranslate ScatterNd SegmentMax SegmentMean
    SegmentMin SegmentProd SegmentSum Select SelectV2 SelfAdjointEigV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size
    Slice Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth SparseTensorDenseMatMul SparseToDense
    Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Svd Tan Tanh TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv
    TruncateMod TruncatedNormal Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Where Xdivy Xlog1py Xlogy ZerosLike
    Zeta
    """.split()  # noqa: SIM905
)
_CLASSES = frozenset({"Tensor", "RaggedTensor", "SparseTensor", "sparse.SparseTensor"})


def is_function(symbol: str) -> bool:
    """Whether ``math.add`` and the like only computes: it reads and writes no file, loads nothing, runs no code."""
    parts = symbol.removeprefix("compat.v1.").split(".")
    if parts[:2] in (["keras", "activations"], ["keras", "backend"]):
        return len(parts) == 3 and parts[2] in (_ACTIVATIONS if parts[1] == "activations" else _BACKEND)
    if parts[:2] == ["experimental", "numpy"]:
        return len(parts) == 3 and not parts[2].startswith("experimental_")
    if parts[0] == "__operators__":
        return len(parts) == 2 and parts[1] in _OPERATORS
    if len(parts) == 1:
        return parts[0] in _TOP
    return parts == ["debugging", "check_numerics"] or (
        parts[0] in _PARTS and not any(name in parts[-1] for name in _NOT_IN_PARTS)
    )


def is_operation(name: str) -> bool:
    """Whether an operation of a graph, such as ``AddV2``, only computes."""
    return name in _OPERATIONS


def is_method(name: str, symbol: str = "Tensor") -> bool:
    """Whether a method or property of tensors, or of a class of tensors by its symbol, only computes."""
    return symbol.removeprefix("compat.v1.") in _CLASSES and not name.startswith("_")
