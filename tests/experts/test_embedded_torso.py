"""The experts that come with the package: told only what was asked, run once a study, and never on damaged weights."""

import json
import threading

import numpy as np
import pytest
import torch
from bundles import Levels, ball, embedded_bundles, oblique, series_of, study_of

from attending.errors import InputError
from attending.experts import embedded, experts, find_expert, run_expert
from attending.experts.embedded import TORSO_LABELS
from attending.experts.kept import Kept
from attending.experts.segment import reaching, without_specks
from attending.imaging import Volume
from attending.phantom import generate

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def torso(tmp_path):
    """TORSO with a network that reads the labels off the image."""
    expert = embedded(embedded_bundles(tmp_path))[0]
    expert.network = Levels(15)
    return expert


def lesion_in_liver(name="one"):
    """A liver with a lesion, and two kidneys."""
    shape = (40, 36, 24)
    array = np.zeros(shape, np.int16)
    array[ball(AFFINE, shape, (28, 18, 12), 16)] = 1
    array[ball(AFFINE, shape, (28, 18, 12), 6)] = 8
    array[4:8, 4:8, 4:8], array[14:18, 4:8, 4:8] = 5, 4
    return study_of(series_of(array, AFFINE, name=name, body_part="ABDOMEN"))


def asked(expert, study, structures):
    found = run_expert(expert, study, {"structures": structures})
    assert found.status == "done", found.text
    return found


def test_they_are_there_by_name_but_are_not_offered_with_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENDING_EXPERTS", str(tmp_path))
    cards = [expert.card for expert in embedded()]
    assert [card.name for card in cards] == ["TORSO", "BRAIN", "CHEST"]
    assert all("learned from synthetic studies alone" in card.overview for card in cards)
    assert not {"TORSO", "BRAIN", "CHEST"} & set(experts()[0])
    assert find_expert("torso").card == cards[0]
    (tmp_path / "own.yaml").write_text(
        "kind: command\nname: TORSO\nmodality: CT\noverview: own\nlabels: {1: one}\ncommand: [prog]\n"
    )
    found, problems = experts()
    assert "TORSO" not in found
    assert problems == ["own.yaml: there is an expert TORSO already; this one is left out"]


def test_a_users_own_expert_is_found_by_its_exact_name(tmp_path):
    text = "kind: command\nname: torso\nmodality: CT\noverview: own\nlabels: {1: one}\ncommand: [prog]\n"
    (tmp_path / "own.yaml").write_text(text)
    assert find_expert("torso", tmp_path).card.overview == "own"
    assert find_expert("TORSO", tmp_path).card.overview != "own"


def test_a_call_is_told_only_what_it_asked_for(torso):
    study = lesion_in_liver()
    found = asked(torso, study, "liver lesion")
    assert list(found.measurements) == ["liver lesion"]
    assert found.segmentation.names == {8: "liver lesion"}
    assert set(np.unique(found.segmentation.labels.array)) == {0, 8}
    assert found.text.startswith("liver lesion: ")
    assert "liver:" not in found.text
    assert found.measurements["liver lesion"]["inside"] == "liver"  # although the liver was not asked for
    assert found.measurements["liver lesion"]["components"] == 1
    assert asked(torso, study, "spleen").text == "Not found: spleen."
    assert set(asked(torso, study, "kidneys").measurements) == {"right kidney", "left kidney"}
    assert set(asked(torso, study, "organs").measurements) == {"liver", "right kidney", "left kidney"}
    assert set(asked(torso, study, "lesions").measurements) == {"liver lesion"}
    everything = run_expert(torso, study)
    assert everything.record.arguments == {"structures": "everything"}
    assert set(everything.measurements) == {"liver", "right kidney", "left kidney", "liver lesion"}


def with_least(torso, least):
    """The expert, with smallest sizes in its metadata."""
    path = torso.folder / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"least_ml": least}))
    return torso


def test_parts_too_small_to_be_believed_become_what_is_around_them(torso):
    study = lesion_in_liver()
    array = study.series[0].volume.array
    array[28, 12, 12] = array[36, 32, 20] = 8  # a voxel in the liver, one in the air: 0.012 mL each
    array[20:22, 32:34, 12:14] = 9  # 0.096 mL
    truth = run_expert(torso, study).measurements
    assert truth["liver lesion"]["components"] == 3
    torso.kept = Kept()
    del torso.__dict__["bundle"]
    found = run_expert(with_least(torso, {"liver lesion": 0.013, "lung nodule": 0.096}), study)
    assert found.measurements["liver lesion"]["components"] == 1
    assert found.measurements["liver lesion"]["volume_ml"] == pytest.approx(truth["liver lesion"]["volume_ml"] - 0.024)
    assert found.measurements["liver"]["volume_ml"] == pytest.approx(truth["liver"]["volume_ml"] + 0.012)
    assert found.segmentation.labels.array[36, 32, 20] == 0
    assert found.measurements["lung nodule"] == truth["lung nodule"], "what is as large as the smallest stays"


