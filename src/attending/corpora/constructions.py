"""Constructions: what one expert conversation is about, and what is said in it.

Those of VILA-M3 for VISTA3D, BRATS and CXR, and what they lack: no expert needed, an expert that does not fit, one that
fails, is unsure or wrong, two calls at once, probabilities and measurements. docs/corpora.md lists where these differ
from the published ones, and why.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from attending.corpora.cases import Labelled
from attending.corpora.readers.gather import PassedOverError
from attending.experts import Finding
from attending.spatial import regions

Answer = Callable[[Sequence[Finding], Sequence[str]], str]
"""What is said next, from the findings so far and the text that was told of each."""


@dataclass(frozen=True)
class Plan:
    """One conversation to be enacted.

    Attributes:
        kind: Which construction.
        question: The user's.
        says: What the model says, one after another; empty calls none.
        polarity: `positive`, `negative`, or empty where it is neither.
        mistake: Of the expert; see `TruthExpert`.
        about: What the mistake is about.
        without: An expert that is not on offer.
        then: Further questions with their answers, without a call.
        facts: For the record.
    """

    kind: str
    question: str
    says: tuple[Answer, ...]
    polarity: str = ""
    mistake: str = ""
    about: str = ""
    without: str = ""
    then: tuple[tuple[str, Answer], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@cache
def wording() -> dict[str, Any]:
    """The data file."""
    return tomllib.loads(files("attending.corpora").joinpath("data/expert_wording.toml").read_text(encoding="utf-8"))


class Speaker:
    """Draws wordings, and writes calls in the grammar of a codec.

    Args:
        codec: `vila-m3` or `tools`.
        rng: Draws.
    """

    def __init__(self, codec: str, rng: np.random.Generator) -> None:
        self.codec, self.rng = codec, rng

    @property
    def tells_numbers(self) -> bool:
        """Whether the model is told measurements and probabilities."""
        return self.codec == "tools"

    def ask(self, bank: str, **words: str) -> str:
        """A question."""
        found = wording()["question"][bank]
        return str(found[int(self.rng.integers(len(found)))]).format(**words)

    def call(self, lead: str, *calls: tuple[str, str], tail: str = "") -> Answer:
        """Words before, one or more calls (expert, argument), and words after them."""
        if self.codec == "tools":
            told = [
                {"name": expert, "arguments": {"structures": argument} if argument else {}}
                for expert, argument in calls
            ]
            text = "\n".join(f"<tool_call>{json.dumps(one)}</tool_call>" for one in told)
        else:
            text = " ".join([lead, " and ".join(f"<{expert}({argument})>" for expert, argument in calls)]) + tail
        return lambda findings, told: text


def say(text: str) -> Answer:
    """An answer that rests on nothing found."""
    return lambda findings, told: text


def failed(findings: Sequence[Finding], what: str) -> str:
    """The answer when no expert has a result."""
    name = findings[-1].record.expert
    return f"{name} gave no result, so I could not examine this image for {what}. I cannot say whether there is any."


def plans_for(case: Labelled, speaker: Speaker, modality: str | None, facts: Mapping[str, str]) -> list[Plan]:
    """The conversations that a case gives, in a fixed order; draws only wordings."""
    if modality == "CT":
        found = _ct(case, speaker)
    elif modality == "MRI":
        found = _brain(case, speaker, facts)
    elif modality == "CXR":
        found = _chest(case, speaker)
    else:
        return []
    return [*found, *_without(case, speaker, modality)]


def _ct(case: Labelled, speaker: Speaker) -> list[Plan]:
    assert case.labels is not None
    there = set(regions(case.labels))
    found = []
    looked_for = [(group, told) for group, told in wording()["groups"].items() if told["label"] in case.names]
    for group, told in looked_for:
        found += _lesion(speaker, group, told, positive=told["label"] in there)
    if looked_for:
        found += _in_vain(speaker, *looked_for[int(speaker.rng.integers(len(looked_for)))])
        if case.present:
            found.append(_two_experts(case, speaker, *looked_for[0]))
    if len(looked_for) > 1:
        found.append(_two(speaker, looked_for[0], looked_for[1]))
    from attending.experts.vista3d import group_ids

    full = [group for group in wording()["segment"] if len(there & set(group_ids(group))) > 1]
    if full:
        group = str(speaker.rng.choice(full))
        what = wording()["segment"][group]
        text = speaker.call(f"I segmented {what} using", ("VISTA3D", group), tail=".")
        says = (text, say(f"I segmented {what}.")) if speaker.tells_numbers else (text,)
        found.append(Plan("vista3d segment", speaker.ask("segment", what=what), says, facts={"group": group}))
        lead = speaker.call("This looks like a CT image. Let me trigger", ("VISTA3D", group), tail=". ")
        found.append(Plan("vista3d what", speaker.ask("what"), (lead, _structures), facts={"group": group}))
    return found


def _structures(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """§7's answer: the colours as they were told; where they were not, the largest structures by name."""
    marker = "The colors in this image describe "
    listed = told[-1].partition(marker)[2].removesuffix(". ")
    if not listed:
        volumes = {name: facts.get("volume_ml", 0.0) for name, facts in findings[-1].measurements.items()}
        listed = ", ".join(sorted(volumes, key=lambda name: -volumes[name])[:8])
    return f"This is a CT image. It contains several anatomical structures, as identified by VISTA3D: {listed}."


