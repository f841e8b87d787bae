"""Small models to start with."""

from lehr.models.catalog import MODELS, build
from lehr.models.convnet import cnn
from lehr.models.perceptron import mlp

__all__ = ["MODELS", "build", "cnn", "mlp"]
