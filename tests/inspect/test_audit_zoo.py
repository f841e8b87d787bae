"""Many models as they should be, and as they should not: no false alarm, and no miss."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import audit, data, init, models
from tests.tier import count


@pytest.fixture(scope="module")
def digits():
    return next(data.digits(batch_size=128).train_dl.batches(seed=0, epoch=0))


@pytest.fixture(scope="module")
def words():
    ids = torch.randint(0, 100, (64, 12), generator=torch.Generator().manual_seed(0))
    return ids, ids[:, 0] % 10


def kaiming(model, **kwargs):
    init.initialise(model, **kwargs)
    return model


def mlp(depth, width=64, act=nn.ReLU, norm=None):
    layers = [nn.Flatten()]
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else width, width)]
        layers += [norm(width), act()] if norm else [act()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def convs(act=nn.ReLU, norm=False):
    return models.cnn(1, 10, widths=(8, 16, 32), norm=norm)


class Basic(nn.Module):
    """A residual block with torch's default initialisation and scales of 1."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        down = [nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)]
        self.down = nn.Sequential(*(down if stride > 1 else []))

    def forward(self, x):
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.down(x))


def plain_resnet():
    blocks = [Basic(8, 8, 1), Basic(8, 16, 2), Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1)]
    stem = [nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


class Residual(nn.Module):
    def __init__(self, width=64, norm=None):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = norm(width) if norm else nn.Identity()

    def forward(self, x):
        return x + self.b(F.relu(self.a(self.norm(x))))


def residuals(blocks, norm=None):
    parts = [Residual(norm=norm) for _ in range(blocks)]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), *parts, nn.Linear(64, 10))


def fixup(blocks):
    model = kaiming(residuals(blocks))
    init.fixup_([[part.a, part.b] for part in model[2:-1]], model[-1])
    return model


class Text(nn.Module):
    """Embedding, something that reads a sequence, and a head."""

    def __init__(self, reader):
        super().__init__()
        self.embed, self.reader, self.head = nn.Embedding(100, 32), reader, nn.Linear(32, 10)

    def forward(self, ids):
        read = self.reader(self.embed(ids))
        return self.head((read[0] if isinstance(read, tuple) else read).mean(1))


def transformer(norm_first):
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
    return Text(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))


class TinyGPT(nn.Module):
    """Attention by hand, output tied to the embedding, everything drawn with 0.02."""

    def __init__(self, width=64, depth=3):
        super().__init__()
        self.embed, self.place = nn.Embedding(100, width), nn.Embedding(12, width)
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            parts = {"norm1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width)}
            parts |= {"out": nn.Linear(width, width), "norm2": nn.LayerNorm(width)}
            parts |= {"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)}
            self.blocks.append(nn.ModuleDict(parts))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 100, bias=False)
        self.head.weight = self.embed.weight
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids):
        x = self.embed(ids) + self.place(torch.arange(ids.shape[1]))
        for block in self.blocks:
            parts = block["qkv"](block["norm1"](x)).chunk(3, -1)
            q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in parts)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["out"](mixed.transpose(1, 2).flatten(2))
            x = x + block["down"](F.gelu(block["up"](block["norm2"](x))))
        return self.head(self.norm(x))[:, -1, :10]


class Unet(nn.Module):
    def __init__(self):
        super().__init__()

        def conv(n_in, n_out, stride=1):
            norm = nn.GroupNorm(4, n_out)
            return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1), norm, nn.SiLU())

        self.down1, self.down2, self.down3 = conv(1, 8), conv(8, 16, 2), conv(16, 32, 2)
        self.up1, self.up2 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.mix1, self.mix2, self.out = conv(32, 16), conv(16, 8), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(a)
        y = self.mix1(torch.cat([self.up1(self.down3(b)), b], 1))
        return self.out(self.mix2(torch.cat([self.up2(y), a], 1)))


