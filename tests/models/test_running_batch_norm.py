"""Batch normalisation by running sums, beside torch's by the batch at hand."""

import pytest
import torch
from torch import nn

from lehr.models import RunningBatchNorm


def batches(size, count, seed=0):
    """Three channels of means 2, -1, 0 and deviations 5, 1, 0.1."""
    draw = torch.Generator().manual_seed(seed)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([2.0, -1.0, 0.0], [5.0, 1.0, 0.1]))
    return [torch.randn(size, 3, 4, 4, generator=draw) * std + mean for _ in range(count)]


def test_one_large_batch_is_normalised_as_torch_does():
    (x,) = batches(64, 1)
    ours, theirs = RunningBatchNorm(3), nn.BatchNorm2d(3)
    ours(x)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    (y,) = batches(64, 1, seed=1)
    assert not torch.allclose(ours(y), theirs(y), atol=1e-4)  # which knows no other batch


@pytest.mark.parametrize(("size", "share"), [(2, 0.10), (32, 0.838), (512, 0.960), (1, 0.10)])
def test_a_large_batch_replaces_more_of_what_is_known(size, share):
    """A batch of b items replaces 1 - 0.9 / √(b - 1) of the sums: 0.10, 0.838 and 0.960 for 2, 32
    and 512 items; one item counts as one of two."""
    norm = RunningBatchNorm(3)
    norm(batches(size, 1)[0])
    assert (norm.count / (size * 16)).item() == pytest.approx(share, abs=5e-4)


def test_the_first_batch_needs_no_correction():
    """Sums and counts are averaged alike: after one batch the mean is that batch's own."""
    (x,) = batches(32, 1)
    norm = RunningBatchNorm(3)
    norm(x)
    torch.testing.assert_close(norm.sums / norm.count, x.mean((0, 2, 3)))
    torch.testing.assert_close(
        norm.squares / norm.count - (norm.sums / norm.count) ** 2, x.var((0, 2, 3), correction=0)
    )


def test_with_batches_of_two_it_comes_near_the_truth_and_torchs_does_not():
    """In training, outputs for batches of two have the deviation of the channel: that of one batch
    differs from batch to batch. Torch's is 1 in each, whatever came in."""
    norm, theirs = RunningBatchNorm(3), nn.BatchNorm2d(3)
    for x in batches(2, 300):
        out, other = norm(x), theirs(x)
    truth = torch.tensor([2.0, -1.0, 0.0])
    torch.testing.assert_close(norm.sums / norm.count, truth, atol=1.0, rtol=0)
    larger = batches(2, 1, seed=5)[0] * 3
    assert (norm(larger)[:, 2].std() > 2) & (theirs(larger)[:, 2].std() < 1.1)
    assert out.shape == other.shape


def test_evaluation_uses_what_training_found_and_changes_nothing():
    norm = RunningBatchNorm(3)
    for x in batches(16, 10):
        norm(x)
    norm.eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    out = norm(x)
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())
    assert out.std().item() == pytest.approx(1, abs=0.2)
    twin = RunningBatchNorm(3).eval()
    torch.testing.assert_close(twin(x), x / (1 + 1e-5) ** 0.5)  # nothing was seen yet
    twin.load_state_dict(norm.state_dict())
    assert torch.equal(twin(x), out)


def test_the_gradient_goes_through_the_batchs_own_share():
    """It is that of finite differences; were the statistics constants, it would be another."""
    torch.manual_seed(0)
    norm = RunningBatchNorm(2).double()
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    norm(torch.randn(40, 2, 3, dtype=torch.float64))
    start = [buffer.clone() for buffer in norm.buffers()]

    def output(x):
        for buffer, value in zip(norm.buffers(), start, strict=True):
            buffer.copy_(value)
        return norm(x).square()

    assert torch.autograd.gradcheck(output, (x,))
    (through,) = torch.autograd.grad(output(x).sum(), x)
    norm.eval()
    (constant,) = torch.autograd.grad(norm(x).square().sum(), x)
    assert not torch.allclose(through, constant)


def test_steps_one_after_the_other_hold_no_old_graph():
    norm, x = RunningBatchNorm(3), batches(4, 1)[0]
    for _ in range(3):
        norm(x).sum().backward()  # an old graph would have been freed
    (norm(x).square() + norm(x).square()).sum().backward()  # two calls before one backward
    assert not norm.sums.requires_grad


def test_few_items_do_not_make_the_variance_tiny():
    """Before 20 items a variance below 0.01 is not believed; afterwards it is."""
    norm = RunningBatchNorm(1, momentum=1.0)
    x = torch.tensor([[0.0], [0.001]])
    assert norm(x).abs().max() < 0.01
    for _ in range(20):
        out = norm(x)
    assert out.abs().max() > 0.1


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 4, 4), (8, 3, 2, 2, 2)])
def test_inputs_of_any_dimensions(shape):
    x = torch.randn(shape)
    assert RunningBatchNorm(3)(x).shape == shape


def test_half_precision_stays_and_does_not_overflow():
    x = torch.full((4, 3, 200, 200), 10.0, dtype=torch.float16)
    out = RunningBatchNorm(3)(x)
    assert out.dtype == torch.float16
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": 0}, "features must be at least 1; got 0"),
        ({"eps": 0}, "eps must be"),
        ({"momentum": 0}, "momentum must be"),
        ({"momentum": 1.5}, "momentum must be at most 1; got 1.5"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(ValueError, match=message):
        RunningBatchNorm(**{"features": 3, **arguments})


@pytest.mark.parametrize("shape", [(3,), (8, 4, 2)])
def test_other_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"x must have the shape \(batch, 3, …\); got \("):
        RunningBatchNorm(3)(torch.zeros(shape))


def test_it_says_how_it_was_made():
    assert repr(RunningBatchNorm(3)) == "RunningBatchNorm(3, eps=1e-05, momentum=0.1)"


def test_without_momentum_the_statistics_are_those_of_all_batches_since_the_reset():
    found = [*batches(8, 3), *batches(4, 1, seed=1)]
    norm = RunningBatchNorm(3, momentum=None)
    norm(batches(8, 1, seed=9)[0])
    norm.reset_running_stats()
    assert all(not buffer.any() for buffer in norm.buffers())
    for x in found:
        norm(x)
    whole = torch.cat(found)
    mean = norm.sums / norm.count
    torch.testing.assert_close(mean, whole.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    variance = norm.squares / norm.count - mean.square()
    torch.testing.assert_close(variance, whole.var((0, 2, 3), correction=0), atol=1e-4, rtol=1e-4)
    usual = RunningBatchNorm(3)
    for x in found:
        usual(x)
    assert not torch.allclose(usual.sums / usual.count, mean, atol=1e-3)
