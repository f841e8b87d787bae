"""Initialisation as pure functions of a tensor or a model; each names its paper."""

from lehr.init.every_layer import HOW, drawn_layers, initialise
from lehr.init.fans import Fans, fans, fans_of
from lehr.init.fixup import ScalarBias, ScalarScale, fixup_, zero_last_
from lehr.init.gains import gain, gain_for, gain_of
from lehr.init.gaussian import Moments, expectation, moments_after
from lehr.init.lsuv import LSUVLayer, lsuv
from lehr.init.orthogonal import delta_orthogonal_, orthogonal_
from lehr.init.scaled import (
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    scaled_normal_,
    scaled_uniform_,
    xavier_normal_,
    xavier_uniform_,
)
from lehr.init.selu import ALPHA, SCALE

__all__ = [
    "ALPHA",
    "HOW",
    "SCALE",
    "Fans",
    "LSUVLayer",
    "Moments",
    "ScalarBias",
    "ScalarScale",
    "delta_orthogonal_",
    "drawn_layers",
    "expectation",
    "fans",
    "fans_of",
    "fixup_",
    "gain",
    "gain_for",
    "gain_of",
    "initialise",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lsuv",
    "moments_after",
    "orthogonal_",
    "scaled_normal_",
    "scaled_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zero_last_",
]