class Gated(nn.Module):
    """Squeeze and excite: a branch of means that multiplies the channels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 32, 3, 1, 1), nn.BatchNorm2d(32)
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        x = F.relu(self.norm2(self.conv2(x * gate[:, :, None, None])))
        return self.head(x.mean((2, 3)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        init.initialise(self)

    def forward(self, x):
        x = F.relu(self.first(x.flatten(1)))
        for _ in range(4):
            x = F.relu(self.again(x))
        return self.head(x)


def depthwise():
    layers, width = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()], 16
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU6(), nn.Conv2d(width, 2 * width, 1, bias=False)]
        layers += [nn.BatchNorm2d(2 * width), nn.ReLU6()]
        width *= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


HEALTHY = {
    "lehr's resnet": lambda: models.resnet(1, 10, widths=(8, 16, 32)),
    "resnet with torch's default": plain_resnet,
    "cnn with batch norm": lambda: convs(norm=True),
    "kaiming cnn": lambda: kaiming(convs()),
    "the lesson's mlp": lambda: models.mlp(64, 10),
    "kaiming mlp": lambda: kaiming(mlp(5)),
    "deep kaiming mlp": lambda: kaiming(mlp(30, 256)),
    "orthogonal mlp": lambda: kaiming(mlp(10), how="orthogonal", gain=2**0.5),
    "tanh mlp": lambda: kaiming(mlp(6, act=nn.Tanh), how="xavier"),
    "selu mlp": lambda: kaiming(mlp(20, 128, nn.SELU), how="lecun"),
    "mlp with layer norm": lambda: mlp(10, norm=nn.LayerNorm),
    "mlp with batch norm": lambda: mlp(10, norm=nn.BatchNorm1d),
    "one hidden layer of sigmoids": lambda: kaiming(mlp(1, act=nn.Sigmoid), how="xavier"),
    "fixup": lambda: fixup(50),
    "residuals with layer norm": lambda: residuals(12, nn.LayerNorm),
    "lstm": lambda: Text(nn.LSTM(32, 32, 2, batch_first=True)),
    "gru": lambda: Text(nn.GRU(32, 32, batch_first=True)),
    "transformer, norm first": lambda: transformer(norm_first=True),
    "transformer, norm last": lambda: transformer(norm_first=False),
    "tied gpt": TinyGPT,
    "unet": Unet,
    "gated": Gated,
    "twice": Twice,
    "depthwise": depthwise,
}
READS_WORDS = (Text, TinyGPT)


def audited(model, digits, words, *, with_loss=True):
    batch = words if isinstance(model, READS_WORDS) else digits
    if isinstance(model, Unet):
        batch = (batch[0], batch[0])
    loss = F.mse_loss if isinstance(model, Unet) else F.cross_entropy
    return audit(model, batch, loss if with_loss else None)


def problems(model, digits, words, **kwargs):
    return [str(finding) for finding in audited(model, digits, words, **kwargs).problems]


@pytest.mark.parametrize("name", HEALTHY)
def test_no_false_alarm(name, digits, words):
    for seed in range(2):
        torch.manual_seed(seed)
        model = HEALTHY[name]()
        assert problems(model, digits, words, with_loss=bool(seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lehr's resnet", "resnet with torch's default"])
def test_no_false_alarm_over_many_seeds_of_a_resnet(name, digits, words):
    for seed in range(count(10)):
        torch.manual_seed(seed)
        assert problems(HEALTHY[name](), digits, words) == []


@torch.no_grad()
def damaged(model, how, rng):
    """Damage one layer that is not the head; returns its name."""
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, kinds)]
    name, layer = rng.choice(layers[:-1])
    if how == "gain × 10":
        layer.weight.mul_(10)
    elif how == "gain ÷ 10":
        layer.weight.div_(10)
    elif how == "zeroed":
        layer.weight.zero_()
    else:
        layer.weight[1 : len(layer.weight) // 2 + 1] = layer.weight[0]
    return name


DAMAGES = {
    "gain × 10": {"large_weights"},
    "gain ÷ 10": {"small_weights", "shrinks"},
    "zeroed": {"zero_weights"},
    "duplicated": {"copies"},
}
DAMAGED = ("kaiming cnn", "kaiming mlp", "lehr's resnet", "resnet with torch's default", "unet")


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", DAMAGED)
def test_no_damaged_layer_is_missed(name, how, digits, words):
    for seed in range(2):
        torch.manual_seed(seed)
        model = HEALTHY[name]()
        where = damaged(model, how, random.Random(seed))
        found = audited(model, digits, words)
        named = [f.kind for f in found.problems if where in f.layers]
        assert DAMAGES[how] & set(named), (where, found.problems)


def saturated(seed):
    kind, gain = ((nn.Sigmoid, 12.0), (nn.Tanh, 6.0))[seed % 2]
    return kaiming(mlp(2 + seed % 3, act=kind), how="xavier", gain=gain)


@pytest.mark.parametrize("seed", range(5))
def test_no_saturation_is_missed(seed, digits, words):
    torch.manual_seed(seed)
    assert "saturated" in [f.kind for f in audited(saturated(seed), digits, words).problems]


@pytest.mark.parametrize("blocks", [8, 12, 20, 50, 200])
def test_no_exploding_residual_stack_is_missed(blocks, digits, words):
    torch.manual_seed(blocks)
    found = audited(kaiming(residuals(blocks)), digits, words)
    assert {f.kind for f in found.problems} & {"grows", "not_finite"}


class Lesson(nn.Sequential):
    """The four convolutions of the lesson's question, one number out."""

    def __init__(self):
        widths, sizes = (1, 8, 16, 32, 1), (5, 3, 3, 3)
        layers = []
        for n_in, n_out, size in zip(widths, widths[1:], sizes, strict=False):
            layers += [nn.Conv2d(n_in, n_out, size, 2, size // 2), nn.ReLU()]
        super().__init__(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_the_lessons_question_is_answered_without_being_told_where_to_look():
    """The audit of the four-convolution net names a = √5, and a repair brings the signal back."""
    stds = []
    images = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for seed in range(5):
        torch.manual_seed(seed)
        found = audit(Lesson(), images, repair="kaiming_uniform", seed=seed)
        (finding,) = found.before.problems
        assert finding.kind == "shrinks"
        assert finding.evidence["sqrt5_layers"] == 4
        assert "a = √5" in finding.text
        assert found.healthy
        stds.append((found.before.sites[-1].out.std, found.sites[-1].out.std))
    before, after = (sorted(column)[2] for column in zip(*stds, strict=True))
    assert after / before > 15


@pytest.mark.slow
def test_on_mnist_the_output_and_the_gradient_come_back(mnist_images):
    """On MNIST the repair raises the output's deviation sixtyfold, the first gradient tenfold."""
    ratios = []
    for seed in range(5):
        torch.manual_seed(seed)
        found = audit(Lesson(), mnist_images, _squared, repair="kaiming_uniform", seed=seed)
        outputs = [a.sites[-1].out.std for a in (found.before, found)]
        first = [a.weights[0].grad_std for a in (found.before, found)]
        assert outputs[0] < 0.02
        assert 0.15 < outputs[1] < 1.2
        ratios.append((outputs[1] / outputs[0], first[1] / first[0]))
    output, gradient = (sorted(column)[2] for column in zip(*ratios, strict=True))
    assert 25 < output < 150
    assert 4 < gradient < 40


@pytest.fixture(scope="module")
def mnist_images():
    import os

    if not os.environ.get("LEHR_DATA"):
        pytest.skip("needs the MNIST files")
    return data.mnist(batch_size=100, normalize=True).valid_ds[:100]


def _squared(pred, digit):
    return F.mse_loss(pred.squeeze(1), digit.float())
