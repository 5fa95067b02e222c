"""MIMIC-CXR-JPG with the reports of MIMIC-CXR: one frontal radiograph, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.mimic import SPLIT_OF, number, patient, picture, table
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import csv_rows
from attending.corpora.report_text import from_this_picture, rule_based, sections, sentences
from attending.errors import InputError
from attending.imaging.files import open_regular

QUESTION = "Describe the image in detail."
"""VILA-M3's, for training and testing."""
_VIEWS = ("PA", "AP", "LATERAL", "LL")
_REPORT_BYTES = 1 << 20


class _Row(NamedTuple):
    dicom: str
    subject: str
    study: str
    view: str


def read(
    folder: Path,
    split: str,
    *,
    progress: Progress,
    reports: str = "",
    section: str = "findings",
    text: str = "rules",
    views: str = "PA,AP",
) -> Dataset:
    """Read it.

    Args:
        folder: See `READER`.
        split: The official one, `train`, `validate` or `test`; it is by patient.
        progress: See `read`.
        reports: The folder of the reports, above `files`; by default `mimic-cxr-reports` or the same folder.
        section: `findings`, `impression` or `both`. A study whose report lacks it is passed over.
        text: `rules`: what speaks of earlier studies, of calls to colleagues, or has something taken out is cut;
            `verbatim`; or a file of sentences that `attending data rewrite` wrote, used after the rules.
        views: View positions to keep, of PA, AP, LATERAL and LL.
    """
    if section not in ("findings", "impression", "both"):
        raise InputError("expected findings, impression or both", field="section", value=section)
    kept = {view.strip().upper() for view in views.split(",")}
    if not kept <= set(_VIEWS):
        raise InputError(f"expected some of {', '.join(_VIEWS)}", field="views", value=views)
    root = _reports(folder, reports)
    form = _form(text)

    @lru_cache(maxsize=16)  # pictures of one study follow each other
    def text_of(subject: str, study: str) -> str:
        return form(_section(root, subject, study, section))

    def make(row: _Row) -> Conversation:
        image = picture(folder, row.subject, row.study, row.dicom, folder, "dicom_id")
        facts = {"question type": "report", "view": row.view, "modality": "CXR", "study": row.study, "text": form_name}
        messages = turns(f"<image>\n{QUESTION}", text_of(row.subject, row.study))
        return Conversation(row.dicom, messages, (image,), patient(row.subject), "mimic-cxr", split, facts)

    form_name = text if text in ("rules", "verbatim") else "rewritten"
    gather: Gather[_Row] = Gather("mimic-cxr", split, make, progress)
    for row in _images(folder, split, kept, gather):
        gather.look()
        try:
            if not text_of(row.subject, row.study):
                gather.pass_over(f"no {section} that one picture can answer for")
                continue
        except InputError as error:
            gather.refuse(error)
            continue
        gather.add(row._replace(dicom=gather.unique(row.dicom)), "view")
    return gather.dataset()


def report_sentences(folder: Path, reports: str = "", section: str = "findings") -> Iterator[str]:
    """The sentences of all reports of the training split, as the rules leave them; for `rewrite`."""
    gather: Gather[_Row] = Gather("mimic-cxr", "train", lambda row: Conversation("", ()), lambda done: None)
    seen = set()
    root = _reports(folder, reports)
    for row in _images(folder, "train", {"PA", "AP"}, gather):
        if row.study in seen:
            continue
        seen.add(row.study)
        kept = [from_this_picture(sentence) for sentence in sentences(_section(root, row.subject, row.study, section))]
        yield from filter(None, kept)


def _reports(folder: Path, reports: str) -> Path:
    places = [Path(reports)] if reports else [folder / "mimic-cxr-reports", folder]
    for place in places:
        if (place / "files").is_dir():
            return place
    raise InputError("expected the reports in files/p10/p10000032/s50414267.txt ... below this folder", path=places[0])


def _form(text: str) -> Callable[[str], str]:
    if text == "verbatim":
        return lambda section: " ".join(section.split())
    if text == "rules":
        return rule_based
    from attending.corpora.rewrite import read_rewritten

    rewritten = read_rewritten(Path(text))

    def form(section: str) -> str:
        kept = [from_this_picture(sentence) for sentence in sentences(section)]
        return " ".join(dict.fromkeys(rewritten.get(sentence, sentence) for sentence in kept if sentence))

    return form


def _section(root: Path, subject: str, study: str, section: str) -> str:
    path = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}.txt"
    with open_regular(path) as file:
        report = file.read(_REPORT_BYTES).decode("utf-8", "replace")
    found = sections(report)
    wanted = ("FINDINGS", "IMPRESSION") if section == "both" else (section.upper(),)
    return " ".join(found[name] for name in wanted if name in found)


def _images(folder: Path, split: str, views: set[str], gather: Gather[_Row]) -> Iterator[_Row]:
    """The pictures of the split and of these views, as the tables have them."""
    seen_from = {}
    path = table(folder, "metadata")
    for _, row in csv_rows(path, ("dicom_id", "ViewPosition"), gather.refuse):
        seen_from[row["dicom_id"]] = row["ViewPosition"].strip().upper()
    path = table(folder, "split")
    for where, row in csv_rows(path, ("dicom_id", "study_id", "subject_id", "split"), gather.refuse):
        named = SPLIT_OF.get(row["split"])
        try:
            if named is None:
                wrong = "expected train, validate or test"
                raise InputError(wrong, path=path, field=f"{where}, split", value=row["split"])
            study = number(row["study_id"], path, f"{where}, study_id")
            subject = number(row["subject_id"], path, f"{where}, subject_id")
            if row["dicom_id"] not in seen_from:
                wrong = "is not in the metadata table"
                raise InputError(wrong, path=path, field=f"{where}, dicom_id", value=row["dicom_id"])
        except InputError as error:
            gather.refuse(error)
            continue
        if named == split and seen_from[row["dicom_id"]] in views:
            yield _Row(row["dicom_id"], subject, study, seen_from[row["dicom_id"]])


READER = Reader(
    name="mimic-cxr",
    title="MIMIC-CXR-JPG: 377,110 chest radiographs of 227,827 studies, with the reports of MIMIC-CXR",
    expects=(
        "mimic-cxr-2.0.0-split.csv.gz, mimic-cxr-2.0.0-metadata.csv.gz",
        "files/p10/p10000032/s50414267/<dicom id>.jpg ...",
        "mimic-cxr-reports/files/p10/p10000032/s50414267.txt ... (of MIMIC-CXR; or in the option reports)",
    ),
    source="https://physionet.org/content/mimic-cxr-jpg/ and https://physionet.org/content/mimic-cxr/ "
    "(credentialed access)",
    citation="Johnson et al., MIMIC-CXR, Scientific Data 2019, doi:10.1038/s41597-019-0322-0; MIMIC-CXR-JPG, "
    "arXiv:1901.07042",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    splits=("train", "validate", "test"),
    read=read,
)
