"""What attending-nano is taught and asked: questions about phantoms in many wordings, and what is said and called."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from attending.consult.short import few, spoken
from attending.corpora.constructions import Answer, Plan, say
from attending.corpora.nano_answers import (
    CHEST,
    LESIONS,
    ORGANS,
    abnormal,
    altogether,
    count,
    diameter,
    each,
    found,
    likeliest,
    likely,
    measured,
    one_each,
    outlined,
    present,
    says,
    side,
    tumor,
    tumor_found,
    volume,
    volumes,
    yes,
)

_CALLED = {
    "CT": "a CT image",
    "MRI": "a brain MRI scan",
    "CXR": "a chest X-ray",
    "CT and CXR": "a CT image and a chest X-ray",
}
_PARTS = ("whole tumor", "tumor core", "enhancing tumor", "peritumoral edema")
_SEAT = {
    "liver": "liver lesion",
    "pancreas": "pancreatic lesion",
    "right kidney": "kidney lesion",
    "left kidney": "kidney lesion",
}
_SIDED = ("lung nodule", "kidney lesion", "pleural effusion", "pneumothorax", "consolidation")


@cache
def wording() -> dict[str, Any]:
    """The data file."""
    text = files("attending.corpora").joinpath("data/nano_wording.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@dataclass(frozen=True)
class Truth:
    """What is true of a study.

    Attributes:
        modality: `CT`, `MRI`, `CXR` or `CT and CXR`.
        findings: Records of `attending.phantom`, by kind.
        organs: Volumes in mL by name.
        shadows: Kinds of finding that the radiograph shows.
    """

    modality: str
    findings: Mapping[str, Sequence[Mapping[str, Any]]]
    organs: Mapping[str, float] = field(default_factory=dict)
    shadows: frozenset[str] = frozenset()


def truth_of(told: Sequence[Mapping[str, Any]]) -> Truth:
    """The truth of one case, or of a CT and a radiograph of one patient, from what their `truth.json` hold."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    organs: dict[str, float] = {}
    shadows: frozenset[str] = frozenset()
    for case in told:
        visit = case["visits"][-1]
        if case["kind"] == "cxr":
            shadows = frozenset(one["kind"] for one in visit["findings"])
            continue
        for one in visit["findings"]:
            by_kind.setdefault(one["kind"], []).append(one)
        organs = {one["name"]: float(one["volume_ml"]) for one in visit.get("organs", ())}
    organs["lungs"] = sum(volume for name, volume in organs.items() if " lung " in name)
    modality = {"ct": "CT", "mri": "MRI", "cxr": "CXR", "ct+cxr": "CT and CXR"}["+".join(case["kind"] for case in told)]
    return Truth(modality, by_kind, organs, shadows)


class Wordings:
    """Draws wordings, from those for training or from those that are reserved for evaluation.

    Args:
        rng: Draws.
        reserved: Whether from the reserved ones, where there are some.
    """

    def __init__(self, rng: np.random.Generator, reserved: bool) -> None:
        self.rng, self.reserved = rng, reserved

    def pick(self, given: Sequence[str]) -> str:
        """One of several."""
        return given[int(self.rng.integers(len(given)))]

    def of(self, bank: Mapping[str, Any], key: str = "train") -> str:
        """One of a bank's."""
        return self.pick((self.reserved and bank.get("reserved")) or bank[key])

    def ask(self, intent: str, **words: str) -> str:
        """A question, with or without courtesies."""
        text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", self.of(wording()["ask"][intent]).format(**words))
        if self.reserved:
            return text[0].upper() + text[1:]
        before, after = (self.pick(wording()["courtesy"][place]) for place in ("before", "after"))
        text = f"{before}{text}{after}"
        return text if self.rng.random() < 0.15 else text[0].upper() + text[1:]


def call(*calls: tuple[str, str]) -> Answer:
    """The model's line that asks experts."""
    text = " ".join(f"<{expert}({argument})>" for expert, argument in calls)
    return lambda findings, told: text


def plans(truth: Truth, words: Wordings) -> Iterator[Plan]:
    """The conversations about one study, in a fixed order; `facts` tell what a right answer holds.

    Facts: `type`; `answer`, from the truth, empty where a refusal is right; `unit`; `about`; `calls`, the experts that
    a right answer has asked, joined by ` and `.
    """
    if truth.modality == "CT and CXR":
        yield from _both(truth, words)
        yield from _plainly(truth, words)
        return
    yield from {"CT": _ct, "MRI": _brain, "CXR": _film}[truth.modality](truth, words)
    yield from _plainly(truth, words)