class Doubtful(Levels):
    """Sure of what the image holds, but in every voxel the lesion is only a little behind."""

    def forward(self, image):
        logits = super().forward(image)
        logits[:, 8] = logits[:, 8].maximum(logits.amax(1) - 1)
        return logits


def test_a_lesion_that_is_found_reaches_as_far_as_its_offset_says_and_none_appears_of_it(torso):
    study, healthy = lesion_in_liver(), lesion_in_liver("healthy")
    array = healthy.series[0].volume.array
    array[array == 8] = 1
    torso.network = Doubtful(15)
    path = torso.folder / "configs" / "metadata.json"
    facts = json.loads(path.read_text()) | {"least_ml": {}}
    sizes = {}
    for offset in (0, 0.5, 2):
        path.write_text(json.dumps(facts | {"offsets": {"liver lesion": offset}}))
        torso.kept = Kept()
        torso.__dict__.pop("bundle", None)
        sizes[offset] = run_expert(torso, study).measurements["liver lesion"]["volume_ml"]
        assert "liver lesion" not in run_expert(torso, healthy).measurements
    assert sizes[0] == sizes[0.5]
    assert sizes[2] == pytest.approx(40 * 36 * 24 * 0.012)


def test_far_parts_that_nothing_was_found_in_are_left_out():
    there, far = np.zeros((9, 3, 3), np.uint8), np.zeros((9, 3, 3), np.uint8)
    there[1], far[0:3], far[6:8] = 8, 8, 8
    there[4] = far[4] = 1
    reached = reaching(Volume(there, AFFINE), Volume(far, AFFINE)).array
    assert reached[:, 0, 0].tolist() == [8, 8, 8, 0, 1, 0, 0, 0, 0]


def test_a_mask_of_one_speck_alone_becomes_empty():
    mask = Volume(np.full((1, 1, 1), 8, np.uint8), AFFINE)
    assert without_specks(mask, {(8,): 1.0}).array.tolist() == [[[0]]]
    assert mask.array.tolist() == [[[8]]]


def test_a_structure_of_several_labels_is_judged_as_one():
    array = np.zeros((12, 12, 12), np.uint8)
    array[2:5, 2:5, 2:5], array[3, 3, 3] = 2, 1
    array[9, 9, 9] = 4
    mask = without_specks(Volume(array, np.diag([10.0, 10, 10, 1])), {(1, 2, 4): 2.0})
    assert mask.array[3, 3, 3] == 1
    assert mask.array[9, 9, 9] == 0
    core = without_specks(Volume(array, np.diag([10.0, 10, 10, 1])), {(1, 4): 2.0})
    assert core.array[3, 3, 3] == 2


@pytest.mark.parametrize("offsets", [{"soul": 1}, {"liver": -1}, {"liver": "1"}, 3])
def test_offsets_in_the_metadata_that_cannot_be_are_named(torso, offsets):
    path = torso.folder / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"offsets": offsets}))
    found = run_expert(torso, lesion_in_liver())
    assert found.status == "failed"
    assert "metadata.json: offsets" in found.text
    assert torso.network.seen == []


@pytest.mark.parametrize(
    "least", [{"soul": 1}, {"liver": -1}, {"liver": float("nan")}, {"liver": "1"}, [1], {"liver": 1e9}]
)
def test_sizes_in_the_metadata_that_cannot_be_are_named(torso, least):
    found = run_expert(with_least(torso, least), lesion_in_liver())
    assert found.status == "failed"
    assert "metadata.json: least_ml" in found.text
    assert torso.network.seen == []


def test_every_name_may_be_asked_for_and_others_are_refused(torso):
    values = torso.card.arguments["structures"]
    assert values[0] == "everything"
    assert set(values) == {"everything", "organs", "lesions", "kidneys", *TORSO_LABELS.values()}
    for hostile in ("hepatic tumor", "../../etc", "", None, 3):
        assert run_expert(torso, lesion_in_liver(), {"structures": hostile}).status == "refused"
    assert torso.network.seen == []


def test_the_network_runs_once_for_a_study_whatever_is_asked(torso):
    study = lesion_in_liver()
    first = asked(torso, study, "liver")
    windows = len(torso.network.seen)
    again = asked(torso, lesion_in_liver(), "lesions")  # the same voxels, opened again
    assert len(torso.network.seen) == windows
    assert again.record.weights == first.record.weights
    assert again.record.inputs == first.record.inputs
    changed = lesion_in_liver()
    changed.series[0].volume.array[0, 0, 0] = 2
    asked(torso, changed, "liver")
    assert len(torso.network.seen) == 2 * windows
    named = asked(torso, lesion_in_liver(name="two"), "liver")
    assert list(named.record.inputs) == ["two"]


def test_two_equal_calls_at_once_run_the_network_once(torso):
    study, found = lesion_in_liver(), {}

    def ask(structures):
        found[structures] = run_expert(torso, study, {"structures": structures})

    run_expert(torso, study)
    alone = len(torso.network.seen)
    torso.kept = Kept()
    threads = [threading.Thread(target=ask, args=(name,)) for name in ("liver", "lesions", "kidneys")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.status for one in found.values()} == {"done"}
    assert len(torso.network.seen) == 2 * alone


