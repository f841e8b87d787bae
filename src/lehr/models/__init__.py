"""Small models to start with, and parts of them."""

from lehr.models.catalog import MODELS, build
from lehr.models.convnet import cnn
from lehr.models.fixup_block import FixupBlock
from lehr.models.general_relu import GeneralReLU
from lehr.models.imported import is_import_path, load
from lehr.models.perceptron import mlp
from lehr.models.pretrained import Pretrained, heads, is_packaged, load_body, pretrained
from lehr.models.resnet import resnet
from lehr.models.running_batch_norm import RunningBatchNorm

__all__ = [
    "MODELS",
    "FixupBlock",
    "GeneralReLU",
    "Pretrained",
    "RunningBatchNorm",
    "build",
    "cnn",
    "heads",
    "is_import_path",
    "is_packaged",
    "load",
    "load_body",
    "mlp",
    "pretrained",
    "resnet",
]
