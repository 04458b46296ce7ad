"""The worked example: MLCommons Tiny's ResNet8, trained in Keras and rewritten by hand in PyTorch.

`model.train` trains the Keras model and writes ``resnet8.h5``, `model.convert` brings its weights to torch,
`model.resnet8` is the port. Only `model.train` imports Keras. Nothing is imported here, so that
``python -m model.convert`` and ``python -m model.train`` import each module once.
"""
