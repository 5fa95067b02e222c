"""Experts from outside: YAML cards, commands, entry points, pulled bundles, and the command line."""

import fcntl
import hashlib
import json
import re
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from bundles import brats_bundle, oblique, series_of, study_of, vista3d_bundle
from standins import StandIn, finding

from attending.errors import InputError, NotAvailableError
from attending.experts import ExpertError, experts, find_expert, read_card, run_expert
from attending.experts.pull import pull_bundle
from attending.spatial import same_grid

CARD = """
kind: command
name: THRESHOLD
modality: CT
overview: labels what is bright
arguments: {level: ["100", "500"]}
labels: {1: bright}
lesions: [1]
"""
PROGRAM = """
    import sys, nibabel as nib, numpy as np
    image = nib.load(sys.argv[1])
    print("read", image.shape)
    array = (np.asarray(image.dataobj) > float(sys.argv[3])).astype(np.uint8)
    nib.save(nib.Nifti1Image(array, image.affine), sys.argv[2])
"""


@pytest.fixture
def study():
    values = np.random.default_rng(0).integers(-1000, 1000, (10, 12, 8)).astype(np.int16)
    return study_of(series_of(values, oblique()))


@pytest.fixture(autouse=True)
def _no_cards(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENDING_EXPERTS", str(tmp_path / "cards"))
    monkeypatch.setenv("ATTENDING_BUNDLES", str(tmp_path / "bundles"))
    (tmp_path / "cards").mkdir()


def card(tmp_path, program=PROGRAM, text=CARD, words='"{input}", "{output}", "{level}"'):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    path = tmp_path / "cards" / "threshold.yaml"
    path.write_text(text + f'command: ["{sys.executable}", "{script}", {words}]\n')
    return path


def test_a_command_segments_on_the_source_grid(tmp_path, study):
    expert = read_card(card(tmp_path))
    found = run_expert(expert, study, {"level": "500"})
    assert found.status == "done", found.text
    volume = study.series[0].volume
    np.testing.assert_array_equal(found.segmentation.labels.array, volume.array > 500)
    assert same_grid(found.segmentation.labels, volume)
    assert found.segmentation.names == {1: "bright"}
    assert found.measurements["bright"]["volume_ml"] == pytest.approx((volume.array > 500).sum() * 3.6e-3, abs=1e-3)
    assert run_expert(expert, study, {"level": "500; touch ran"}).status == "refused"


NNUNET = """
    import argparse, json, os, pathlib, re, nibabel as nib, numpy as np

    parser = argparse.ArgumentParser()
    for short, long in (("-i", "--input"), ("-o", "--output"), ("-d", "--dataset"), ("-c", "--configuration")):
        parser.add_argument(short, long, required=True)
    given = parser.parse_args()
    model = pathlib.Path(os.environ["nnUNet_results"]) / f"Dataset{int(given.dataset):03d}_TEST" / given.configuration
    channels = json.loads((model / "dataset.json").read_text())["channel_names"]
    files = sorted(os.listdir(given.input))
    cases = {}
    for name in files:
        case, channel = re.fullmatch(r"(.+)_([0-9]{4})[.]nii[.]gz", name).groups()
        cases.setdefault(case, []).append(int(channel))
    assert list(cases.values()) == [list(range(len(channels)))], files
    images = [nib.load(os.path.join(given.input, name)) for name in files]
    for image in images:
        assert image.ndim == 3 and image.shape == images[0].shape and np.allclose(image.affine, images[0].affine)
        assert image.header["qform_code"] and np.allclose(image.get_qform(), image.affine, atol=1e-3)
        assert image.header.get_xyzt_units()[0] == "mm"
    bright = np.all([np.asarray(image.dataobj) > 100 for image in images], axis=0)
    mask = nib.Nifti1Image(bright.astype(np.uint8), images[0].affine)
    for case in cases:
        nib.save(mask, os.path.join(given.output, f"{case}.nii.gz"))
    for other in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        pathlib.Path(given.output, other).write_text("{}")
"""


@pytest.fixture
def nnunet(tmp_path, monkeypatch):
    """A program that stands where nnU-Net v2 would, and is as strict about what it is given."""
    program = tmp_path / "bin" / "nnUNetv2_predict"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(NNUNET)}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))

    def model(dataset, channels):
        folder = tmp_path / "results" / f"Dataset{dataset}_TEST" / "3d_fullres"
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text(json.dumps({"channel_names": dict(enumerate(channels))}))

    return model


