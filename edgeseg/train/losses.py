"""Losses on logits (N, C, H, W) float and labels (N, H, W) int64; pixels of `ignore_index` never count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    ohem_share: float = 1.0,
    ohem_threshold: float = 0.0,
) -> Tensor:
    """Return sum(w_y * -log p_y) / sum(w_y) over the pixels that count; `weights` (C,) are the classes' w.

    With `ohem_share` below 1 only the hardest pixels count (online hard example mining, Shrivastava, Gupta, Girshick,
    CVPR 2016, section 4, for pixels): that share of the valid ones with the highest loss, and every pixel
    whose -log p_y is above -log(ohem_threshold).
    """
    losses = F.cross_entropy(
        logits, labels, weight=weights, ignore_index=ignore_index, reduction="none", label_smoothing=smoothing
    )
    valid = labels != ignore_index
    losses, kept = losses[valid], labels[valid]
    if not len(losses):
        return logits.sum() * 0.0
    shares = torch.ones_like(losses) if weights is None else weights[kept]
    if ohem_share < 1.0:
        hard = _hardest(losses, logits, labels, valid, share=ohem_share, threshold=ohem_threshold)
        losses, shares = losses[hard], shares[hard]
    # Smoothing gives pixels of classes that weigh nothing a loss, but nothing to divide it by.
    return losses.sum() / shares.sum() if shares.any() else logits.sum() * 0.0


@torch.no_grad()
def _hardest(
    losses: Tensor, logits: Tensor, labels: Tensor, valid: Tensor, *, share: float, threshold: float
) -> Tensor:
    """Return a mask over the valid pixels: the `share` of highest loss, and those less probable than `threshold`."""
    count = max(1, round(share * len(losses)))
    hard = torch.zeros_like(losses, dtype=torch.bool)
    hard[losses.topk(count).indices] = True
    if threshold > 0:
        index = torch.where(valid, labels, 0)[:, None]
        hard |= logits.softmax(1).gather(1, index)[:, 0][valid] < threshold
    return hard


def focal(
    logits: Tensor, labels: Tensor, *, ignore_index: int, gamma: float = 2.0, weights: Tensor | None = None
) -> Tensor:
    """Return mean((1 - p_y) ** gamma * -log p_y), weighted by class as the cross-entropy is.

    Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, ICCV 2017, equation 5 (alpha = `weights`).
    """
    valid = labels != ignore_index
    if not valid.any():
        return logits.sum() * 0.0
    index = torch.where(valid, labels, 0)
    log_p = logits.log_softmax(1).gather(1, index[:, None])[:, 0][valid]
    shares = torch.ones_like(log_p) if weights is None else weights[labels[valid]]
    # At p = 1 the slope of a root is infinite, and infinity times the loss of 0 is no number.
    losses = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).eps) ** gamma * -log_p * shares
    return losses.sum() / shares.sum().clamp_min(torch.finfo(log_p.dtype).tiny)


def dice(logits: Tensor, labels: Tensor, *, ignore_index: int) -> Tensor:
    """Return 1 - mean over the classes present of 2 * sum(p * y) / (sum(p ** 2) + sum(y ** 2)), over the whole batch.

    Milletari, Navab, Ahmadi: V-Net, 3DV 2016, section 3 (squares in the denominator), one term a class.
    """
    valid = labels != ignore_index
    probabilities = logits.softmax(1) * valid[:, None]
    truth = _one_hot(labels, valid, classes=logits.shape[1]).to(probabilities.dtype)
    both = (probabilities * truth).sum((0, 2, 3))
    area = truth.sum((0, 2, 3))
    total = probabilities.square().sum((0, 2, 3)) + area
    present = area > 0
    if not present.any():
        return logits.sum() * 0.0
    return 1 - (2 * both[present] / total[present]).mean()


def tversky(logits: Tensor, labels: Tensor, *, ignore_index: int, alpha: float = 0.3) -> Tensor:
    """Return 1 - mean over the classes present of TP / (TP + alpha * FP + (1 - alpha) * FN), over the whole batch.

    Salehi, Erdogmus, Gholipour: Tversky Loss Function for Image Segmentation, MLMI 2017, equation 3, with their beta
    as 1 - alpha. Below 0.5, alpha makes a missed pixel cost more than a false one; at 0.5 it is Dice without squares.
    """
    valid = labels != ignore_index
    probabilities = logits.softmax(1) * valid[:, None]
    truth = _one_hot(labels, valid, classes=logits.shape[1]).to(probabilities.dtype)
    hits = (probabilities * truth).sum((0, 2, 3))
    false, area = probabilities.sum((0, 2, 3)) - hits, truth.sum((0, 2, 3))
    present = area > 0
    if not present.any():
        return logits.sum() * 0.0
    index = hits / (hits + alpha * false + (1 - alpha) * (area - hits)).clamp_min(torch.finfo(hits.dtype).tiny)
    return 1 - index[present].mean()


def boundary(logits: Tensor, borders: Tensor, *, ignored: int = -1) -> Tensor:
    """Return the loss of a boundary head, logits (N, 1, H, W) against borders (N, H, W) of 0 and 1 as `border_map` has.

    The binary cross-entropy in which both sides weigh the same (Xu et al.: PIDNet, CVPR 2023, section 3.4), plus a
    Dice term (Fan et al.: STDC, CVPR 2021, equations 2 and 3: squares, and 1 above and below the fraction).
    """
    valid = borders != ignored
    z, truth = logits[:, 0][valid], borders[valid].to(logits.dtype)
    if not len(truth):
        return logits.sum() * 0.0
    share = truth.mean()
    weights = torch.where(truth > 0, 1 - share, share)
    entropy = (weights * F.binary_cross_entropy_with_logits(z, truth, reduction="none")).mean()
    p = z.sigmoid()
    overlap = (2 * (p * truth).sum() + 1) / (p.square().sum() + truth.sum() + 1)
    return entropy + 1 - overlap


def border_map(labels: Tensor, *, ignore_index: int, width: int = 1) -> Tensor:
    """Return (N, H, W) int64: 1 where another class lies within `width` pixels, else 0, and -1 on ignored pixels.

    Ignored pixels make no border of their neighbours.
    """
    valid = labels != ignore_index
    window = 2 * width + 1
    known = torch.where(valid, labels, -1).float()[:, None]
    highest = F.max_pool2d(known, window, stride=1, padding=width)[:, 0]
    negated = torch.where(valid, -labels, torch.iinfo(torch.int16).min).float()[:, None]
    lowest = -F.max_pool2d(negated, window, stride=1, padding=width)[:, 0]
    return torch.where(valid, (highest != lowest).long(), -1)


def lovasz(logits: Tensor, labels: Tensor, *, ignore_index: int) -> Tensor:
    """Return the Lovász-softmax loss over the batch: a convex surrogate of 1 - mean IoU of the classes present.

    Berman, Rannen Triki, Blaschko, CVPR 2018, equation 11: for each class the errors |y - p| in falling order, times
    the discrete gradient of the Jaccard loss along that order (algorithm 1).
    """
    valid = labels != ignore_index
    probabilities = logits.softmax(1).movedim(1, -1)[valid]
    truth = labels[valid]
    terms = []
    for index in torch.unique(truth).tolist():
        own = (truth == index).to(probabilities.dtype)
        errors, order = (own - probabilities[:, index]).abs().sort(descending=True)
        terms.append(torch.dot(errors, _jaccard_gradient(own[order])))
    return torch.stack(terms).mean() if terms else logits.sum() * 0.0


def _jaccard_gradient(truth: Tensor) -> Tensor:
    """Return the steps of the Jaccard loss as sorted pixels (n,) of 0 and 1 become errors one after another."""
    hits = truth.sum()
    intersection = hits - truth.cumsum(0)
    union = hits + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    jaccard[1:] = jaccard[1:] - jaccard[:-1].clone()
    return jaccard


def _one_hot(labels: Tensor, valid: Tensor, *, classes: int) -> Tensor:
    return F.one_hot(torch.where(valid, labels, 0), classes).movedim(-1, 1) * valid[:, None]