def _lesion(speaker: Speaker, group: str, told: dict[str, Any], positive: bool) -> list[Plan]:
    words = {"one": told["one"], "many": told["many"], "a": "an" if told["one"][0] in "aeiou" else "a"}
    lead = speaker.call("This looks like a CT image. Let me trigger", ("VISTA3D", group), tail=". ")
    facts = {"group": group}
    found = []

    def add(kind: str, question: str, answer: Answer, then: Any = ()) -> None:
        polarity = "positive" if positive else "negative"
        found.append(Plan(kind, question, (lead, answer), polarity, then=then, facts=facts))

    question = speaker.ask("lesion", **words)
    if positive:
        count = (speaker.ask("count", **words), _counted(told, speaker.tells_numbers))
        add("vista3d lesion", question, _present(told, speaker.tells_numbers), then=(count,))
        if speaker.tells_numbers:
            add("vista3d measurement", speaker.ask("size", **words), _measured(told, "longest_axial_diameter_mm", "mm"))
            add("vista3d measurement", speaker.ask("volume", **words), _measured(told, "volume_ml", "mL"))
    else:
        add("vista3d lesion", question, _absent(told, speaker.tells_numbers))
        if speaker.tells_numbers:
            add("vista3d measurement", speaker.ask("size", **words), _nothing_to_measure(told))
    return found


def _in_vain(speaker: Speaker, group: str, told: dict[str, Any]) -> list[Plan]:
    """The expert fails, or is not on offer."""
    words = {"one": told["one"], "many": told["many"], "a": "an" if told["one"][0] in "aeiou" else "a"}
    lead = speaker.call("This looks like a CT image. Let me trigger", ("VISTA3D", group), tail=". ")
    facts = {"group": group}
    none = say(f"None of the experts on offer examines CT, so I could not examine this image for {told['many']}.")
    fails: Answer = lambda findings, texts: failed(findings, told["many"])  # noqa: E731
    return [
        Plan("expert failed", speaker.ask("lesion", **words), (lead, fails), mistake="fails", facts=facts),
        Plan("expert missing", speaker.ask("lesion", **words), (none,), without="VISTA3D", facts=facts),
    ]


def _present(told: dict[str, Any], numbers: bool) -> Answer:
    """Yes, with its volume where the model was told it; a real expert may have missed it."""

    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        if not numbers:
            return "yes"
        if not _marked(findings, told["label"]):
            return f"VISTA3D marked no {told['one']}, but this image shows one. My answer is yes."
        return f"Yes. VISTA3D found {told['one']} of {_few(_facts_of(findings, told['label'])['volume_ml'])} mL."

    return answer


def _absent(told: dict[str, Any], numbers: bool) -> Answer:
    """No; a real expert may have marked what is none."""

    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        if not numbers:
            return "no"
        if _marked(findings, told["label"]):
            return f"VISTA3D marked a {told['one']}, but the image does not bear that out. My answer is no."
        return f"No. VISTA3D found no {told['one']}."

    return answer


def _nothing_to_measure(told: dict[str, Any]) -> Answer:
    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        if _marked(findings, told["label"]):
            raise PassedOverError("the expert measures what is not there")
        return f"VISTA3D found no {told['one']} to measure."

    return answer


def _marked(findings: Sequence[Finding], label: int) -> bool:
    segmentation = findings[-1].segmentation
    return segmentation is not None and label in segmentation.present


