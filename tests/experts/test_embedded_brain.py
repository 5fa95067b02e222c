"""BRAIN: any of the four sequences will do, each in its own channel, and what is missing is told."""

import numpy as np
import pytest
import torch
from bundles import embedded_bundles, series_of, study_of

from attending.errors import InputError
from attending.experts import embedded, read_card, run_expert
from attending.experts.brats import Brats
from attending.experts.bundle import Recipe
from attending.experts.segment import prepare
from attending.imaging import Volume

AFFINE = np.diag([1.5, 1.5, 1.5, 1.0])
ROLES = ("t1ce", "t1", "t2", "flair")
SHAPE = (32, 32, 32)
SCALE = (("NormalizeIntensity", {"nonzero": True, "channel_wise": True}),)


class Regions(torch.nn.Module):
    """Says that a tumour is where `where` is, and keeps what it was shown."""

    def __init__(self, where) -> None:
        super().__init__()
        self.where, self.seen = torch.as_tensor(where), []

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        self.seen.append(window[0].float().clone())
        return torch.where(self.where, 1.0, -1.0).expand(1, 3, *self.where.shape)


def head(role, seed=0):
    """A head of noise in noisy air, as a phantom is: nothing in it is 0."""
    return np.random.default_rng([seed, ROLES.index(role)]).normal(500, 100, SHAPE).astype(np.int16).clip(1)


def mri(*roles, names=True, **facts):
    facts = {"body_part": "BRAIN"} | facts
    return study_of(*(series_of(head(r), AFFINE, "MR", name=r, sequence=r if names else None, **facts) for r in roles))


@pytest.fixture
def brain(tmp_path):
    expert = embedded(embedded_bundles(tmp_path))[1]
    where = np.zeros(SHAPE, bool)
    where[20:26, 10:16, 10:16] = True
    expert.network = Regions(where)
    return expert


def test_all_four_sequences_give_no_warning(brain):
    found = run_expert(brain, mri(*ROLES))
    assert found.status == "done", found.text
    assert found.warnings == ()  # nor of the skull: it was trained on whole heads
    assert found.record.settings["sequences"] == list(ROLES)
    assert found.measurements["whole tumor"]["volume_ml"] == pytest.approx(216 * 1.5**3 / 1000)
    assert found.measurements["whole tumor"]["side"] == "right"


@pytest.mark.parametrize("there", [("t1",), ("flair",), ("t2", "t1ce"), ("flair", "t1", "t2")])
def test_a_missing_sequence_is_nought_in_its_channel_as_in_training(brain, there):
    found = run_expert(brain, mri(*there))
    assert found.status == "done", found.text
    kept = [role for role in ROLES if role in there]
    lost = [role for role in ROLES if role not in there]
    assert found.warnings == (f"BRAIN works best with t1ce, t1, t2, flair; missing: {', '.join(lost)}",)
    assert found.record.settings["sequences"] == kept
    whole, _ = prepare([Volume(head(role), AFFINE) for role in ROLES], Recipe(intensity=SCALE))
    want = whole * torch.tensor([role in there for role in ROLES]).reshape(4, 1, 1, 1)
    assert torch.equal(brain.network.seen[0], want)
    assert list(found.record.inputs) == kept


def test_the_order_of_the_series_does_not_matter(brain):
    run_expert(brain, mri(*reversed(ROLES)))
    run_expert(brain, mri(*ROLES))
    assert len(brain.network.seen) == 1, "the same images: kept"


def test_the_same_image_in_another_role_is_another_question(brain):
    for role in ("t1", "t2"):
        run_expert(brain, study_of(series_of(head("t1"), AFFINE, "MR", name="a", sequence=role, body_part="HEAD")))
    first, second = brain.network.seen
    assert torch.equal(first[1], second[2])
    assert not first[2].any()
    assert not second[1].any()


def test_a_lone_volume_that_says_nothing_is_taken_for_t1_and_that_is_told(brain):
    found = run_expert(brain, mri("t1", names=False, body_part=""))
    assert found.status == "done", found.text
    text = " ".join(found.warnings)
    assert "do not say which MRI sequence they are; they were taken for t1" in text
    assert "missing: t1ce, t2, flair" in text
    assert "do not say which body part they show" in text
    assert brain.network.seen[0][1].any()
    assert not brain.network.seen[0][[0, 2, 3]].any()


def test_several_that_say_nothing_are_refused_with_what_to_do(brain):
    found = run_expert(brain, mri("t1", "t2", names=False))
    assert found.status == "refused"
    assert "--sequence t1=ID" in found.text
    assert brain.network.seen == []


def test_one_that_says_what_it_is_counts_beside_one_that_does_not(brain):
    study = mri("flair", "t1")
    study.series[1].sequence = None
    found = run_expert(brain, study)
    assert found.record.settings["sequences"] == ["flair"]


def test_a_single_slice_is_no_volume(brain):
    flat = series_of(head("t1")[:, :, :2], AFFINE, "MR", name="flat", sequence="t1", body_part="BRAIN")
    found = run_expert(brain, study_of(flat))
    assert (found.status, "a volume of at least 4 slices" in found.text) == ("refused", True)
    both = study_of(flat, *mri("flair").series)
    assert run_expert(brain, both).record.settings["sequences"] == ["flair"]


def test_two_series_of_one_role_are_refused(brain):
    study = mri("t1", "t2")
    study.series[1].sequence = "t1"
    found = run_expert(brain, study)
    assert (found.status, "one series for each sequence" in found.text) == ("refused", True)


def test_a_bundle_of_ones_own_may_do_with_any_sequences(tmp_path):
    embedded_bundles(tmp_path)
    text = (
        "kind: monai-bundle\nname: OWN\nmodality: MR\noverview: own\nfolder: brain\noverlapping: true\n"
        "labels: {0: core, 1: whole, 2: enhancing}\nsequences: [t1ce, t1, t2, flair]\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    assert run_expert(read_card(tmp_path / "a.yaml"), mri("t2")).status == "refused"
    (tmp_path / "a.yaml").write_text(text + "any_sequences: true\n")
    expert = read_card(tmp_path / "a.yaml")
    expert.network = Regions(np.zeros(SHAPE, bool))
    found = run_expert(expert, mri("t2"))
    assert found.text == "Not found: core, whole, enhancing."
    assert [bool(one.any()) for one in expert.network.seen[0]] == [False, False, True, False]
    (tmp_path / "a.yaml").write_text(text + "any_sequences: some\n")
    with pytest.raises(InputError) as caught:
        read_card(tmp_path / "a.yaml")
    assert caught.value.field == "any_sequences"


def test_the_published_expert_still_wants_all_four_without_skulls(tmp_path):
    expert = Brats(embedded_bundles(tmp_path) / "brain")
    assert run_expert(expert, mri("t1", "t2")).text == (
        "BRATS needs the sequences t1ce, t1, t2, flair; missing: t1ce, flair"
    )
    found = run_expert(expert, mri(*ROLES))
    assert any("skull was not removed" in warning for warning in found.warnings)


def test_an_empty_channel_stays_nought_under_transforms_that_would_move_it():
    volume = Volume(head("t1"), AFFINE)
    recipe = Recipe(intensity=(("ScaleIntensity", {"minv": -1.0, "maxv": 1.0, "channel_wise": True}),))
    image, grid = prepare([None, volume, None], recipe)
    assert image.shape == (3, *SHAPE)
    assert not image[[0, 2]].any()
    assert image[1].min() == -1
    assert grid.shape == SHAPE