def documented_card(name):
    page = (Path(__file__).parents[2] / "docs" / "experts.md").read_text()
    return next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if f"name: {name}" in block)


def head(affines):
    values = np.random.default_rng(0).integers(0, 900, (10, 12, 8)).astype(np.int16)
    roles = ("flair", "t1", "t1ce", "t2")
    series = zip(roles, affines, strict=True)
    return study_of(*(series_of(values, a, "MR", r, sequence=r, body_part="BRAIN") for r, a in series))


def test_nnunet_is_an_expert_by_the_card_of_the_page(tmp_path, nnunet):
    nnunet("137", ["T1", "T1CE", "T2", "FLAIR"])
    path = tmp_path / "cards" / "nnunet.yaml"
    path.write_text(documented_card("NNUNET_TUMOR"))
    study = head([oblique()] * 4)
    found = run_expert(find_expert("nnunet_tumor"), study)
    assert found.status == "done", found.text
    assert list(found.record.inputs) == ["t1", "t1ce", "t2", "flair"]
    np.testing.assert_array_equal(found.segmentation.labels.array, study.series[0].volume.array > 100)
    assert found.segmentation.names == {1: "edema", 2: "necrotic core", 3: "enhancing tumor"}
    assert found.measurements["edema"]["largest_components"]
    assert found.warnings == ()
    assert found.record.settings["argv"][0] == "nnUNetv2_predict"


def test_sequences_on_other_grids_reach_nnunet_on_the_first_ones(tmp_path, nnunet):
    nnunet("137", ["T1", "T1CE", "T2", "FLAIR"])
    path = tmp_path / "cards" / "nnunet.yaml"
    path.write_text(documented_card("NNUNET_TUMOR"))
    study = head([oblique((1.0, 1.0, 2.0)), oblique(), oblique(), oblique((1.0, 1.0, 2.0))])
    found = run_expert(read_card(path), study)
    assert found.status == "done", found.text
    assert same_grid(found.segmentation.labels, study.sequences["t1"].volume)
    assert found.warnings == tuple(f"{role} lies on another grid than t1 and was resampled" for role in ("t2", "flair"))


def test_what_nnunet_refuses_is_told_with_its_last_line(tmp_path, nnunet):
    nnunet("137", ["T1"])  # trained on fewer channels than the card gives
    path = tmp_path / "cards" / "nnunet.yaml"
    path.write_text(documented_card("NNUNET_TUMOR"))
    found = run_expert(read_card(path), head([oblique()] * 4))
    assert found.status == "failed"
    assert "the program ended with 1: AssertionError: ['case_0000.nii.gz'" in found.text


def test_a_number_without_quotes_in_a_command_is_refused(tmp_path):
    path = tmp_path / "cards" / "a.yaml"
    path.write_text(documented_card("NNUNET_TUMOR").replace('"137"', "137"))
    with pytest.raises(InputError, match="expected a list: the program, then its arguments"):
        read_card(path)


def test_totalsegmentator_is_an_expert_by_the_card_of_the_page(tmp_path, monkeypatch, study):
    program = """
        import argparse, nibabel as nib, numpy as np
        parser = argparse.ArgumentParser()
        parser.add_argument("-i", required=True)
        parser.add_argument("-o", required=True)
        parser.add_argument("--ml", action="store_true", required=True)
        given = parser.parse_args()
        image = nib.load(given.i)
        nib.save(nib.Nifti1Image(np.where(np.asarray(image.dataobj) > 0, 5, 0).astype(np.uint8), image.affine), given.o)
    """
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "TotalSegmentator"
    script.write_text(f"#!{sys.executable}\n{textwrap.dedent(program)}")
    script.chmod(0o755)
    path = tmp_path / "cards" / "total.yaml"
    path.write_text(documented_card("TOTAL"))
    assert "TotalSegmentator is not on the path" in read_card(path).available()
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    found = run_expert(read_card(path), study)
    assert found.status == "done", found.text
    assert found.segmentation.present == (5,)
    assert "liver: " in found.text
    assert "Not found: spleen." in found.text


def test_the_bundle_card_of_the_page_is_read_and_says_where_it_looks(tmp_path):
    path = tmp_path / "cards" / "spleen.yaml"
    path.write_text(documented_card("SPLEEN"))
    missing = read_card(path).available()
    assert "copy the MONAI bundle spleen_ct_segmentation there" in missing
    assert "experts pull" not in missing  # that fetches the built-in ones alone


