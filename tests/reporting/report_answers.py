"""Small answers for the tests of reports."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from attending.consult import Answer, Call, Check, Transcript, Turn
from attending.experts import ExpertCard, Finding, Record, Segmentation
from attending.imaging import Image2D, Patient, Series, Study, Volume, picture_of, slice_picture

AFFINE = np.diag([5.0, 5.0, 6.0, 1.0])
NAMES = {1: "liver", 26: "hepatic tumor", 25: "hepatic vessel"}
DOE = Patient("MRN-4711", "Doe^Jane", "F", "061Y")


def series(name="1.2.3", array=None, affine=AFFINE, modality="CT", **more):
    """A series in memory; random voxels unless given."""
    if array is None:
        array = np.random.default_rng(0).integers(-200, 300, (40, 36, 20)).astype(np.int16)
    volume = Volume(array, affine, modality, name)
    facts = {"description": "abdomen", "patient": DOE, "orientation": volume.orientation, **more}
    spacing = facts.pop("spacing", volume.spacing)
    return Series(name, "volume", modality, volume.shape, spacing, lambda _: volume, **facts)


def radiograph(name="1.2.9", pixels=None):
    pixels = np.random.default_rng(1).integers(0, 255, (1, 60, 50)).astype(np.uint8) if pixels is None else pixels
    image = Image2D(pixels, (0.5, 0.5), "DX", name)
    return Series(name, "image", "DX", (50, 60, 1), (0.5, 0.5), lambda _: image, description="chest")


def mask(shape=(40, 36, 20), affine=AFFINE):
    """A liver with a tumour in it, at known voxels."""
    labels = np.zeros(shape, np.uint8)
    labels[8:30, 8:28, 4:16] = 1
    labels[20:26, 14:20, 8:12] = 26
    return Segmentation(Volume(labels, affine, series="1.2.3"), NAMES)


def segmented(found=None, **changes):
    """A finding of VISTA3D."""
    record = Record(
        "VISTA3D", "0.5.4", "c0ffee" * 10, {"structures": "hepatic tumor"}, {"1.2.3": "ab" * 32}, 2.5, "cpu"
    )
    tumor = {"volume_ml": 1.728, "components": 1, "longest_axial_diameter_mm": 16.97, "perpendicular_diameter_mm": 16.5}
    tumor |= {"intensity": {"mean": 48.2, "sd": 9.6}, "side": "right", "inside": "liver", "inside_share": 1.0}
    measured = {"liver": {"volume_ml": 1234.5, "components": 1}, "hepatic tumor": tumor}
    finding = Finding("done", "hepatic tumor: 1.7 mL.", record, found or mask(), measured, warnings=("small window",))
    return replace(finding, **changes)


def scored(scores=None, **changes):
    """A finding of CXR."""
    scores = {"Effusion": 0.91, "Mass": 0.08} if scores is None else scores
    spread = {"Effusion": {"lowest": 0.8, "highest": 0.97}}
    record = Record("CXR", "1.3", inputs={"1.2.9": "cd" * 32})
    return replace(Finding("done", "Effusion 0.91.", record, scores=scores, measurements=spread), **changes)


def without(status="refused", expert="BRATS", text="BRATS examines MR; the study holds: CT"):
    return Finding(status, text, Record(expert, arguments={"task": "total"}))


def answer(findings=None, study="ct", text="It measures 45 mm. The liver is large.", checks=(), **changes):
    """An answer about `study` (`ct` makes one) with a transcript that fits."""
    if study == "ct":
        study = Study(Path("/data/DOE_JANE"), [series()])
    findings = (segmented(), without()) if findings is None else tuple(findings)
    pictures = []
    for one in study.series[:1] if study else []:
        volume = one.kind == "volume"
        pictures = [slice_picture(one.volume, "axial", index=3) if volume else picture_of(one.image)]
    cards = tuple(ExpertCard(name, ("CT",), (), "segmentation", "x", "y") for name in ("VISTA3D", "TOTAL"))
    question = changes.pop("question", "Is there a lesion?")
    turns = [Turn("user", question, tuple(pictures), "CT", cards), Turn("assistant", "<VISTA3D(hepatic tumor)>")]
    turns += [Turn("expert", one.text, one.pictures, call=Call(one.record.expert), finding=one) for one in findings]
    facts = {
        "status": "answered", "model": "tiny", "timings": {"total": 1.5}, "versions": {"attending": "0.1"}, "seed": 7,
    }  # fmt: skip
    transcript = Transcript((*turns, Turn("assistant", text)))
    return Answer(question, text, findings=findings, checks=tuple(checks), transcript=transcript, study=study,
                  **{**facts, **changes})  # fmt: skip


def check(sentence="It measures 45 mm.", verdict="contradicted", detail="VISTA3D measured 17 mm.", **more):
    return Check(sentence, "size", "hepatic tumor", verdict, detail, **more)


class Page(HTMLParser):
    """A parsed report: `tags` with attributes, `text` as read, and `open`, the tags never closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.open, self.words, self.crossed = [], [], [], []
        self.feed(self.source)
        self.close()

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]