def _plan(kind: str, question: str, says: Sequence[Answer], answer: str, calls: str = "", **more: Any) -> Plan:
    facts = {"type": kind, "answer": answer, "calls": calls} | {k: more.pop(k, "") for k in ("unit", "about")}
    return Plan(kind, question, tuple(says), facts=facts, **more)


def _names(words: Wordings, table: Mapping[str, Any]) -> dict[str, str]:
    one = words.of(table, "said")
    end = "es" if one.partition(" in ")[0].endswith("s") else "s"
    many = one.replace(" in ", f"{end} in ") if " in " in one else f"{one}{end}"
    bare = one.split()[-1] in ("consolidation", "fluid") or one.startswith("collection")
    if "pneumothorax" in one:
        many = one.replace("pneumothorax", "pneumothoraces")
    return {"it": one, "its": many, "a": one if bare else f"a {one}"}


def _ct(truth: Truth, words: Wordings) -> Iterator[Plan]:
    structures = wording()["structures"]
    for name in _balanced((*LESIONS, *CHEST), [name for name in (*LESIONS, *CHEST) if _found(truth, name)], words):
        yield from _lesion(name, truth.findings.get(structures[name]["kind"], []), words)
    name = words.pick((*LESIONS, *CHEST))
    question = words.ask("free", **_names(words, structures[name]))
    yield _plan("free", question, [call(("TORSO", name)), found(name)], "", "TORSO", about=name)
    organ = words.pick(list(_SEAT))
    name = _SEAT[organ]
    question = words.ask("ok", **_names(words, structures[organ]))
    yield _plan("ok", question, [call(("TORSO", name)), found(name)], "", "TORSO", about=name)
    organs = [name for name in ORGANS if truth.organs.get(name)]
    for name in (words.pick(organs), words.pick(organs)):
        question = words.ask("volume", **_names(words, structures[name]))
        answer = few(truth.organs[name])
        yield _plan(
            "organ volume", question, [call(("TORSO", name)), volume(name)], answer, "TORSO", unit="mL", about=name
        )
    name = words.pick(organs)
    question = words.ask("segment", **_names(words, structures[name]))
    yield _plan("segment", question, [call(("TORSO", name)), outlined(name)], "", "TORSO", about=name)
    both = [("TORSO", "right kidney"), ("TORSO", "left kidney")]
    sizes = volumes("right kidney", "left kidney")
    yield _plan("two volumes", words.ask("both kidneys"), [call(*both), sizes], "", "TORSO")
    yield _plan("report", words.ask("report"), [call(("TORSO", "lesions")), abnormal], _kinds(truth), "TORSO")
    yield _plan("organs", words.ask("organs"), [call(("TORSO", "organs")), measured], "", "TORSO")
    first, second = _one(truth, words), _one(truth, words)
    while second == first:
        second = words.pick(LESIONS)
    asked = [_names(words, structures[name]) for name in (first, second)]
    question = f"{words.ask('presence', **asked[0])} And {asked[1]['its']}?"
    pair = [("TORSO", first), ("TORSO", second)]
    told = [_found(truth, name) for name in (first, second)]
    answer = f"{first}: {yes(told[0])}; {second}: {yes(told[1])}"
    yield _plan("two structures", question, [call(*pair), each(first, second)], answer, "TORSO")
    lesion = words.pick(LESIONS)
    yield _missing("TORSO", words.ask("presence", **_names(words, structures[lesion])), lesion)


def _found(truth: Truth, name: str) -> bool:
    """Whether a CT holds a lesion or fluid."""
    return bool(truth.findings.get(wording()["structures"][name]["kind"]))


def _balanced(names: Sequence[str], there: Sequence[str], words: Wordings) -> list[str]:
    """What is there, and as much of what is not, but three at least: where all say no, looking does not pay."""
    absent = [name for name in words.rng.permutation(names).tolist() if name not in there]
    return [*there, *absent[: max(3, len(there))]]


def _one(truth: Truth, words: Wordings) -> str:
    """A lesion to ask a CT for; as often one that is there, where there is one."""
    there = [name for name in LESIONS if _found(truth, name)]
    return words.pick(there if there and words.rng.random() < 0.5 else LESIONS)


