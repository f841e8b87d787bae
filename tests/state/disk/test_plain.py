"""Snapshots as structure and tensors: the round trip is exact, and nothing else goes in or out."""

import copy
import json
import math
import struct
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.base import strict_json
from lehr.state.differences import first_difference
from lehr.state.disk import plain, tensor_file

NAN_WITH_BITS = struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.zeros(1, dtype=torch.complex32)  # torch says once that these are experimental
DTYPES = [*plain.DTYPES.values(), *plain._AS_BYTES.values()]


def through_text(value):
    """There and back, by way of bytes, as a checkpoint does it."""
    structure, tensors = plain.flatten(value)
    data = bytearray().join(tensor_file.encode(tensors))
    text = strict_json.dump(structure)
    return plain.unflatten(strict_json.parse(text), tensor_file.decode(data))


def same(a, b) -> bool:
    """As `first_difference`, and types, key types, the bits of floats, strides and order too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        dense = plain._is_dense(list(a.shape), list(a.stride()))
        x, y = (t.clone(memory_format=torch.contiguous_format) for t in (a, b))
        return first_difference(x, y) is None and (not dense or a.stride() == b.stride())
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=False)
        return len(a) == len(b) and all(same(x, y) for x, y in pairs)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return a == b


def random_tensor(dtype: torch.dtype, shape: list[int]) -> torch.Tensor:
    count = math.prod(shape) * dtype.itemsize
    data = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    x = random_tensor(draw(st.sampled_from(DTYPES)), shape)
    x = x.permute(draw(st.permutations(range(len(shape)))))
    if x.numel() <= 1 and draw(st.booleans()):
        x = x.as_strided(x.shape, [7 + i for i in range(x.dim())])
    if shape and draw(st.booleans()):
        x = x[..., ::2]
    return x.expand(2, *x.shape) if draw(st.booleans()) else x


floats = st.floats() | st.sampled_from([NAN_WITH_BITS, -0.0, 5e-324])
ints = st.integers() | st.integers(-(10**30), 10**30)
keys = st.recursive(
    st.text(max_size=4) | ints | st.booleans(), lambda k: st.lists(k, max_size=2).map(tuple)
)
sets = st.sets(keys, max_size=3) | st.frozensets(keys, max_size=3)
leaves = st.none() | st.booleans() | ints | floats | st.text(max_size=6) | tensors()
leaves |= sets | st.sampled_from([torch.float32, torch.int8, torch.complex128])
values = st.recursive(
    leaves,
    lambda v: (
        st.lists(v, max_size=3)
        | st.lists(v, max_size=3).map(tuple)
        | st.dictionaries(keys, v, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "a.b", "b", "tensor", "0"]), v, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_the_round_trip_is_exact(value):
    before = copy.deepcopy(value)
    back = through_text(value)
    assert same(value, back)
    assert same(value, before), "flatten changed what it was given"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({1: 2}, {"1": 2}),
        ({1}, {True}),
        ({1}, frozenset({1})),
        (torch.float32, "float32"),
        (torch.float16, torch.bfloat16),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (float("nan"), NAN_WITH_BITS),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2, 2), torch.zeros(2, 2).T),
        (torch.tensor(0.0), torch.tensor(-0.0)),
    ],
)
def test_the_comparison_of_these_tests_sees_differences(one, other):
    assert not same(one, other)
    assert same(one, one)
    assert same(through_text(one), one)
    assert same(through_text(other), other)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [[], [0], [3], [2, 0, 3], [2, 3]], ids=str)
def test_every_dtype_and_shape(dtype, shape):
    x = random_tensor(dtype, shape)
    assert same(through_text({"x": x}), {"x": x})


def test_strides_of_dense_tensors_are_kept():
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    one_channel = torch.randn(2, 1, 4, 5).to(memory_format=torch.channels_last)
    odd = torch.empty_strided((1, 3), (77, 1)).fill_(1)
    empty = torch.zeros(2, 0, 3).permute(2, 0, 1)
    for x in (image, one_channel, odd, empty, image.to(torch.complex128), torch.randn(3, 2).T):
        assert through_text([x])[0].stride() == x.stride()
        assert same(through_text([x]), [x])


def test_others_become_contiguous():
    for x in (torch.randn(3).expand(2, 3), torch.randn(4, 4)[:, 1:3], torch.randn(9)[::2]):
        (back,) = through_text([x])
        assert back.is_contiguous()
        assert torch.equal(back, x)


def test_views_of_one_memory_and_lazy_bits():
    base = torch.arange(6.0)
    z = torch.randn(3, dtype=torch.complex64)
    value = {"all": base, "part": base[2:4], "again": base, "conj": z.conj(), "neg": z.conj().imag}
    back = through_text(value)
    for name, x in value.items():
        assert torch.equal(x, back[name])
    back["part"].zero_()
    assert torch.equal(back["all"], base)


def test_gradients_are_no_part_of_it():
    x = torch.ones(2, requires_grad=True)
    assert not through_text([x * 2])[0].requires_grad


def test_names_are_paths_and_unique():
    t = torch.tensor
    value = {
        "opt": {"state": {0: {"exp_avg": t(1)}, "0": {"exp_avg": t(2)}}},
        "a": {"b": t(3)},
        "a.b": t(4),
        "l": [t(5), (t(6),)],
        "__metadata__": t(7),
        ("x", 1): t(8),
    }
    _, found = plain.flatten(value)
    assert {name: int(x) for name, x in found.items()} == {
        "opt.state.0.exp_avg": 1,
        "opt.state.0.exp_avg~2": 2,
        "a.b": 3,
        "a.b~2": 4,
        "l.0": 5,
        "l.1.0": 6,
        "__metadata__~2": 7,
        "('x', 1)": 8,
    }
    assert same(through_text(value), value)
    assert list(plain.flatten(t(1))[1]) == ["value"]


def test_common_states_are_readable():
    structure, _ = plain.flatten({"run": {"step": 3, "lr": 0.5, "name": "a", "none": None}})
    inner = {"dict": {"step": 3, "lr": 0.5, "name": "a", "none": None}}
    assert structure == {"dict": {"run": inner}}


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"a\.0 is of type object; a checkpoint holds dense tensors"),
        ({"a": {"b": np.float64(1)}}, r"a\.b is of type numpy\.float64; .* Convert it in state_di"),
        ({"a": np.int64(1)}, r"a is of type numpy\.int64"),
        ({"a": np.zeros(2)}, r"a is of type numpy\.ndarray"),
        ({"a": Text("x")}, r"a is of type .*Text"),
        ({"a": OrderedDict()}, r"a is of type collections\.OrderedDict"),
        ({"a": {1.5}}, r"a has the key 1\.5, of type float; keys of dicts and items of sets"),
        ({"a": b"x"}, r"a is of type bytes"),
        ({"a": 1j}, r"a is of type complex"),
        ({"a": torch.device("cpu")}, r"a is of type torch\.device"),
        ({"a": torch.nn.LazyLinear(1).weight}, r"a has no shape yet: .* before the optimizer is"),
        ({"a": torch.nn.Parameter(torch.zeros(1))}, r"a is of type torch.*Parameter"),
        (object(), r"the value is of type object"),
        ({"a": torch.eye(2).to_sparse()}, r"a is a sparse_coo tensor; .*to_dense"),
        ({"a": torch.zeros(2, device="meta")}, r"a is a meta tensor"),
        ({"a": {1.5: 0}}, r"a has the key 1\.5, of type float; keys of dicts and items of"),
        ({None: 0}, r"the value has the key None, of type NoneType"),
        ({(1, b"x"): 0}, r"the value has the key b'x'"),
    ],
)
def test_what_cannot_go_in_is_named(value, message):
    with pytest.raises(TypeError, match=message):
        plain.flatten(value)


def test_the_same_set_is_the_same_text():
    words = [str(n) for n in range(50)]
    texts = {strict_json.dump(plain.flatten(set(order))[0]) for order in (words, words[::-1])}
    assert len(texts) == 1


def test_quantized_tensors_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are on their way out
        quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match="a is a qint8 tensor"):
        plain.flatten({"a": quantized})


def test_a_dtype_without_a_name_is_refused():
    with pytest.raises(TypeError, match=r"a is a tensor of dtype torch\.bits8, which no checkp"):
        plain.flatten({"a": torch.zeros(2, dtype=torch.uint8).view(torch.bits8)})


def nested(value, depth):
    for _ in range(depth):
        value = [value]
    return value


def nested_key(depth):
    key = ()
    for _ in range(depth):
        key = (key,)
    return key


def test_depth_has_a_limit_which_is_an_error_and_no_crash():
    deepest = nested(1, plain.DEPTH)
    assert through_text(deepest) == deepest
    loop = []
    loop.append(loop)
    for value in (nested(1, plain.DEPTH + 1), nested({"a": 1}, 5000), loop):
        with pytest.raises(ValueError, match="is nested more than 100 deep"):
            plain.flatten(value)
    with pytest.raises(ValueError, match="a key in a is nested more than 100 deep"):
        plain.flatten({"a": {nested_key(5000): 1}})
    with pytest.raises(ValueError, match="the structure is nested more than 100 deep"):
        plain.unflatten(nested(1, 5000), {})
    deep = 1
    for _ in range(5000):
        deep = {"tuple": [deep]}
    with pytest.raises(ValueError, match="the structure is nested more than 100 deep"):
        plain.unflatten(deep, {})
    with pytest.raises(ValueError, match="nested"):
        plain.unflatten({"items": [[deep, 1]]}, {})
    with pytest.raises(ValueError, match="means nothing"):
        plain.unflatten({"nonsense": deep}, {})


EIGHT = {"x": torch.zeros(8, dtype=torch.uint8)}
X = {"tensor": "x"}


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({}, "has {} at '', which means nothing"),
        ({"dict": 1}, "means nothing"),
        ({"dict": {}, "tuple": []}, "means nothing"),
        ({"dict": {"a": {"b": 1}}}, r"has {'b': 1} at 'a', which means nothing"),
        ({"object": "os.system"}, "means nothing"),
        ({"tuple": {}}, "means nothing"),
        ({"items": [[1]]}, r"has \[1\] as a pair"),
        ({"items": [1]}, "has 1 as a pair"),
        ({"items": [[None, 1]]}, "has the key None"),
        ({"items": [[[], 1]]}, r"has the key \[\]"),
        ({"items": [[{"dict": {}}, 1]]}, r"has the key {}"),
        ({"items": [[1.5, 1]]}, r"has the key 1\.5"),
        ({"items": [[1, 1], [1, 2]]}, "has the key 1 twice"),
        ({"items": [[1, 1], [True, 2]]}, "has the key True twice"),
        ({"items": [[{"tuple": [{"tuple": [0.5]}]}, 1]]}, "has the key"),
        ({"items": [[X, 1]]}, "no such tensor is left"),
        ({"dict": {1: 2}}, "has a key that is no text"),
        ({"int": "12"}, "has the int '12'"),
        ({"int": "0x_1"}, "has the int '0x_1'"),
        ({"int": "x"}, "has the int 'x'"),
        ({"int": 12}, "means nothing"),
        ({"float": "nan"}, "has the float 'nan'"),
        ({"float": "zzzzzzzzzzzzzzzz"}, "has the float 'zzz"),
        ({"float": "7f f8 00 00 00 0"}, "has the float"),
        ({1: 2}, "means nothing"),
        ((1, 2), "holds of type tuple"),
        ({"tensor": "y"}, "no such tensor is left"),
        ({"tensor": 1}, "no such tensor is left"),
        ({"tensor": ["x"]}, "no such tensor is left"),
        ([X, X], r"at '1': no such tensor is left"),
        ({"tensor": "x", "code": "1"}, "no such tensor is left"),
        ([], "1 tensors belong nowhere in the structure: 'x'"),
        ({**X, "stride": [2]}, r"has strides \[2\] for \[8\]"),
        ({**X, "stride": [0]}, r"has strides \[0\] for \[8\]"),
        ({**X, "stride": [-1]}, "has strides"),
        ({**X, "stride": [1, 1]}, "has strides"),
        ({**X, "stride": [2**70]}, "has strides"),
        ({**X, "stride": [True]}, "has strides"),
        ({**X, "stride": "1"}, "has strides"),
        ({**X, "dtype": "float32", "shape": [2]}, "has the dtype 'float32' at ''; unknown"),
        ({**X, "dtype": "system", "shape": [2]}, "has the dtype 'system'"),
        ({**X, "dtype": "__class__", "shape": [2]}, "has the dtype '__class__'"),
        ({**X, "dtype": [], "shape": [2]}, r"has the dtype \[\]"),
        ({**X, "shape": [2]}, "has the dtype None"),
        ({**X, "dtype": "complex128"}, "None complex128 at '' do not fit their 8 bytes"),
        ({**X, "dtype": "complex128", "shape": [1]}, r"\[1\] complex128 at '' do not fit"),
        ({**X, "dtype": "complex32", "shape": [2**62, 2**62]}, "do not fit"),
        ({**X, "dtype": "complex32", "shape": [-1, -2]}, "do not fit"),
        ({**X, "dtype": "complex32", "shape": [1] * 65}, "do not fit"),
        ({"set": [1, 1]}, "has the key 1 twice"),
        ({"frozenset": [[1]]}, r"has the key \[1\]"),
        ({"set": "abc"}, "which means nothing"),
        ({"dtype": "Tensor"}, r"\{'dtype': 'Tensor'\} at '', which means nothing"),
        ({"dtype": ["float32"]}, "which means nothing"),
    ],
)
def test_malformed_structures_are_refused_with_the_reason(structure, message):
    with pytest.raises(ValueError, match=message) as caught:
        plain.unflatten(structure, EIGHT)
    assert len(str(caught.value)) < 400


def test_only_bytes_become_another_dtype():
    leaf = {**X, "dtype": "complex32", "shape": [2]}
    assert plain.unflatten(leaf, EIGHT).dtype == torch.complex32
    for x in (torch.zeros(8), torch.zeros(8, 1, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="do not fit their 8 bytes"):
            plain.unflatten(leaf, {"x": x})


def test_what_is_given_stays_as_it_was():
    structure, found = plain.flatten({"x": torch.zeros(2)})
    before = json.dumps(structure)
    plain.unflatten(structure, found)
    assert list(found) == ["x"]
    assert json.dumps(structure) == before


def test_a_message_is_short_however_long_a_key_is():
    with pytest.raises(ValueError, match="means nothing") as caught:
        plain.unflatten({"dict": {"a" * 10_000: {"dict": {"b": {"c": 1}}}}}, {})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "odd", [2**63, -(2**63) - 1, math.inf, math.nan, {}, (), torch.float32, True, None, "a", 0.5]
)
def test_a_long_list_with_one_that_is_odd_is_written_as_one_by_one(odd):
    numbers = [odd] * 2 if isinstance(odd, float) else [1] * 300
    text, _ = plain.flatten([*numbers, odd])
    assert text == [plain.flatten(value)[0] for value in [*numbers, odd]]
    back = plain.unflatten(text, {})
    assert repr(back) == repr([*numbers, odd])
    assert plain.unflatten(plain.flatten(tuple(back))[0], {}).__class__ is tuple
