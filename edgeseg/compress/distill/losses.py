"""Distillation losses.

Student s and teacher t are float (N, C, h, w); `mask` (N, h, w) is true where the image is and false in padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -1e9
"""Used instead of minus infinity, which would give NaN where everything is masked."""


def logits_kd(student: Tensor, teacher: Tensor, *, mask: Tensor, temperature: float) -> Tensor:
    """Return T^2 * mean over pixels of KL(softmax(t / T) || softmax(s / T)), softmax over the classes.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2; T^2 keeps the gradient's size.
    """
    p, q = (item.div(temperature).log_softmax(1) for item in (teacher, student))
    divergence = (p.exp() * (p - q)).sum(1)
    return temperature**2 * (divergence * mask).sum() / mask.sum().clamp_min(1)


def channel_wise(student: Tensor, teacher: Tensor, *, mask: Tensor, temperature: float) -> Tensor:
    """Return T^2 / C * sum over channels of KL(softmax(t / T) || softmax(s / T)), softmax over positions; batch mean.

    Shu, Liu, Gao, Yan, Shen: Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021, equations 5 and 6.
    """
    p, q = (
        item.div(temperature).masked_fill(~mask[:, None], FAR).flatten(2).log_softmax(2) for item in (teacher, student)
    )
    return temperature**2 * (p.exp() * (p - q)).sum(2).mean()


def features(student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
    """Return the mean over positions and channels of (s - t)^2; s has gone through a 1x1 convolution to t's channels.

    Romero et al.: FitNets: Hints for Thin Deep Nets, ICLR 2015, equation 3, as a mean instead of half a sum.
    """
    squares = (student - teacher).square().mean(1)
    return (squares * mask).sum() / mask.sum().clamp_min(1)


def pairwise(student: Tensor, teacher: Tensor, *, mask: Tensor, pool: int) -> Tensor:
    """Return the mean over all pairs of nodes (i, j) of an image of (a_ij(s) - a_ij(t))^2, a_ij = cos(f_i, f_j).

    Liu, Chen, Liu, Qin, Luo, Wang: Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019, equations 2
    and 3; nodes are means over `pool` x `pool` cells. Student and teacher may differ in channels.
    """
    s, valid = _nodes(student, mask, pool=pool)
    t, _ = _nodes(teacher, mask, pool=pool)
    both = valid[:, :, None] & valid[:, None, :]
    squares = (s @ s.mT - t @ t.mT).square()
    return (squares * both).sum() / both.sum().clamp_min(1)


def batch_pixels(student: Tensor, teacher: Tensor, *, mask: Tensor, pool: int, temperature: float) -> Tensor:
    """Return the mean over pairs of images (a, b) and nodes i of a of KL(softmax(S_i(t)) || softmax(S_i(s))).

    S_ij = cos(f_i, f_j) / T over the nodes j of b. Yang, Zhou, An, Jiang, Xu, Zhang: Cross-Image Relational Knowledge
    Distillation for Semantic Segmentation, CVPR 2022, equations 4 to 6 (mini-batch pixel-to-pixel); nodes are means
    over `pool` x `pool` cells.
    """
    s, valid = _nodes(student, mask, pool=pool)
    t, _ = _nodes(teacher, mask, pool=pool)
    p, q = (_relations(item, valid, temperature=temperature) for item in (t, s))
    divergence = (p.exp() * (p - q)).sum(3)
    rows = valid[:, :, None].expand_as(divergence)
    return (divergence * rows).sum() / rows.sum().clamp_min(1)


def _relations(nodes: Tensor, valid: Tensor, *, temperature: float) -> Tensor:
    """Return the log softmax over each image's nodes, (N, P, N, P): from image a, node i, to image b, node j."""
    similar = torch.einsum("aic,bjc->aibj", nodes, nodes) / temperature
    return similar.masked_fill(~valid, FAR).log_softmax(3)


def _nodes(maps: Tensor, mask: Tensor, *, pool: int) -> tuple[Tensor, Tensor]:
    """Return unit vectors (N, P, C), means over the valid cells of `pool` x `pool` squares, and which exist (N, P)."""
    weight = mask[:, None].to(maps.dtype)
    total, count = (F.avg_pool2d(item, pool, ceil_mode=True) for item in (maps * weight, weight))
    nodes = (total / count.clamp_min(1e-6)).flatten(2).mT
    return F.normalize(nodes, dim=2), (count > 0).flatten(1)
