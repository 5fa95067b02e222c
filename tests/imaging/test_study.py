"""Studies: what is said of them, what the user may say, and the four sequences of a brain tumour."""

import nibabel as nib
import numpy as np
import pytest
from dicom_files import voxels, write_series

import attending
from attending import InputError
from attending.errors import printable
from attending.imaging import Limits
from attending.imaging.sequences import sequence_of


@pytest.mark.parametrize(
    ("name", "agent", "role"),
    [
        ("T1 axial", "", "t1"),
        ("t1_mprage_sag_p2_iso", "", "t1"),
        ("T1 MPRAGE POST CONTRAST", "", "t1ce"),
        ("t1ce", "", "t1ce"),
        ("T1-CE tra", "", "t1ce"),
        ("T1 +C", "", "t1ce"),
        ("T1 GD", "", "t1ce"),
        ("Ax T1 SE", "Gadovist", "t1ce"),
        ("T1 pre contrast", "Gadovist", "t1"),
        ("T1 without contrast", "", "t1"),
        ("T1 posterior fossa", "", "t1"),
        ("T2 TSE", "", "t2"),
        ("t2_tse_tra", "Gadovist", "t2"),
        ("FLAIR", "", "flair"),
        ("T2 FLAIR dark-fluid", "", "flair"),
        ("t2_tirm_tra_dark-fluid", "", "flair"),
        ("T2* gre", "", None),
        ("ep2d_diff_T2", "", None),
        ("T1 map", "", None),
        ("localizer T1", "", None),
        ("SWI", "", None),
        ("AT1234", "", None),
    ],
)
def test_sequences_are_told_by_what_the_header_calls_them(name, agent, role):
    assert sequence_of(name, contrast_agent=agent) == role


def brain(tmp_path):
    for number, name in enumerate(("T1 axial", "T1 axial post gd", "T2 TSE", "T2 FLAIR")):
        write_series(
            tmp_path,
            voxels((8, 8, 3), 0, 500),
            modality="MR",
            SeriesInstanceUID=f"1.2.{number}",
            SeriesDescription=name,
            SeriesNumber=number,
            name=f"{number}_{{}}",
        )
    return tmp_path


def test_the_four_sequences_are_found(tmp_path):
    found = attending.open_study(brain(tmp_path)).sequences
    assert {role: series.description for role, series in found.items()} == {
        "t1ce": "T1 axial post gd",
        "t1": "T1 axial",
        "t2": "T2 TSE",
        "flair": "T2 FLAIR",
    }


def test_the_user_names_sequences_where_the_header_does_not(tmp_path):
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 3), np.int16), np.eye(4)), tmp_path / f"{name}_t1ce.nii.gz")
    assert attending.open_study(tmp_path).sequences == {}, "a file name says nothing"
    study = attending.open_study(tmp_path, sequences={"t1": "a_t1ce.nii.gz", "flair": "b_t1ce.nii.gz"})
    assert {role: series.id for role, series in study.sequences.items()} == {
        "t1": "a_t1ce.nii.gz",
        "flair": "b_t1ce.nii.gz",
    }
    with pytest.raises(InputError, match="no series here; there is: a_t1ce"):
        attending.open_study(tmp_path, sequences={"t1": "c"})
    with pytest.raises(InputError, match="must be one of t1ce"):
        attending.open_study(tmp_path, sequences={"t3": "c"})


def test_the_user_can_overrule_a_description(tmp_path):
    study = attending.open_study(brain(tmp_path), sequences={"t1ce": "0"})
    assert study.sequences["t1ce"].description == "T1 axial"
    assert "t1" not in study.sequences


def test_two_series_for_one_role_ask_for_the_users_word(tmp_path):
    brain(tmp_path)
    write_series(
        tmp_path,
        voxels((8, 8, 3), 0, 500),
        modality="MR",
        SeriesInstanceUID="1.2.99",
        SeriesDescription="T2 TSE again",
        name="9_{}",
    )
    with pytest.raises(InputError, match=r"--sequence t2=ID"):
        _ = attending.open_study(tmp_path).sequences


def test_other_body_parts_have_no_brain_sequences(tmp_path):
    write_series(tmp_path, voxels(), modality="MR", SeriesDescription="T1 axial", BodyPartExamined="KNEE")
    assert attending.open_study(tmp_path).series[0].sequence is None


def test_modality_comes_from_the_data_or_the_user_never_from_the_name(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 3), np.int16), np.eye(4)), tmp_path / "mri_ct_cxr.nii.gz")
    path = tmp_path / "mri_ct_cxr.nii.gz"
    assert attending.open_study(path).series[0].modality is None
    assert attending.open_study(path, modality="mri").series[0].modality == "MR"
    series = attending.open_study(path, modality="CXR").series[0]
    assert (series.modality, series.body_part) == ("DX", "CHEST")
    assert attending.open_study(path, modality="CT", body_part="liver").series[0].body_part == "LIVER"
    assert attending.open_study(path, modality="CT").series[0].volume.modality == "CT"
    with pytest.raises(InputError, match="must be one of"):
        attending.open_study(path, modality="selfie")


def test_the_users_word_does_not_overrule_the_header(tmp_path):
    write_series(tmp_path, voxels(), BodyPartExamined="ABDOMEN")
    series = attending.open_study(tmp_path, modality="MR", body_part="HEAD").series[0]
    assert (series.modality, series.body_part) == ("CT", "ABDOMEN")


def test_hidden_files_links_to_folders_and_other_files_are_passed_over(tmp_path):
    write_series(tmp_path, voxels())
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "loop").symlink_to(tmp_path)
    study = attending.open_study(tmp_path)
    assert len(study.series) == 1
    assert study.skipped == {"not a medical image": 1}


def test_a_file_without_a_name_is_no_second_patient(tmp_path):
    write_series(tmp_path, voxels())
    nib.save(nib.Nifti1Image(voxels(), np.eye(4)), tmp_path / "mask.nii.gz")
    study = attending.open_study(tmp_path)
    assert [patient.known for patient in study.patients] == [True, False]
    assert not any("patients" in warning for warning in study.warnings)


def test_too_many_files_are_refused(tmp_path):
    write_series(tmp_path, voxels((6, 5, 9)))
    with pytest.raises(InputError, match="ATTENDING_LIMIT_FILES"):
        attending.open_study(tmp_path, limits=Limits(files=8))


def test_progress_counts_every_file(tmp_path):
    write_series(tmp_path, voxels())
    (tmp_path / "notes.txt").write_text("hello")
    counts = []
    attending.open_study(tmp_path, progress=counts.append)
    assert max(counts) == 5


def test_header_text_is_decoded_and_made_safe(tmp_path):
    def edit(k, ds):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName = "Müller^Jürgen"
        ds.SeriesDescription = "a\x1b[31mb"

    write_series(tmp_path, voxels(), edit=edit)
    series = attending.open_study(tmp_path).series[0]
    assert series.patient.name == "Müller Jürgen"
    assert series.description == "a\\x1b[31mb"


def test_an_unknown_character_set_does_not_hide_the_picture(tmp_path):
    for path in write_series(tmp_path, voxels(), SpecificCharacterSet="ISO_IR 192"):
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"KLINGON 42"))
    assert attending.open_study(tmp_path).series[0].patient.name == "Doe Jane"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain Ü 漢", "plain Ü 漢"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("x" * 300, "x" * 200 + "…"),
    ],
)
def test_printable(text, safe):
    assert printable(text) == safe