def test_different_studies_do_not_wait_for_each_other():
    kept, first, second = Kept(), threading.Event(), threading.Event()

    def make(mine, other):
        def made():
            mine.set()
            assert other.wait(30), "the other study was made to wait"
            return Volume(np.zeros((1, 1, 1), np.uint8), np.eye(4)), None, []

        return made

    done = []
    threads = [
        threading.Thread(target=lambda key=key, events=events: done.append(kept.get(key, make(*events))))
        for key, events in {"a": (first, second), "b": (second, first)}.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2


def test_a_finding_cannot_change_what_is_kept(torso):
    found = run_expert(torso, lesion_in_liver())
    with pytest.raises(ValueError, match="read-only"):
        found.segmentation.labels.array[:] = 0


def test_no_more_is_kept_than_the_memory_set_aside():
    kept, made = Kept(limit=300), []

    def make(size):
        made.append(size)
        return Volume(np.zeros((size, 1, 1), np.uint8), np.eye(4)), None, []

    for key in ("a", "b", "c", "a"):
        kept.get(key, lambda: make(100))
    assert len(made) == 3
    kept.get("d", lambda: make(100))  # the one used longest ago is b
    kept.get("a", lambda: make(100))
    assert len(made) == 4
    kept.get("b", lambda: make(100))
    assert len(made) == 5
    kept.get("large", lambda: make(301))
    kept.get("large", lambda: make(301))
    assert made[-2:] == [301, 301]


def test_a_run_that_failed_is_not_kept(torso):
    study = lesion_in_liver()
    network, torso.network = torso.network, None
    assert run_expert(torso, study).status == "failed"
    torso.network = network
    assert run_expert(torso, study).status == "done"


def test_volumes_are_those_of_the_truth_when_the_labels_are(torso):
    case = generate("ct", 3, "A", findings=["liver lesion:size=40", "effusion:size=90"], shape=(80, 80, 64))
    ids = {"liver": [1], "spleen": [3], "right kidney": [5], "left kidney": [14], "heart": [115],
           "lungs": [28, 29, 30, 31, 32], "liver lesion": [26], "pleural effusion": [141]}  # fmt: skip
    array = np.zeros(case.labels.shape, np.int16)
    for label, name in TORSO_LABELS.items():
        array[np.isin(case.labels.array, ids.get(name, []))] = label
    found = run_expert(torso, study_of(series_of(array, case.labels.affine)))
    truth = {organ["label"]: organ["volume_ml"] for organ in case.truth.visits[0]["organs"]}
    for name in ("liver", "spleen", "lungs", "heart", "liver lesion", "pleural effusion"):
        want = sum(truth.get(label, 0) for label in ids[name])
        assert found.measurements[name]["volume_ml"] == pytest.approx(want, rel=1e-3), name
    lesion = next(one for one in case.truth.visits[0]["findings"] if one["kind"] == "liver lesion")
    assert found.measurements["liver lesion"]["longest_axial_diameter_mm"] == pytest.approx(
        lesion["measurements"]["longest_axial_diameter_mm"], abs=0.1
    )
    assert found.measurements["liver lesion"]["inside"] == "liver"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_bundle_that_is_missing_or_damaged_is_told_and_never_run(tmp_path, number):
    expert = embedded(tmp_path / "nowhere")[number]
    assert "no bundle at" in expert.available()
    expert = embedded(embedded_bundles(tmp_path / "b"))[number]
    assert expert.available() is None
    weights = expert.folder / "models" / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        weights.write_bytes(damaged)
        expert = embedded(tmp_path / "b")[number]
        assert f"{weights}: is damaged or cut short" in expert.available()
        with pytest.raises(InputError, match=r"model\.safetensors: is damaged or cut short"):
            expert.bundle.network()
        assert run_expert(expert, lesion_in_liver()).status in ("failed", "refused")
    weights.unlink()
    assert "expected model.safetensors" in embedded(tmp_path / "b")[number].available()
    (expert.folder / "configs" / "metadata.json").write_text("[1")
    assert "is not valid json" in embedded(tmp_path / "b")[number].available()


def test_a_missing_embedded_bundle_is_got_by_installing_again():
    from attending.experts.embedded import FOLDER

    gone = embedded(FOLDER / "gone")[0]
    assert gone.available().endswith("where this package has it; install attending again")


def test_weights_in_float16_compute_as_the_same_numbers_in_float32(tmp_path):

    network = embedded(embedded_bundles(tmp_path))[0].bundle.network()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(torch.equal(one, one.half().float()) for one in network.parameters())


def test_a_head_or_an_mri_is_refused_and_a_ct_of_an_unknown_part_warned_of(torso):
    array = np.zeros((40, 36, 24), np.int16)
    head = run_expert(torso, study_of(series_of(array, AFFINE, body_part="HEAD")))
    assert (head.status, "the images are of: head" in head.text) == ("refused", True)
    assert run_expert(torso, study_of(series_of(array, AFFINE, modality="MR"))).status == "refused"
    unknown = run_expert(torso, study_of(series_of(array, oblique())))
    assert unknown.status == "done"
    assert any("do not say which body part" in warning for warning in unknown.warnings)
