"""The ids of the catalogue of porting faults, each with the kind of model that it is made in."""

_IDS = {
    "image": "conv-kernel-layout conv-kernel-flipped depthwise-layout same-padding padding-mode zero-padding-layer "
    "stride dilation groups pool-padding pool-kind pool-size transposed-conv upsampling cropping permute reshape "
    "input-layout input-resize",
    "sequence": "lstm-gate-order lstm-bias-doubled gru-gate-order gru-reset-after bidirectional-order mha-layout "
    "embedding-row causal-padding masking rnn-direction rnn-return recurrent-activation attention",
    "dense": "dense-transposed flatten-order",
    "any": "weights-not-loaded weights-swapped weights-of-other-layer weights-rounded weights-differ bias-missing "
    "bn-stats-not-loaded bn-slots-exchanged bn-scale-center concat-order missing-layer extra-layer layer-order eps "
    "train-mode activation-kind activation-slope softmax rescaling merge-mode input-scale input-channels",
    "model": "bn-momentum frozen tf32 float16 autocast nondeterministic stale-reference",
}
PLACES: dict[str, str] = {name: place for place, names in _IDS.items() for name in names.split()}
"""image, sequence, dense, any of them, or the model as a whole."""
