import math

import pytest
import torch
from torch import nn

from lehr.init import delta_orthogonal_, orthogonal_


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (4, 2, 3, 3), (40, 2, 3, 3), (1, 5)])
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_the_shorter_side_is_orthonormal(shape, gain):
    matrix = orthogonal_(torch.empty(shape, dtype=torch.float64), gain).flatten(1)
    shorter = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    identity = torch.eye(len(shorter), dtype=torch.float64)
    torch.testing.assert_close(shorter @ shorter.T, gain**2 * identity)
    gaussian = torch.randn_like(shorter) / math.sqrt(shorter.shape[1])
    assert not torch.allclose(gaussian @ gaussian.T, identity, atol=1e-3)


def test_every_orthogonal_matrix_is_equally_likely():
    """Without the correction of signs, torch's decomposition never gives a positive diagonal."""
    torch.manual_seed(0)
    corner = torch.stack([orthogonal_(torch.empty(3, 3))[0, 0] for _ in range(2000)])
    assert abs((corner > 0).float().mean().item() - 0.5) < 0.05
    raw = torch.stack([torch.linalg.qr(torch.randn(3, 3)).Q[0, 0] for _ in range(2000)])
    assert abs((raw > 0).float().mean().item() - 0.5) > 0.05


def test_determinants_have_both_signs():
    torch.manual_seed(0)
    signs = [round(torch.linalg.det(orthogonal_(torch.empty(4, 4))).item()) for _ in range(200)]
    assert set(signs) == {-1, 1}
    assert abs(sum(signs)) < 60


def test_groups_are_orthogonal_each_by_itself():
    def lengths(**kwargs):
        weight = orthogonal_(torch.empty(64, 1, 3, 3, dtype=torch.float64), **kwargs)
        return weight.flatten(1).norm(dim=1)

    torch.testing.assert_close(lengths(groups=64), torch.ones(64, dtype=torch.float64))
    assert lengths().mean().item() < 0.5  # taken as one matrix, each filter is short


def convolution(nf, ni, groups=1, **kwargs):
    conv = nn.Conv2d(ni, nf, 5, padding="same", padding_mode="zeros", groups=groups, bias=False)
    return conv.double()


@pytest.mark.parametrize(("nf", "ni", "groups"), [(8, 8, 1), (12, 5, 1), (8, 8, 4), (6, 6, 6)])
def test_delta_orthogonal_keeps_every_image_length(nf, ni, groups):
    conv = convolution(nf, ni, groups)
    images = torch.randn(3, ni, 9, 7, dtype=torch.float64)
    delta_orthogonal_(conv.weight, 1.5, groups=groups)
    lengths = conv(images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((3,), 1.5, dtype=torch.float64))
    orthogonal_(conv.weight, 1.5, groups=groups)
    spread = conv(images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)
    assert not torch.allclose(spread, torch.full((3,), 1.5, dtype=torch.float64), rtol=1e-3)


def test_delta_orthogonal_is_zero_but_for_the_centre():
    weight = delta_orthogonal_(torch.full((4, 2, 3, 5), 7.0))
    assert weight[:, :, 1, 2].count_nonzero() == 8 == weight.count_nonzero()


def test_delta_orthogonal_on_one_dimension():
    weight = delta_orthogonal_(torch.empty(3, 3, 1))
    torch.testing.assert_close(weight[..., 0] @ weight[..., 0].T, torch.eye(3))


def test_delta_orthogonal_refuses_what_cannot_be():
    with pytest.raises(ValueError, match=r"at least as many outputs.*got 2 outputs and 4 inputs"):
        delta_orthogonal_(torch.empty(2, 4, 3, 3))
    with pytest.raises(ValueError, match=r"a centre; got shape \(4, 4, 2, 3\)\. Give odd kernel"):
        delta_orthogonal_(torch.empty(4, 4, 2, 3))
    with pytest.raises(ValueError, match=r"at least 3 dimensions; got shape \(4, 4\)\. Use ortho"):
        delta_orthogonal_(torch.empty(4, 4))


def test_a_refusal_leaves_the_weight_alone():
    weight = torch.ones(2, 4, 3, 3)
    with pytest.raises(ValueError, match="outputs"):
        delta_orthogonal_(weight)
    assert (weight == 1).all()