def test_a_mask_on_another_grid_is_brought_back_and_said_so(tmp_path, study):
    program = """
        import sys, nibabel as nib, numpy as np
        image = nib.as_closest_canonical(nib.load(sys.argv[1]))
        nib.save(nib.Nifti1Image((np.asarray(image.dataobj) > 100).astype(np.uint8), image.affine), sys.argv[2])
    """
    found = run_expert(read_card(card(tmp_path, program)), study)
    np.testing.assert_array_equal(found.segmentation.labels.array, study.series[0].volume.array > 100)
    assert any("another grid" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('no \\x1b[31mlicence')", r"ended with 1: no \x1b[31mlicence"),
        ("pass", "left no label map"),
        ("import sys; open(sys.argv[2], 'wb').write(b'no nifti')", "case.nii.gz"),
        (
            "import sys, nibabel as nib, numpy as np\n"
            "nib.save(nib.Nifti1Image(np.full((4, 4, 4), 0.5, np.float32), np.eye(4)), sys.argv[2])",
            "does not hold label ids",
        ),
    ],
)
def test_a_command_that_fails_or_leaves_nonsense_has_no_finding(tmp_path, study, program, says):
    found = run_expert(read_card(card(tmp_path, program)), study)
    assert found.status == "failed"
    assert says in found.text
    assert found.segmentation is None


def test_a_command_that_is_stopped_is_killed_with_what_it_started(tmp_path, study):
    mark = tmp_path / "alive"
    program = f"""
        import fcntl, os, time
        os.fork()  # both hold the lock from here on, or wait for it
        file = open({str(mark)!r}, "a")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("locked")
        file.flush()
        time.sleep(600)
    """

    def stop(done, total):
        if mark.exists() and mark.read_text():
            raise ExpertError("was stopped")

    found = run_expert(read_card(card(tmp_path, program)), study, progress=stop)
    assert (found.status, found.text) == ("failed", "THRESHOLD: was stopped")
    with mark.open() as file:
        until = time.monotonic() + 20
        while True:  # the kernel may take a moment to end what was killed
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < until, "what the program started is still alive"


def test_a_command_that_hangs_has_failed(tmp_path, study):
    found = run_expert(read_card(card(tmp_path, "import time; time.sleep(600)", CARD + "seconds: 0.05\n")), study)
    assert (found.status, found.text) == ("failed", "THRESHOLD: took longer than its 0.05 seconds")


def test_a_command_that_is_not_installed_says_so(tmp_path, study):
    path = tmp_path / "cards" / "a.yaml"
    path.write_text(CARD + "command: [no-such-program-here, '{input}', '{output}']\n")
    found = run_expert(read_card(path), study)
    assert "no-such-program-here is not on the path" in found.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("kind: shell", "kind"),
        ("name: '../x'", "name"),
        ("modality: []", "modality"),
        ("arguments: {level: 100}", "arguments"),
        ("labels: [1]", "labels"),
        ("seconds: -1", "seconds"),
        ("output: ../../x.nii.gz", "output"),
        ("command: rm -rf /", "command"),
        ("command: [prog, '{secret}']", "command"),
        ("lesions: all", "lesions"),
        ("body_part: {a: 1}", "body_part"),
        ("overview: 3", "overview"),
        ("- a", "YAML"),
        ("x: !!python/object/apply:os.system ['touch ran']", "YAML"),
        ("x: [", "YAML"),
    ],
)
def test_a_card_that_is_wrong_names_the_field(tmp_path, change, field):
    path = tmp_path / "cards" / "a.yaml"
    kept = [line for line in CARD.splitlines() if line.split(":")[0] != change.split(":")[0]]
    path.write_text("\n".join([*kept, *([] if "command" in change else ["command: [prog]"]), change]))
    with pytest.raises(InputError, match=field):
        read_card(path)
    assert not (tmp_path / "ran").exists()


