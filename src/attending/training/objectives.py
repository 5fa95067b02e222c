"""What is minimised, as pure functions: each returns a sum over its units, so that a step divides by how many it saw.

Dividing once, over all micro-batches and ranks of a step, makes the loss the mean over tokens (or pairs, or images),
however the step was cut up.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def next_token(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over tokens.

    Args:
        logits: `[tokens, vocabulary]`, of the positions before the learned ones.
        targets: `[tokens]` ids.
    """
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def clip(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """CLIP's contrastive loss (arXiv 2103.00020), summed over pairs: image to text and text to image, halved.

    Args:
        images: `[n, D]` embeddings of unit length.
        texts: `[n, D]`, likewise.
        scale: The logarithm of the inverse temperature.
        same: `[n, n]` bool: which texts are equally right for an image; the diagonal is True. Where several are, the
            target is spread evenly over them.
    """
    logits = scale.exp() * images @ texts.T
    wanted = same.float()
    rows = -(wanted / wanted.sum(1, keepdim=True) * functional.log_softmax(logits, 1)).sum()
    columns = -(wanted / wanted.sum(0, keepdim=True) * functional.log_softmax(logits, 0)).sum()
    return (rows + columns) / 2


def siglip(
    images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, same: torch.Tensor
) -> torch.Tensor:
    """SigLIP's pairwise sigmoid loss (arXiv 2303.15343), summed: every pair is right or wrong by itself.

    The arguments are those of `clip`; `bias` begins low because most pairs are wrong.
    """
    logits = scale.exp() * images @ texts.T + bias
    sign = torch.where(same, 1.0, -1.0)
    return -functional.logsigmoid(sign * logits).sum()


def image_text_matching(logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Does this text belong to this picture: binary cross-entropy summed over pairs.

    Args:
        logits: `[pairs]`.
        matches: `[pairs]` bool.
    """
    return functional.binary_cross_entropy_with_logits(logits.float(), matches.float(), reduction="sum")


def findings(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy summed over images, the mean over the findings of each that are known.

    Args:
        logits: `[images, findings]`.
        present: `[images, findings]`: 0, 1, or NaN where it is not known.
    """
    known = present.isfinite()
    losses = functional.binary_cross_entropy_with_logits(logits.float(), present.nan_to_num(0.0), reduction="none")
    return ((losses * known).sum(1) / known.sum(1).clamp(min=1)).sum()


def dice_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, balance: float = 0.0) -> torch.Tensor:
    """One minus the mean Dice of the foreground classes that a batch has, plus cross-entropy, summed over images.

    Each class' Dice is taken over the batch as one, so that marking a lesion in one image's healthy organ costs where
    another image has such a lesion. Classes that no image has are left to the cross-entropy: a Dice of theirs would
    punish the faintest suspicion, and a network would learn never to see what is rare (soft Dice as in arXiv
    1606.04797).

    Args:
        logits: `[images, classes, X, Y, Z]`, class 0 being the background.
        labels: `[images, X, Y, Z]` int64.
        balance: A voxel counts in the cross-entropy by its class' number of voxels in the image to the power of minus
            this. At 0 a lesion of a hundred voxels among a quarter of a million moves nothing while the network holds
            it for impossible; at 0.5 it does, but what is found comes out too large.
    """
    logits = logits.float()
    wanted = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    weight = wanted.flatten(2).sum(2).clamp(min=1).pow(-balance).gather(1, labels.flatten(1))
    entropy = (functional.cross_entropy(logits, labels, reduction="none").flatten(1) * weight).sum(1) / weight.sum(1)
    return len(logits) * (1 - _dice(logits.softmax(1)[:, 1:], wanted[:, 1:])) + entropy.sum()


def dice_binary(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The same for channels that may overlap (sigmoid), with binary cross-entropy.

    Args:
        logits: `[images, channels, X, Y, Z]`.
        masks: `[images, channels, X, Y, Z]` of 0 and 1.
    """
    logits, masks = logits.float(), masks.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").flatten(1).mean(1)
    return len(logits) * (1 - _dice(logits.sigmoid(), masks)) + entropy.sum()


def _dice(probabilities: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Soft Dice: the mean over the channels of which the batch has something, smoothed by a voxel; 1 for none."""
    flat = (0, *range(2, wanted.ndim))
    overlap = (probabilities * wanted).sum(flat)
    each = (2 * overlap + 1) / (probabilities.sum(flat) + wanted.sum(flat) + 1)
    there = wanted.amax(flat)
    count = there.sum()
    return torch.where(count > 0, (each * there).sum() / count.clamp(min=1), torch.ones_like(count))