def _counted(told: dict[str, Any], numbers: bool) -> Answer:
    """As many as the model was told of; without numbers, as many as the overlay that it was shown has."""

    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        count = int(_facts_of(findings, told["label"])["components"])
        if not numbers:
            count = _on_slice(findings, told["label"])
        return f"There is 1 {told['one']}." if count == 1 else f"There are {count} {told['many']}."

    return answer


def _measured(told: dict[str, Any], key: str, unit: str) -> Answer:
    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        what = "volume" if unit == "mL" else "longest axial diameter"
        value = _few(_facts_of(findings, told["label"])[key])
        return f"VISTA3D measures a {what} of {value} {unit}."

    return answer


def _facts_of(findings: Sequence[Finding], label: int) -> Mapping[str, Any]:
    segmentation = findings[-1].segmentation
    if segmentation is None or not _marked(findings, label):
        raise PassedOverError("the expert did not mark what is there, so there is nothing to measure")
    return findings[-1].measurements[segmentation.names[label]]


def _on_slice(findings: Sequence[Finding], label: int) -> int:
    """Parts of a label on the slice that the model is shown of a finding."""
    from scipy import ndimage

    from attending.consult.show import focus

    segmentation, index = findings[-1].segmentation, focus(findings[-1])
    assert segmentation is not None
    shown = segmentation.labels.canonical().array[:, :, index] == label
    return int(ndimage.label(shown, np.ones((3, 3)))[1])


def _few(value: float) -> str:
    """A number as the model is told it."""
    return f"{float(f'{value:.3g}'):g}"


def _two(speaker: Speaker, first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]) -> Plan:
    """Two calls at once."""
    (group, one), (other, two) = first, second
    lead = speaker.call("This looks like a CT image. Let me trigger", ("VISTA3D", group), ("VISTA3D", other), tail=". ")

    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        parts = []
        for told, finding in ((one, findings[-2]), (two, findings[-1])):
            assert finding.segmentation is not None
            parts.append(f"{told['one']}: {'yes' if told['label'] in finding.segmentation.present else 'no'}")
        return f"{parts[0]}; {parts[1]}."

    question = f"Are there {one['many']}, and are there {two['many']}?"
    return Plan("two calls", question, (lead, answer), facts={"group": f"{group}, {other}"})


def _two_experts(case: Labelled, speaker: Speaker, group: str, told: dict[str, Any]) -> Plan:
    """A study with a CT and a radiograph, and a question about both."""
    name = str(speaker.rng.choice([one for one in case.present if one in wording()["findings"]]))
    spoken = wording()["findings"][name]
    lead = speaker.call(
        "This study holds a CT and a chest x-ray. Let me trigger", ("VISTA3D", group), ("CXR", ""), tail=". "
    )

    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        segmentation = findings[-2].segmentation
        assert segmentation is not None
        tumor = "yes" if told["label"] in segmentation.present else "no"
        return f"{told['one']}: {tumor}; {spoken}: {'yes' if case.present[name] else 'no'}."

    question = f"Does the CT show any {told['many']}, and does the chest X-ray show {spoken}?"
    return Plan("two experts", question, (lead, answer), facts={"group": group, "about": name})


def _brain(case: Labelled, speaker: Speaker, facts: Mapping[str, str]) -> list[Plan]:
    assert case.labels is not None
    positive = bool(set(regions(case.labels)) & {1, 2, 4})
    polarity = "positive" if positive else "negative"
    lead = speaker.call("This looks like an MRI image sequence. Let me first trigger", ("BRATS", ""), tail=".")
    said = _tumor(positive, speaker.tells_numbers)
    found = [
        Plan("brats lesion", speaker.ask("brain"), (lead, said), polarity),
        Plan("expert failed", speaker.ask("brain"), (lead, lambda f, t: failed(f, "tumors")), mistake="fails"),
    ]
    if positive:
        text = speaker.call("I segmented any brain tumors using", ("BRATS", ""), tail=".")
        says = (text, say("All tumors were segmented")) if speaker.tells_numbers else (text,)
        found.append(Plan("brats segment", speaker.ask("tumors"), says))
        grade = {"HGG": "high grade glioma", "LGG": "low grade glioma"}.get(facts.get("grade", ""))
        if grade:
            found.append(Plan("brats grade", speaker.ask("grade"), (lead, say(grade)), facts={"grade": grade}))
        if speaker.tells_numbers:
            question = speaker.ask("volume", one="whole tumor")
            found.append(Plan("brats measurement", question, (lead, _whole)))
    return found


