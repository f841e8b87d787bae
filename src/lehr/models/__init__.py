"""Small models to start with."""

from lehr.models.catalog import MODELS, build
from lehr.models.convnet import cnn
from lehr.models.imported import is_import_path, load
from lehr.models.perceptron import mlp
from lehr.models.resnet import resnet

__all__ = ["MODELS", "build", "cnn", "is_import_path", "load", "mlp", "resnet"]
