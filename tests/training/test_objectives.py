"""Objectives against closed forms and against their definitions written out with loops."""

import math

import pytest
import torch
from torch.nn import functional

from attending.training.objectives import (
    clip,
    dice_binary,
    dice_cross_entropy,
    findings,
    image_text_matching,
    next_token,
    siglip,
)


def test_next_token_of_even_odds_is_the_logarithm_of_the_vocabulary() -> None:
    assert next_token(torch.zeros(5, 8), torch.arange(5)).item() == pytest.approx(5 * math.log(8))
    sure = torch.full((2, 4), -50.0).scatter(1, torch.tensor([[1], [3]]), 50.0)
    assert next_token(sure, torch.tensor([1, 3])).item() == pytest.approx(0, abs=1e-6)
    assert next_token(sure, torch.tensor([0, 3])).item() == pytest.approx(100)


def test_sums_over_parts_add_up_to_the_sum_over_the_whole() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 5), torch.randint(5, (9,))
    parts = next_token(logits[:4], targets[:4]) + next_token(logits[4:], targets[4:])
    torch.testing.assert_close(parts, next_token(logits, targets))


def test_clip_of_equal_embeddings_is_the_logarithm_of_the_batch() -> None:
    same = torch.ones(6, 4) / 2
    found = clip(same, same, torch.tensor([2.0]), torch.eye(6, dtype=torch.bool))
    assert found.item() == pytest.approx(6 * math.log(6), rel=1e-5)


def test_clip_of_orthogonal_pairs_has_its_closed_form() -> None:
    eye, scale = torch.eye(4), math.log(3.0)
    found = clip(eye, eye, torch.tensor([scale]), torch.eye(4, dtype=torch.bool))
    assert found.item() == pytest.approx(-4 * math.log(math.exp(3) / (math.exp(3) + 3)), rel=1e-5)


def test_clip_spreads_its_target_over_equal_texts() -> None:
    images = functional.normalize(torch.tensor([[1.0, 0.1], [0.9, 0.3], [-1.0, 0.2]]), dim=1)
    texts = images[[0, 0, 2]]
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    mild = clip(images, texts, torch.tensor([3.0]), same)
    harsh = clip(images, texts, torch.tensor([3.0]), torch.eye(3, dtype=torch.bool))
    assert mild.isfinite()
    torch.testing.assert_close(mild, harsh)  # equal texts have equal logits: the mean of their terms is each of them
    torch.testing.assert_close(clip(images, texts, torch.tensor([3.0]), same.T), mild)


def test_siglip_is_its_double_sum() -> None:
    torch.manual_seed(0)
    images, texts = (functional.normalize(torch.randn(5, 7), dim=1) for _ in range(2))
    scale, bias = torch.tensor([1.3]), torch.tensor([-2.0])
    wanted = 0.0
    for i in range(5):
        for j in range(5):
            logit = math.exp(1.3) * float(images[i] @ texts[j]) - 2.0
            wanted += math.log(1 + math.exp(-logit if i == j else logit))
    found = siglip(images, texts, scale, bias, torch.eye(5, dtype=torch.bool))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_matching_of_even_odds_is_log_two() -> None:
    assert image_text_matching(torch.zeros(6), torch.arange(6) < 3).item() == pytest.approx(6 * math.log(2))


def test_findings_pass_over_what_is_not_known() -> None:
    logits = torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    known = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    assert findings(logits, known).item() == pytest.approx(2 * math.log(2))
    assert findings(logits[:1], torch.full((1, 2), math.nan)).item() == 0
    logits.requires_grad_()
    findings(logits, known).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad.isfinite().all()