def _kinds(truth: Truth) -> str:
    return ", ".join(name for name in (*LESIONS, *CHEST) if _found(truth, name)) or "nothing"


def _lesion(name: str, there: Sequence[Mapping[str, Any]], words: Wordings) -> Iterator[Plan]:
    """Presence always; count, size, volume and side where there is something, and now and then where there is not."""
    table = wording()["structures"][name]
    asks = call(("TORSO", name))

    def plan(kind: str, intent: str, last: Answer, answer: str, unit: str = "", then: Any = ()) -> Plan:
        question = words.ask(intent, **_names(words, table))
        return _plan(kind, question, [asks, last], answer, "TORSO", unit=unit, about=name, then=then)

    later = (("And how large is it?", diameter(name)),) if there and words.rng.random() < 0.3 else ()
    yield plan("presence", "presence", present(name), yes(bool(there)), then=later)
    if name in LESIONS and (there or words.rng.random() < 0.3):
        yield plan("count", "count", count(name), str(len(there)), "count")
    one = there[0] if len(there) == 1 else None
    if one is None and (there or words.rng.random() < 0.7):
        return
    measured = one["measurements"] if one else {}
    if name in LESIONS:
        across = few(measured["longest_axial_diameter_mm"]) if one else ""
        yield plan("diameter", "diameter", diameter(name), across, "mm")
    if words.rng.random() < 0.7:
        yield plan("volume", "volume", volume(name), few(measured["volume_ml"]) if one else "", "mL")
    if name in _SIDED and one and side_of(one):
        yield plan("side", "side", side(name), side_of(one))


def side_of(one: Mapping[str, Any]) -> str:
    """`right` or `left`, where a finding has a side."""
    told = f"{one.get('side') or ''} {one.get('place') or ''}"
    return next((one for one in ("right", "left") if one in told), "")


def _brain(truth: Truth, words: Wordings) -> Iterator[Plan]:
    there = truth.findings.get("brain tumor", [])
    asks = call(("BRAIN", ""))

    def plan(kind: str, intent: str, last: Answer, answer: str, unit: str = "", it: str = "", about: str = "") -> Plan:
        it = it or words.of(wording()["brain"], "said")
        question = words.ask(intent, it=it, its=f"{it}s", a=f"a {it}")
        return _plan(kind, question, [asks, last], answer, "BRAIN", unit=unit, about=about or "brain tumor")

    for _ in range(4):
        yield plan("presence", "brain", tumor, yes(bool(there)))
    for kind, intent, last, key, unit in (
        ("diameter", "diameter", diameter("tumor core"), "longest_axial_diameter_mm", "mm"),
        ("volume", "volume", volume("whole tumor"), "volume_ml", "mL"),
    ):
        if there or words.rng.random() < 0.4:
            yield plan(kind, intent, last, few(there[0]["measurements"][key]) if there else "", unit)
    if there:
        yield plan("side", "side", side("whole tumor"), side_of(there[0]))
        part = words.pick(_PARTS)
        it = {"peritumoral edema": "edema around the tumor"}.get(part, part)
        yield plan("part", "part", volume(part), "", "mL", it, part)
        yield plan("segment", "segment", outlined("whole tumor"), "")
    for _ in range(2):
        yield _plan("free", words.ask("free brain"), [asks, tumor_found], "", "BRAIN", about="brain tumor")
    yield _plan("report", words.ask("report"), [asks, tumor_found], "", "BRAIN")
    yield _missing("BRAIN", words.ask("brain", it="brain tumor"), "brain tumor")


def _film(truth: Truth, words: Wordings) -> Iterator[Plan]:
    asks, findings = call(("CHEST", "")), wording()["findings"]
    there = [name for name, table in findings.items() if table["kind"] in truth.shadows]
    for name in (*_balanced(list(findings), there, words), *there, words.pick(list(findings))):
        yield _plan("presence", _asked(name, words), [asks, says(name)], yes(name in there), "CHEST", about=name)
    for name in words.rng.permutation(list(findings))[:2].tolist():
        question = words.ask("likely", it=words.of(findings[name], "said"))
        yield _plan("probability", question, [asks, likely(name)], "", "CHEST", about=name)
    yield _plan("report", words.ask("report"), [asks, likeliest], ", ".join(map(spoken, there)) or "nothing", "CHEST")
    name = words.pick(list(wording()["findings"]))
    question = words.ask("finding", it=words.of(wording()["findings"][name], "said"))
    yield _missing("CHEST", question, spoken(name))


