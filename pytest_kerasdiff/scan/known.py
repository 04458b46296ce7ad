"""Classes and functions of Keras that models are made of, by name: a config may name anything that Python can import.

Source: the public names of Keras 3.15 (``keras.layers`` and the like) and tf_keras 2.21, and ``Operation``'s subclasses
in ``keras.src.ops``. Left out is what runs code, opens files or takes functions; tests/test_scan.py compares.
"""

from __future__ import annotations

# The names stand in texts, which are split: hundreds of quoted ones would be a line each (noqa SIM905).

_LAYERS = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AddLoss AddMetric
    AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D
    AvgPool2D AvgPool3D BatchNormalization BatchNormalizationV1 BatchNormalizationV2 Bidirectional CategoryEncoding
    CenterCrop ClassMethod Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM1DCell ConvLSTM2D ConvLSTM2DCell ConvLSTM3D
    ConvLSTM3DCell ConvLSTMCell Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM CutMix Dense
    DenseFeatures DepthwiseConv1D DepthwiseConv2D DeviceWrapper Discretization Dot Dropout DropoutWrapper
    EinsumDense ELU Embedding Equalization Flatten Functional GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D
    GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupedQueryAttention
    GroupNormalization GroupQueryAttention GRU GRUCell HashedCrossing Hashing Identity InputLayer InstanceMethod
    InstanceProperty IntegerLookup LayerNormalization LayerNormalizationV1 LayerScale LeakyReLU LocallyConnected1D
    LocallyConnected2D LSTM LSTMCell Masking Maximum MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D MelSpectrogram Merge Minimum MixUp Model MultiHeadAttention Multiply Normalization
    Permute Pipeline PReLU RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
    RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomFourierFeatures RandomGaussianBlur
    RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector
    Rescaling Reshape ResidualWrapper Resizing ReversibleEmbedding RMSNormalization RNN SeparableConv1D
    SeparableConv2D SeparableConvolution1D SeparableConvolution2D SequenceFeatures Sequential SimpleRNN
    SimpleRNNCell SlicingOpLambda Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells STFTSpectrogram StochasticDepth StringLookup Subtract
    SyncBatchNormalization TensorFlowOpLayer TextVectorization TFOpLambda ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()  # noqa: SIM905
)
"""Layers of Keras 2 and 3, models among them."""
_OPERATIONS = frozenset(
    """
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool AffineTransform All AllClose Amax Amin Angle Any Append Arange
    Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit
    AveragePool BatchNorm BinaryCrossentropy Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr
    BitwiseRightShift BitwiseXor BroadcastTo Cast CategoricalCrossentropy Cbrt CDist Ceil Celu Cholesky
    CholeskyInverse Clip Conj Conjugate Conv ConvertToTensor ConvTranspose Copy Corrcoef Correlate Cos Cosh
    CountNonzero CropImages Cross CTCDecode CTCLoss Cumprod Cumsum Deg2rad DepthToSpace DepthwiseConv Det Diag
    Diagflat Diagonal Diff Digitize Divide DivideNoNan DotProductAttention Dsplit Dstack Eig Eigh Einsum
    ElasticTransform Elu EmptyLike Equal Erf Erfc Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences
    Fabs FakeQuantWithMinMaxVars FFT FFT2 Flip Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike
    GaussianBlur Gcd Gelu Geomspace GetItem Glu Greater GreaterEqual HardShrink HardSigmoid HardSilu HardTanh
    Heaviside Histogram Hsplit Hstack HSVToRGB Hypot I0 IFFT2 Imag Inner InTopK Inv IRFFT Isclose Isfinite IsIn
    Isinf Isnan Isneginf Isposinf Isreal ISTFT Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less LessEqual Linspace
    Log Log10 Log1p Log2 Logaddexp Logaddexp2 Logdet LogicalAnd LogicalNot LogicalOr LogicalXor LogSigmoid
    LogSoftmax Logspace Logsumexp Lstsq LuFactor MapCoordinates Matmul MatrixRank Max MaxPool Mean Median Meshgrid
    Min Mish Mod Moments Moveaxis MultiHot Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin
    Nanpercentile Nanprod Nanquantile Nanstd Nansum NanToNum Nanvar Ndim Negative Nextafter Nonzero Norm Normalize
    NotEqual OneHot OnesLike Outer Pad PadImages Percentile PerspectiveTransform Pinv Polar Power Prod PSNR Ptp Qr
    Quantile Rad2deg Ravel Real Rearrange Reciprocal Relu Relu6 Repeat Resize RFFT RGBToGrayscale RGBToHSV
    RightShift RMSNorm Roll Rot90 Round Rsqrt SaturateCast ScaleAndTranslate Scatter ScatterUpdate SearchSorted
    SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum Select Selu SeparableConv Sigmoid Sign Signbit
    Silu Sin Sinc Sinh Size Slice SliceUpdate Slogdet SobelEdges Softplus SoftShrink Softsign Solve SolveTriangular
    Sort SpaceToDepth SparseCategoricalCrossentropy Sparsemax SparsePlus SparseSigmoid Split Sqrt Square Squareplus
    Squeeze SSIM Stack Std STFT StopGradient Sum SVD Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink Tensordot
    Threshold Tile TopK Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold Unique UnravelIndex Unstack
    Vander Var Vdot View ViewAsComplex ViewAsReal Vsplit Vstack Where ZerosLike
    """.split()  # noqa: SIM905
)
"""What Keras 3 writes for a function that was called between layers, where no layer has the name."""
_PARTS = frozenset(
    """
    AbsMaxQuantizer AWQConfig AWQDTypePolicy Constant constant DTypePolicy DTypePolicyMap Float8QuantizationConfig
    FloatDTypePolicy glorot_normal glorot_uniform GlorotNormal GlorotUniform GPTQConfig GPTQDTypePolicy he_normal
    he_uniform HeNormal HeUniform Identity identity IdentityInitializer Int4DTypePolicy Int4QuantizationConfig
    Int8QuantizationConfig l1 L1 l1_l2 L1L2 l2 L2 lecun_normal lecun_uniform LecunNormal LecunUniform max_norm
    MaxNorm min_max_norm MinMaxNorm non_neg NonNeg Ones ones orthogonal Orthogonal orthogonal_regularizer
    OrthogonalInitializer OrthogonalRegularizer Policy PolicyV1 QuantizedDTypePolicy QuantizedFloat8DTypePolicy
    radial_constraint RadialConstraint random_normal random_uniform RandomNormal RandomUniform STFT stft
    STFTInitializer truncated_normal TruncatedNormal unit_norm UnitNorm variance_scaling VarianceScaling zeros Zeros
    """.split()  # noqa: SIM905
)
"""Initialisers, regularisers, constraints, policies of dtypes and of quantisation."""
_COLUMNS = frozenset(
    """
    BucketizedColumn CrossedColumn EmbeddingColumn HashedCategoricalColumn IdentityCategoricalColumn IndicatorColumn
    NumericColumn SequenceCategoricalColumn SequenceNumericColumn SharedEmbeddingColumn
    VocabularyListCategoricalColumn WeightedCategoricalColumn
    """.split()  # noqa: SIM905
)
"""Columns of features, which DenseFeatures of Keras 2 takes."""
_VALUES = frozenset(
    {
        "TensorShape", "TypeSpec", "__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__",
        "__tensor__", "__tuple__", "__typespec__",
    }
)  # fmt: skip
"""Values that JSON has no form for."""
_FUNCTIONS = frozenset(
    """
    abs absolute adaptive_average_pool adaptive_max_pool add all allclose amax amin angle any append arange arccos
    arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argpartition argsort array array_split average
    average_pool bartlett batch_normalization binary_crossentropy bincount bitwise_and bitwise_invert
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman broadcast_to cast
    categorical_crossentropy cbrt cdist ceil celu cholesky cholesky_inverse clip concatenate conj conjugate conv
    conv_transpose convert_to_tensor copy corrcoef correlate cos cosh count_nonzero cross ctc_decode ctc_loss
    cumprod cumsum deg2rad depth_to_space depthwise_conv det diag diagflat diagonal diff digitize divide
    divide_no_nan dot dot_product_attention dsplit dstack dtype eig eigh einsum elu empty empty_like equal erf erfc
    erfinv exp exp2 expand_dims expm1 exponential extract_sequences eye fabs fft fft2 flip fliplr flipud floor
    floor_divide fmax fmin fmod fold full full_like gcd gelu geomspace get_item glu greater greater_equal hamming
    hanning hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh heaviside histogram hsplit hstack hypot i0
    identity ifft2 imag in_top_k inner inv irfft isclose isfinite isin isinf isnan isneginf isposinf isreal istft
    kaiser kron layer_normalization lcm ldexp leaky_relu left_shift less less_equal linear linspace log log10 log1p
    log2 log_sigmoid log_softmax logaddexp logaddexp2 logdet logical_and logical_not logical_or logical_xor logspace
    logsumexp lstsq lu_factor matmul matrix_rank max max_pool maximum mean median meshgrid min minimum mish mod
    moments moveaxis multi_hot multiply nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian
    nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar ndim negative nextafter nonzero norm normalize
    not_equal one_hot ones ones_like outer pad percentile pinv polar power prod psnr ptp qr quantile rad2deg ravel
    real rearrange reciprocal relu relu6 repeat reshape rfft right_shift rms_normalization roll rot90 round rsqrt
    saturate_cast scatter scatter_update searchsorted segment_max segment_min segment_prod segment_sum select selu
    separable_conv shape sigmoid sign signbit silu sin sinc sinh size slice slice_update slogdet soft_shrink softmax
    softplus softsign solve solve_triangular sort space_to_depth sparse_categorical_crossentropy sparse_plus
    sparse_sigmoid sparsemax split sqrt square squareplus squeeze stack std stft stop_gradient subtract sum svd
    swapaxes swish take take_along_axis tan tanh tanh_shrink tensordot threshold tile top_k trace transpose
    trapezoid tri tril triu true_divide trunc unfold unique unravel_index unstack vander var vdot view
    view_as_complex view_as_real vsplit vstack where zeros zeros_like
    """.split()  # noqa: SIM905
)
"""Functions of ``keras.activations`` and ``keras.ops``."""


def is_class(name: str) -> bool:
    """Whether an object of this class, by its name with or without Keras as its package, does no more than compute."""
    package, _, own = name.rpartition(">")
    return package.lower() in ("", "keras") and any(own in n for n in (_LAYERS, _OPERATIONS, _PARTS, _COLUMNS, _VALUES))


def is_function(name: str) -> bool:
    """Whether a function of Keras by its name, such as an activation, does no more than compute."""
    return name in _FUNCTIONS
