"""Odd cards, odd packages and odd studies: each is named, none hides the rest."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundles import oblique, series_of, study_of
from standins import CARD, StandIn, finding

from attending.errors import InputError
from attending.experts import ExpertCard, RefusedError, experts, find_expert, fit, read_card, run_expert
from attending.experts.device import computing, on_best_device, precision
from attending.experts.fit import digest
from attending.imaging import Patient

COMMAND = "kind: command\nname: OWN\nmodality: CT\noverview: own\nlabels: {1: one}\ncommand: [prog]\n"


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ATTENDING_EXPERTS", raising=False)
    monkeypatch.setattr("attending.experts.registry.entry_points", lambda group: [])


def ct(name="one", shape=(10, 12, 8), **facts):
    return series_of(np.zeros(shape, np.int16), oblique(), name=name, **({"body_part": "CHEST"} | facts))


def test_cards_lie_in_the_users_config_by_default_and_a_missing_folder_is_no_problem(tmp_path):
    assert experts()[1] == []
    folder = tmp_path / ".config" / "attending" / "experts"
    folder.mkdir(parents=True)
    (folder / "own.yml").write_text(COMMAND)
    (folder / "notes.txt").write_text("not a card")
    found, problems = experts()
    assert list(found)[-1] == "OWN"
    assert problems == []
    assert find_expert("oWn").card.name == "OWN"


def test_of_two_cards_with_one_name_the_first_file_counts_and_the_other_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text(COMMAND + "version: first\n")
    (tmp_path / "b.yaml").write_text(COMMAND + "version: second\n")
    found, problems = experts(tmp_path)
    assert found["OWN"].card.version == "first"
    assert problems == ["b.yaml: there is an expert OWN already; this one is left out"]


def test_a_package_cannot_replace_a_built_in_expert_and_may_return_nonsense(monkeypatch):
    points = [
        SimpleNamespace(name="fake", value="a:b", load=lambda: lambda: StandIn(finding, replace(CARD, name="CXR"))),
        SimpleNamespace(name="empty", value="c:d", load=lambda: lambda: None),
    ]
    monkeypatch.setattr("attending.experts.registry.entry_points", lambda group: points)
    found, problems = experts()
    assert not isinstance(found["CXR"], StandIn)
    assert problems[0].startswith("empty (c:d): AttributeError")
    assert problems[1] == "fake: there is an expert CXR already; this one is left out"


def test_a_card_that_is_huge_or_nests_without_end_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(InputError, match="is larger than 1000000 bytes"):
        read_card(path)
    path.write_text("[" * 20_000)
    with pytest.raises(InputError, match="is not valid YAML"):
        read_card(path)
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(InputError, match="is not valid YAML"):
        read_card(path)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("name: " + "A" * 41, "name"),
        ("name: 'a b'", "name"),
        ("name: ÄRZTIN", "name"),
        ("overview: " + "x" * 1001, "overview"),
        ("modality: {CT: 1}", "modality"),
        ("arguments: {level: []}", "arguments"),
        ("arguments: [level]", "arguments"),
        ("seconds: .nan", "seconds"),
        ("seconds: 100000", "seconds"),
        ("command: []", "command"),
    ],
)
def test_a_field_out_of_bounds_is_named(tmp_path, line, field):
    kept = [one for one in COMMAND.splitlines() if one.split(":")[0] != line.split(":")[0]]
    path = tmp_path / "a.yaml"
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(InputError) as caught:
        read_card(path)
    assert caught.value.field == field


def test_a_card_keeps_what_it_says(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(COMMAND + "body_part: chest\narguments: {part: [all, left]}\nlicence: own\nversion: '2'\n")
    card = read_card(path).card
    assert (card.modality, card.body_part, card.task) == (("CT",), ("CHEST",), "segmentation")
    assert (card.arguments, card.licence, card.version) == ({"part": ("all", "left")}, "own", "2")
    assert card.choose({}) == {"part": "all"}
    with pytest.raises(RefusedError, match="OWN takes as part: all, left; not 'right'"):
        card.choose({"part": "right"})


GROUPS = """
kind: monai-bundle
name: OWN
modality: CT
overview: own
folder: b
labels: {0: background, 1: liver, 2: spleen, 3: cyst}
lesions: [3]
groups: {upper abdomen: [1, 2]}
"""


def test_groups_on_a_card_say_what_may_be_asked_for(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(GROUPS)
    assert read_card(path).card.arguments == {
        "structures": ("everything", "organs", "lesions", "upper abdomen", "liver", "spleen", "cyst")
    }
    path.write_text(GROUPS.replace("lesions: [3]\n", "").replace("{upper abdomen: [1, 2]}", "{}"))
    assert read_card(path).card.arguments == {"structures": ("everything", "liver", "spleen", "cyst")}
    path.write_text(GROUPS.replace("groups: {upper abdomen: [1, 2]}\n", ""))
    assert read_card(path).card.arguments == {}
    shifted = GROUPS.replace("{0: background, ", "{").replace("[3]", "[4]").replace("[1, 2]", "[2, 3]")
    path.write_text(shifted + "overlapping: true\n")  # label ids are then the channel's plus 1
    assert read_card(path).card.arguments["structures"][1:4] == ("organs", "lesions", "upper abdomen")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("{upper abdomen: [1, 2]}", "[1]", "groups"),
        ("{upper abdomen: [1, 2]}", "{upper abdomen: [4]}", "groups.upper abdomen"),
        ("{upper abdomen: [1, 2]}", "{upper abdomen: [0]}", "groups.upper abdomen"),
        ("{upper abdomen: [1, 2]}", "{upper abdomen: []}", "groups.upper abdomen"),
        ("{upper abdomen: [1, 2]}", "{upper abdomen: liver}", "groups.upper abdomen"),
        ("{upper abdomen: [1, 2]}", "{upper abdomen: [[1]]}", "groups.upper abdomen"),
        ("{upper abdomen: [1, 2]}", "{liver: [1]}", "groups.liver"),
        ("{upper abdomen: [1, 2]}", "{everything: [1]}", "groups.everything"),
        ("{upper abdomen: [1, 2]}", "{1: [1]}", "groups"),
        ("labels: {0: background, 1: liver, 2: spleen, 3: cyst}\n", "", "labels"),
        ("folder: b\n", "folder: b\narguments: {level: [a]}\n", "arguments"),
    ],
)
def test_groups_that_cannot_be_are_named(tmp_path, old, new, field):
    path = tmp_path / "a.yaml"
    path.write_text(GROUPS.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_card(path)
    assert caught.value.field == field


def test_localizers_and_flat_series_are_passed_over_for_the_volume():
    plan = ct("plan", (30, 30, 30))
    plan.kind = "localizer"
    flat, deep = ct("flat", (60, 60, 3)), ct("deep")
    (series,), warnings = fit(CARD, study_of(plan, flat, deep))
    assert series is deep
    assert "3 series" not in " ".join(warnings)
    with pytest.raises(RefusedError, match="examines CT"):
        fit(CARD, study_of(plan))


def test_of_equal_series_the_first_is_examined():
    (series,), _ = fit(CARD, study_of(ct("first"), ct("second")))
    assert series.id == "first"


def test_a_series_of_another_part_is_passed_over_for_one_that_fits():
    (series,), warnings = fit(CARD, study_of(ct("knee", (40, 40, 40), body_part="KNEE"), ct("chest")))
    assert series.id == "chest"
    assert warnings == []


def test_another_modality_of_another_patient_does_not_stand_in_the_way():
    study = study_of(ct(), ct("mr", modality="MR", patient=Patient("2")))
    assert run_expert(StandIn(finding), study).status == "done"


def test_the_digest_of_a_series_follows_voxels_type_and_place():
    values = np.zeros((10, 12, 8), np.int16)
    moved = oblique()
    moved[0, 3] += 1
    changed = values.copy()
    changed[0, 0, 0] = 1
    made = [
        series_of(values, oblique()), series_of(changed, oblique()), series_of(values, moved),
        series_of(values.astype(np.uint16), oblique()),
    ]  # fmt: skip
    assert len({digest(series) for series in made}) == 4
    assert digest(series_of(values.copy(order="F"), oblique())) == digest(made[0])


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_has_instructions_for_it(monkeypatch, features, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    cpu = torch.device("cpu")
    assert precision(cpu) is dtype
    with computing(cpu):
        assert torch.is_autocast_enabled("cpu") == (dtype is torch.bfloat16)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_without_bfloat16_computes_in_float32(monkeypatch, has, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert precision(torch.device("cuda")) is dtype


def test_a_fault_that_is_no_want_of_memory_is_not_tried_again(monkeypatch):
    tried = []

    def work(device):
        tried.append(device.type)
        raise ValueError("wrong")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="wrong"):
        on_best_device(work)
    assert tried == ["cuda"]


def test_memory_that_is_short_on_both_devices_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def answer(study):
        def work(device):
            raise torch.OutOfMemoryError("full") if device.type == "cuda" else MemoryError

        return on_best_device(work)

    found = run_expert(StandIn(answer, ExpertCard("BIG", ("CT",), (), "segmentation", "", "")), study_of(ct()))
    assert (found.status, found.text) == ("failed", "BIG: there is not enough memory for this study")