def _asked(name: str, words: Wordings) -> str:
    """A question for a finding of radiographs; now and then in a layman's words."""
    table = wording()["findings"][name]
    if not words.reserved and words.rng.random() < 0.15:
        return words.pick(table["lay"])
    return words.ask("finding", it=words.of(table, "said"))


def _both(truth: Truth, words: Wordings) -> Iterator[Plan]:
    """A study with a CT and a radiograph: questions that need both experts, or one of them."""
    structures, findings = wording()["structures"], wording()["findings"]
    shadows = [name for name, table in findings.items() if table["kind"] in truth.shadows]
    for _ in range(5):
        lesion = _one(truth, words)
        name = words.pick(shadows if shadows and words.rng.random() < 0.5 else list(findings))
        it, film = _names(words, structures[lesion]), words.of(findings[name], "said")
        question = words.ask("both", **it, film=film)
        answer = f"{lesion}: {yes(_found(truth, lesion))}; {spoken(name)}: {yes(name in shadows)}"
        pair = (("TORSO", lesion), ("CHEST", ""))
        yield _plan("two experts", question, [call(*pair), one_each(lesion, name)], answer, "CHEST and TORSO")
    pair = (("TORSO", "lesions"), ("CHEST", ""))
    yield _plan("report", words.ask("report"), [call(*pair), altogether], "", "CHEST and TORSO")
    for place, plans_, most in (("CT", _ct(truth, words), 10), ("X-ray", _film(truth, words), 5)):
        asked = [plan for plan in plans_ if not plan.without]
        for index in words.rng.permutation(len(asked))[:most].tolist():
            plan = asked[index]
            yield replace(plan, question=f"On the {place}: {plan.question}")


def _missing(expert: str, question: str, about: str) -> Plan:
    """The expert is not on offer. That one fails is no matter of training: see `Short.closing`."""
    return _plan("missing", question, [say(wording()["say"]["missing"])], "", about=about, without=expert)


def _plainly(truth: Truth, words: Wordings) -> Iterator[Plan]:
    """What needs no expert."""
    told, ask = wording(), wording()["ask"]
    for kind in ("modality", "body"):
        text = told["say"][kind][truth.modality]
        yield _plan(kind, words.ask(kind), [say(text)], text)
    for _ in range(2):
        yield _plan("unanswerable", words.ask("unanswerable"), [say(words.pick(ask["unanswerable"]["answer"]))], "")
    seen = _CALLED[truth.modality]
    for _ in range(2):
        it = words.pick(told["outside"][truth.modality])
        text = f"This study does not show the {it.removeprefix('left ').removeprefix('right ')}."
        yield _plan("outside", words.ask("outside", it=it), [say(text)], "", about=it)
        it = words.pick(told["uncovered"][truth.modality])
        text = f"No expert here looks for {it.removeprefix('a ').removeprefix('an ')}, so I cannot say."
        yield _plan("uncovered", words.ask("uncovered", it=it), [say(text)], "", about=it)
    other = words.pick([one for one in ("CT", "MRI", "CXR") if one not in truth.modality.split(" and ")])
    text = f"This study holds {seen}, not {_CALLED[other]}, so I cannot say."
    yield _plan("elsewhere", words.of(ask["elsewhere"][other]), [say(text)], "", about=other)
    for kind in ("hostile", "unclear", "foreign", "off topic"):
        if words.rng.random() < 0.4:
            yield _plan(kind, words.of(ask[kind]), [say(ask[kind]["answer"][0])], ask[kind]["answer"][0])
    for index in words.rng.permutation(len(told["talk"]))[:2].tolist():
        talk = told["talk"][index]
        yield _plan("talk", words.of(talk, "ask"), [say(talk["say"])], talk["say"])


def unaided(plan: Plan) -> Plan | None:
    """The same question where no expert is on offer: what a look at the picture can tell, else that it cannot."""
    kind, answer = plan.facts["type"], plan.facts["answer"]
    facts = {**plan.facts, "calls": ""}
    if kind == "presence":
        text = f"{answer.capitalize()}."
    elif kind == "side":
        text = f"It is on the {answer}."
    elif kind in ("count", "diameter", "volume", "organ volume", "part", "probability"):
        text = wording()["say"]["unmeasured"]
    elif not plan.facts["calls"] and not plan.without and kind != "uncovered":
        return plan
    else:
        return None
    return replace(plan, says=(say(text),), facts=facts, then=())