def test_any_monai_bundle_is_an_expert_by_its_card(tmp_path):
    brats_bundle(tmp_path / "cards" / "tumor")
    path = tmp_path / "cards" / "own.yaml"
    path.write_text(
        "kind: monai-bundle\nname: OWN\nmodality: MR\nbody_part: [brain]\nsequences: [t1ce, t1, t2, flair]\n"
        "overview: tumours\nfolder: tumor\noverlapping: true\nlabels: {0: core, 1: whole, 2: enhancing}\nlesions: [1]\n"
    )
    values = np.random.default_rng(0).integers(0, 900, (20, 20, 20)).astype(np.int16)
    roles = ("t1", "t1ce", "t2", "flair")
    study = study_of(*(series_of(values, oblique(), "MR", r, sequence=r, body_part="BRAIN") for r in roles))
    found = run_expert(find_expert("own"), study)
    assert found.status == "done", found.text
    assert found.segmentation.names == {1: "core", 2: "whole", 3: "enhancing"}
    assert list(found.record.inputs) == ["t1ce", "t1", "t2", "flair"]
    for wrong, field in (
        ("labels: {a: b}", "labels"),
        ("overlapping: maybe", "overlapping"),
        ("lesions: 1", "lesions"),
    ):
        kept = [line for line in path.read_text().splitlines() if line.split(":")[0] != wrong.split(":")[0]]
        (tmp_path / "wrong.yaml").write_text("\n".join([*kept, wrong]))
        with pytest.raises(InputError, match=field):
            read_card(tmp_path / "wrong.yaml")


def test_the_registry_has_built_in_experts_cards_and_packages_and_lets_none_stand_in_for_another(tmp_path, monkeypatch):
    card(tmp_path)
    (tmp_path / "cards" / "broken.yml").write_text("kind: nothing")
    (tmp_path / "cards" / "cuckoo.yaml").write_text(CARD.replace("THRESHOLD", "VISTA3D") + "command: [prog]\n")

    def broken():
        raise RuntimeError("no\x1b[31m")

    points = [
        SimpleNamespace(name="standin", value="a:b", load=lambda: lambda: StandIn(finding)),
        SimpleNamespace(name="broken", value="c:d", load=broken),
    ]
    monkeypatch.setattr("attending.experts.registry.entry_points", lambda group: points)
    found, problems = experts()
    assert list(found) == ["VISTA3D", "BRATS", "CXR", "THRESHOLD", "STANDIN"]
    assert found["VISTA3D"].card.overview.startswith("domain-specialized")
    text = "\n".join(problems)
    assert "kind is nothing: expected one of monai-bundle, monai-classifier, command" in text
    assert "there is an expert VISTA3D already" in text
    assert "broken (c:d): RuntimeError: no\\x1b[31m" in text
    with pytest.raises(InputError, match="VISTA3D, BRATS, CXR"):
        find_expert("nobody")