def test_dice_of_a_sure_and_right_answer_is_no_loss() -> None:
    labels = torch.randint(3, (2, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    right = functional.one_hot(labels, 3).movedim(-1, 1) * 100.0
    assert dice_cross_entropy(right, labels).item() == pytest.approx(0, abs=1e-3)
    assert dice_binary(right * 2 - 100, functional.one_hot(labels, 3).movedim(-1, 1)).item() == pytest.approx(
        0, abs=1e-3
    )


def test_dice_and_cross_entropy_have_their_closed_form() -> None:
    # 4 of 8 voxels are of class 1, and every voxel is given even odds: Dice (2 * 2 + 1) / (4 + 4 + 1).
    labels = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).reshape(1, 2, 2, 2)
    wanted = 1 - 5 / 9 + math.log(2)
    assert dice_cross_entropy(torch.zeros(1, 2, 2, 2, 2), labels).item() == pytest.approx(wanted)
    assert dice_binary(torch.zeros(1, 1, 2, 2, 2), labels[:, None]).item() == pytest.approx(wanted)


def test_a_class_that_is_neither_there_nor_predicted_costs_nothing() -> None:
    logits = torch.zeros(1, 2, 4, 4, 4)
    logits[:, 1] = -100
    assert dice_cross_entropy(logits, torch.zeros(1, 4, 4, 4, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-6)


def test_a_faint_suspicion_of_what_is_not_there_costs_no_dice() -> None:
    """A class at a probability of 0.001 in every voxel must not cost what a wrong organ costs, or it is never seen."""
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    labels[:, :4] = 1
    sure = torch.full((1, 3, 8, 8, 8), -12.0)
    sure.scatter_(1, labels[:, None], 12.0)
    suspicious = sure.clone()
    suspicious[:, 2] = 12.0 - 6.9
    assert dice_cross_entropy(suspicious, labels) - dice_cross_entropy(sure, labels) < 0.003
    masks = torch.stack([labels[0] == 1, labels[0] == 9])[None].float()
    known = torch.where(masks > 0, 12.0, -12.0)
    doubtful = known.clone()
    doubtful[:, 1] = -6.9
    assert dice_binary(doubtful, masks) - dice_binary(known, masks) < 0.003


def test_voxels_of_a_small_class_weigh_more_by_the_root_of_its_size() -> None:
    """Even odds everywhere but in one class: its share of the cross-entropy is root n of the sum of the roots."""
    labels = torch.zeros(1, 5, 4, 5, dtype=torch.int64)
    labels[0, 0, :2, :2] = 1  # 4 voxels beside 96
    sure = functional.one_hot(labels, 2).movedim(-1, 1) * 40.0
    doubtful = sure * (labels != 1)[:, None]  # even odds in those 4
    dice = (2 * 2 + 1) / (4 + 2 + 1)
    wanted = 1 - dice + math.log(2) * 2 / (2 + math.sqrt(96))
    assert dice_cross_entropy(doubtful, labels, 0.5).item() == pytest.approx(wanted)
    assert dice_cross_entropy(doubtful, labels).item() == pytest.approx(1 - dice + math.log(2) * 4 / 100)


def test_what_is_there_and_missed_costs_its_dice() -> None:
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    labels[:, 0, 0, :2] = 1
    missed = torch.full((1, 2, 8, 8, 8), -12.0)
    missed[:, 0] = 12.0
    assert dice_cross_entropy(missed, labels) > 0.65


def test_marking_a_healthy_image_costs_dice_where_another_image_has_the_class() -> None:
    labels = torch.zeros(2, 8, 8, 8, dtype=torch.int64)
    labels[0, :2, :2, :2] = 1
    right = torch.zeros(2, 2, 8, 8, 8).scatter_(1, labels[:, None], 24.0) - 12
    wrong = right.clone()
    wrong[1, 1, :2, :2, :2] = 12.1  # as many voxels again, in the other image, barely above the background's odds
    wrong[1, 0, :2, :2, :2] = 12.0
    dice = (2 * 8 + 1) / (8 + 8 * torch.sigmoid(torch.tensor(0.1)).item() + 8 + 1)
    entropy = 8 / 512 * -math.log(1 - torch.sigmoid(torch.tensor(0.1)).item())
    assert dice_cross_entropy(wrong, labels).item() == pytest.approx(2 * (1 - dice) + entropy, abs=1e-4)
    masks, logits = (labels == 1)[:, None], wrong[:, 1:] - wrong[:, :1]
    assert dice_binary(logits, masks).item() == pytest.approx(2 * (1 - dice) + entropy, abs=1e-4)