def _tumor(positive: bool, numbers: bool) -> Answer:
    def answer(findings: Sequence[Finding], texts: Sequence[str]) -> str:
        said = "yes" if positive else "no"
        if not numbers:
            return said
        marked = any(_marked(findings, label) for label in (1, 2, 4))
        if marked != positive:
            what = "marked a tumor" if marked else "marked no tumor"
            return f"BRATS {what}, but the images do not bear that out. My answer is {said}."
        return "Yes. BRATS found a brain tumor." if positive else "No. BRATS found no brain tumor."

    return answer


def _whole(findings: Sequence[Finding], texts: Sequence[str]) -> str:
    value = _few(findings[-1].measurements["whole tumor"]["volume_ml"])
    return f"BRATS measures a volume of the whole tumor of {value} mL."


def _chest(case: Labelled, speaker: Speaker) -> list[Plan]:
    lead = speaker.call("This looks like an chest x-ray. Let me first trigger", ("CXR", ""), tail=".")
    known = {name: wording()["findings"][name] for name in case.present if name in wording()["findings"]}
    found = []
    for name, spoken in known.items():
        polarity, said = ("positive", "yes") if case.present[name] else ("negative", "no")
        question = speaker.ask("finding", finding=spoken)
        found.append(Plan("cxr finding", question, (lead, say(said)), polarity, about=name, facts={"about": name}))
        if speaker.tells_numbers:
            asked = speaker.ask("likely", finding=spoken)
            found.append(Plan("cxr probability", asked, (lead, _likely(name, spoken)), facts={"about": name}))
    if known:
        found += _doubtful(case, speaker, lead, known)
    failing = speaker.ask("finding", finding="anything wrong")
    found.append(Plan("expert failed", failing, (lead, lambda f, t: failed(f, "anything wrong")), mistake="fails"))
    none = say("None of the experts on offer examines chest X-rays, so I could not have this image examined.")
    found.append(Plan("expert missing", "Please have an expert check this image.", (none,), without="CXR"))
    return found


def _doubtful(case: Labelled, speaker: Speaker, lead: Answer, known: Mapping[str, str]) -> list[Plan]:
    """The expert is wrong about one finding, or unsure of one: seldom, or a model would learn to pass it over."""
    name, other = (str(speaker.rng.choice(list(known))) for _ in range(2))
    there, spoken = case.present[name], known[name]
    polarity, said, mistake = ("positive", "yes", "misses") if there else ("negative", "no", "invents")
    text = say(f"CXR says {'no' if there else 'yes'}, but the image does not bear that out. My answer is {said}.")
    question = speaker.ask("finding", finding=spoken)
    found = [Plan("expert wrong", question, (lead, text), polarity, mistake, name, facts={"about": name})]
    if speaker.tells_numbers:
        asked = speaker.ask("finding", finding=known[other])
        says = (lead, _unsure(other, known[other]))
        found.append(Plan("expert unsure", asked, says, "", "unsure", other, facts={"about": other}))
    return found


def _likely(name: str, spoken: str) -> Answer:
    return lambda findings, told: (
        f"CXR gives a probability of {_few(round(findings[-1].scores[name], 2))} for {spoken}."
    )


def _unsure(name: str, spoken: str) -> Answer:
    return lambda findings, told: (
        f"That is uncertain: CXR gives a probability of {_few(round(findings[-1].scores[name], 2))} for {spoken}."
    )


def _without(case: Labelled, speaker: Speaker, modality: str) -> list[Plan]:
    """Cards are on the table, and no expert is needed, or the one that is asked for does not fit."""
    kind = str(wording()["answer"]["kind"][modality])
    takes = {"VISTA3D": "CT", "BRATS": "brain MRI", "CXR": "chest X-rays"}
    fits = {{"CT": "VISTA3D", "MRI": "BRATS", "CXR": "CXR"}[modality]} | ({"CXR"} if case.present else set())
    wrong = str(speaker.rng.choice([name for name in takes if name not in fits]))
    text = f"{kind} {wrong} examines {takes[wrong]}, so I did not ask it."
    return [
        Plan("no expert needed", speaker.ask("kind"), (say(kind),)),
        Plan("wrong expert", speaker.ask("wrong", expert=wrong, many="lesions"), (say(text),), facts={"expert": wrong}),
    ]