def hub(monkeypatch, files, damaged=False):
    """A model hub with these files at one commit."""
    import huggingface_hub

    def info(self, repository, revision, **rest):
        siblings = []
        for name, content in files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            large = SimpleNamespace(sha256=hashlib.sha256(content).hexdigest()) if name.endswith(".pt") else None
            siblings.append(SimpleNamespace(rfilename=name, lfs=large, blob_id=blob))
        return SimpleNamespace(sha=f"commit-of-{revision}", siblings=siblings)

    def download(repository, name, revision, local_dir):
        assert revision.startswith("commit-of-")
        path = local_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name] + (b"x" if damaged else b""))
        return str(path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


FILES = {
    "configs/inference.json": b"{}", "configs/metadata.json": b"{}", "models/model.pt": b"weights", "LICENSE": b"terms",
    "scripts/evil.py": b"print('ran')", "docs/README.md": b"read me",
}  # fmt: skip


def test_a_bundle_is_pulled_at_one_commit_without_its_scripts(tmp_path, monkeypatch):
    hub(monkeypatch, FILES)
    folder = pull_bundle("vista3d")
    assert folder == tmp_path / "bundles" / "vista3d"
    there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert there == ["LICENSE", "SOURCE", "configs/inference.json", "configs/metadata.json", "models/model.pt"]
    assert (folder / "SOURCE").read_text() == "MONAI/vista3d commit-of-0.5.4\n"
    with pytest.raises(InputError, match="is empty"):
        pull_bundle("vista3d")


def test_a_bundle_that_arrives_damaged_or_not_at_all_leaves_nothing(tmp_path, monkeypatch):
    hub(monkeypatch, FILES, damaged=True)
    with pytest.raises(NotAvailableError, match="arrived damaged"):
        pull_bundle("vista3d")
    assert list((tmp_path / "bundles").iterdir()) == []
    with pytest.raises(InputError, match="vista3d, brats_mri_segmentation"):
        pull_bundle("../x")

    def offline(*args, **rest):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    with pytest.raises(NotAvailableError, match="copy it to"):
        pull_bundle("brats_mri_segmentation")


def command(monkeypatch, capsys, *words):
    from attending.cli import main

    monkeypatch.setattr(sys, "argv", ["attending", "experts", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return caught.value.code or 0, out, " ".join(err.split())


def test_the_table_says_what_is_there_and_how_to_get_the_rest(tmp_path, monkeypatch, capsys):
    vista3d_bundle(tmp_path / "bundles" / "vista3d")
    (tmp_path / "cards" / "broken.yaml").write_text("kind: nothing")
    code, out, err = command(monkeypatch, capsys)
    assert code == 0
    assert all(name in out for name in ("VISTA3D", "BRATS", "CXR"))
    assert "attending experts pull" in out
    assert "TORSO, BRAIN, CHEST come with the package; they learned from synthetic studies alone" in " ".join(
        out.split()
    )
    assert "broken.yaml" in err
    code, out, _ = command(monkeypatch, capsys, "--json")
    told = {row["name"]: row for row in json.loads(out)["experts"]}
    assert told["VISTA3D"]["missing"] is None
    assert told["BRATS"]["missing"]
    assert told["VISTA3D"]["arguments"]["structures"][0] == "everything"
    assert list(told)[:3] == ["VISTA3D", "BRATS", "CXR"]
    assert list(told)[-3:] == ["TORSO", "BRAIN", "CHEST"]
    assert "synthetic studies alone" in told["CHEST"]["overview"]
    assert "kidneys" in told["TORSO"]["arguments"]["structures"]


def test_one_expert_runs_by_itself_and_leaves_mask_picture_and_record(tmp_path, monkeypatch, capsys):
    vista3d_bundle(tmp_path / "bundles" / "vista3d")
    values = np.random.default_rng(0).normal(0, 300, (30, 28, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, oblique()), tmp_path / "a.nii.gz")
    words = ["run", "vista3d", tmp_path / "a.nii.gz", "--modality", "CT", "--out", tmp_path / "out", "--json"]
    code, out, _ = command(monkeypatch, capsys, *words, "--argument", "structures=gastrointestinal")
    told = json.loads(out)
    assert (code, told["status"], told["expert"]) == (0, "done", "VISTA3D")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "vista3d-mask.nii.gz", "vista3d-mask.json", "vista3d-mask-slicer.csv", "vista3d-mask-itksnap.txt",
        "vista3d.png", "vista3d.json",
    }  # fmt: skip
    sidecar = json.loads((tmp_path / "out" / "vista3d-mask.json").read_text())
    assert {str(row["id"]): row["name"] for row in sidecar["labels"] if row["voxels"] and row["id"]} == told["labels"]
    mask = nib.load(tmp_path / "out" / "vista3d-mask.nii.gz")
    np.testing.assert_allclose(mask.affine, oblique(), atol=1e-5)
    assert mask.shape == (30, 28, 16)
    assert sorted(map(str, set(np.unique(mask.dataobj)) - {0})) == sorted(told["labels"])
    code, out, err = command(monkeypatch, capsys, *words[:-1], "--argument", "structures=gastrointestinal")
    assert code == 0
    assert "mL" in out
    assert "research use only" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["VISTA3D", "a.nii.gz"], 3, "examines CT; the study holds: unknown"),
        (["VISTA3D", "a.nii.gz", "--modality", "CT", "--argument", "structures=soul"], 3, "takes as structures"),
        (["VISTA3D", "a.nii.gz", "--argument", "soul"], 3, "expected NAME=VALUE"),
        (["NOBODY", "a.nii.gz"], 3, "expected one of VISTA3D"),
        (["BRATS", "a.nii.gz"], 4, "attending experts pull brats_mri_segmentation"),
        (["VISTA3D", "a.nii.gz", "--modality", "CT", "--seconds", "0.001"], 5, "took longer"),
    ],
)
def test_a_run_without_a_result_ends_with_its_exit_code(tmp_path, monkeypatch, capsys, words, code, says):
    vista3d_bundle(tmp_path / "bundles" / "vista3d")
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    found, out, err = command(monkeypatch, capsys, "run", *words)
    assert (found, out) == (code, "")
    assert says in err
