"""Expert conversations: the published constructions, what they lack, and that nothing in them is invented."""

import re

import numpy as np
import published_files as files
import pytest

from attending.consult.published import Published, cards_text
from attending.consult.tools import Tools
from attending.corpora import read
from attending.corpora.constructions import Speaker, plans_for, wording
from attending.corpora.expert_conversations import cards, expert_conversations
from attending.corpora.phantom_cases import phantom_cases
from attending.corpora.readers import brats, decathlon
from attending.errors import InputError
from attending.experts import Finding, Record

CT, MRI, CXR = (72, 72, 64), (64, 64, 64), (128, 1, 128)
WISHES = ["liver lesion:count=2,size=30"]
CARDS = cards_text(cards())


def said(conversation):
    return [message.content for message in conversation.messages]


def of_kind(dataset, kind):
    return [c for c in dataset.conversations if c.facts["question type"] == kind]


@pytest.fixture(scope="module")
def made():
    """Conversations of small cases, by codec: CT with two liver lesions and without, a tumor, a large heart."""
    cases = [
        *phantom_cases("ct", [3], "A", findings=WISHES, shape=CT),
        *phantom_cases("ct", [4], "A", findings=[], shape=CT),
        *phantom_cases("mri", [3], "A", findings=["brain tumor:size=45"], shape=MRI),
        *phantom_cases("mri", [4], "A", findings=[], shape=MRI),
        *phantom_cases("cxr", [3], "A", findings=["cardiomegaly"], shape=CXR),
    ]
    found = {}
    for codec in (Published(), Tools()):
        dataset = expert_conversations(cases, codec)
        assert not dataset.problems
        found[codec.name] = type(dataset)(
            dataset.name, "train", list(dataset.conversations), dataset.counts, [], [], dataset.patients, ()
        )
    return found


class TestPublishedForm:
    def test_a_lesion_that_is_there(self, made):
        one = next(c for c in of_kind(made["vila-m3"], "vista3d lesion") if c.facts["polarity"] == "positive")
        first, call, result, answer, count, last = said(one)
        question = first.removeprefix(f"{CARDS}<image>This is a CT image.\n")
        assert question in [q.format(a="a", one="hepatic tumor", many="hepatic tumors")
                            for q in wording()["question"]["lesion"]]  # fmt: skip
        assert call == "This looks like a CT image. Let me trigger <VISTA3D(hepatic tumor)>."
        pattern = r"The results are <image>\. The colors in this image describe (.*)\. Use this result to respond to "
        assert re.fullmatch(pattern + rf"this prompt:\n{re.escape(question)}", result)
        assert "hepatic tumor" in re.match(pattern, result)[1]
        assert answer == "yes"
        assert "<image>" not in count
        assert re.fullmatch(r"There is 1 hepatic tumor\.|There are [2-9] hepatic tumors\.", last)
        assert len(one.images) == 2

    def test_the_count_is_that_of_the_overlay_that_is_shown(self, made):
        from scipy import ndimage

        from attending.phantom import generate

        one = next(c for c in of_kind(made["vila-m3"], "vista3d lesion") if c.facts["polarity"] == "positive")
        labels = generate("ct", 3, "A", findings=WISHES, shape=CT).labels.array[:, :, one.images[1].index]
        parts = ndimage.label(labels == 26, np.ones((3, 3)))[1]
        assert parts > 0
        assert said(one)[-1].startswith("There is 1" if parts == 1 else f"There are {parts}")

    def test_a_lesion_that_is_not_there_gets_no_count(self, made):
        negative = [c for c in of_kind(made["vila-m3"], "vista3d lesion") if c.facts["polarity"] == "negative"]
        assert {said(c)[-1] for c in negative} == {"no"}
        assert {len(c.messages) for c in negative} == {4}

    def test_segmentation_ends_with_the_call(self, made):
        for kind, pattern in (
            ("vista3d segment", r"I segmented the .* using <VISTA3D\(\w+\)>\."),
            ("brats segment", r"I segmented any brain tumors using <BRATS\(\)>\."),
        ):
            one = of_kind(made["vila-m3"], kind)[0]
            assert re.fullmatch(pattern, said(one)[-1])
            assert len(one.messages) == 2

    def test_what_is_seen_repeats_the_colors_as_told(self, made):
        one = of_kind(made["vila-m3"], "vista3d what")[0]
        listed = re.search(r"describe (.*)\. Use this", said(one)[2])[1]
        assert said(one)[3] == (
            f"This is a CT image. It contains several anatomical structures, as identified by VISTA3D: {listed}."
        )
        assert len(one.images) == sum(text.count("<image>") for text in said(one)) == 2

    def test_brain_tumors(self, made):
        one = next(c for c in of_kind(made["vila-m3"], "brats lesion") if c.facts["polarity"] == "positive")
        first, call, result, answer = said(one)
        assert first.startswith(
            f"{CARDS}T1(contrast enhanced): <image>, T1: <image>, T2: <image>, FLAIR: <image> These are different MRI "
            "modalities.\n"
        )
        assert call == "This looks like an MRI image sequence. Let me first trigger <BRATS()>."
        assert result.startswith("The results are <image>. The colors in this image describe\n")
        assert "all colors: whole tumor\nUse this result to respond to this prompt:\n" in result
        assert answer == "yes"
        assert len({picture.digest for picture in one.images}) == 5  # the reference saved one of them four times

    def test_chest_radiographs(self, made):
        one = next(c for c in of_kind(made["vila-m3"], "cxr finding") if c.facts["about"] == "Cardiomegaly")
        first, call, result, answer = said(one)
        assert first.startswith(f"{CARDS}<image>This is a CXR image.\n")
        assert call == "This looks like an chest x-ray. Let me first trigger <CXR()>."
        lines = result.split("\n")
        assert lines[0] == "The resulting predictions are:"
        assert lines[1:19] == sorted(lines[1:19])
        assert "cardiomegaly: yes" in lines
        assert answer == "yes"

    def test_the_grade_comes_from_the_folder(self, tmp_path):
        files.brats_case(tmp_path / "HGG", "Brats18_A_1")
        files.brats_case(tmp_path / "LGG", "Brats18_B_1")
        dataset = expert_conversations(brats.cases(tmp_path), Published(), kinds=["brats grade"])
        assert [said(c)[-1] for c in dataset.conversations] == ["high grade glioma", "low grade glioma"]


class TestWhatThePublishedOnesLack:
    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_no_call_where_no_expert_is_needed(self, made, codec):
        for one in of_kind(made[codec], "no expert needed"):
            assert said(one)[-1].startswith("This is a ")
            assert one.facts["expert"] == "none"
            assert any("VISTA3D" in text for text in said(one)[:2])  # it was on offer

    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_an_expert_for_something_else_is_declined(self, made, codec):
        for one in of_kind(made[codec], "wrong expert"):
            named = re.search(r"(BRATS|VISTA3D|CXR) examines (.*), so I did not ask it", said(one)[-1])
            modality = {"BRATS": "MRI", "VISTA3D": "CT", "CXR": "CXR"}[named[1]]
            assert modality != one.facts["modality"]
            assert "<" not in said(one)[-1]

    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_a_failed_expert_leaves_the_question_open(self, made, codec):
        found = of_kind(made[codec], "expert failed")
        assert {c.facts["modality"] for c in found} == {"CT", "MRI", "CXR"}
        for one in found:
            assert one.facts["status"] == "failed"
            assert "could not examine" in said(one)[-1]
            assert "yes" not in said(one)[-1]

    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_an_expert_that_is_not_offered_is_not_called(self, made, codec):
        for one in of_kind(made[codec], "expert missing"):
            left_out = "VISTA3D" if one.facts["modality"] == "CT" else "CXR"
            offers = (f"<{left_out}(", f'"name": "{left_out}"')
            assert not any(offer in said(one)[0] for offer in offers)
            assert one.facts["expert"] == "none"
            assert "None of the experts on offer" in said(one)[-1]

    def test_a_wrong_expert_is_told_and_the_answer_is_true(self, made):
        for one in of_kind(made["tools"], "expert wrong"):
            there = one.facts["about"] == "Cardiomegaly"
            score = float(re.search(rf'"{one.facts["about"]}": ([\d.]+)', said(one)[3])[1])
            assert (score >= 0.5) != there
            assert said(one)[-1].endswith(f"My answer is {'yes' if there else 'no'}.")

    def test_doubt_and_probabilities_are_those_that_were_told(self, made):
        unsure = of_kind(made["tools"], "expert unsure")
        assert unsure
        for one in [*unsure, *of_kind(made["tools"], "cxr probability")]:
            score = re.search(rf'"{one.facts["about"]}": ([\d.]+)', said(one)[3])[1]
            assert f"probability of {score} for" in said(one)[-1]
        assert all("uncertain" in said(one)[-1] for one in unsure)

    def test_two_calls_in_one_turn(self, made):
        one = of_kind(made["vila-m3"], "two calls")[0]
        assert said(one)[1].count("<VISTA3D(") == 2
        assert said(one)[2].count("The results are <image>.") == 2
        assert said(one)[3] == "hepatic tumor: yes; pancreatic tumor: no."
        assert len(one.images) == 3

    def test_two_experts_of_one_study(self):
        cases = phantom_cases("ct+cxr", [3], "A", findings=["liver lesion:size=40", "cardiomegaly"], shape=CT)
        for codec in (Published(), Tools()):
            dataset = expert_conversations(cases, codec, kinds=["two experts", "wrong expert"])
            one, declined = dataset.conversations
            assert "BRATS examines" in said(declined)[-1]  # the other two fit this study
            assert one.facts["expert"] == "VISTA3D, CXR"
            assert one.facts["status"] == "done, done"
            assert said(one)[-1].startswith("hepatic tumor: yes; ")

    def test_measurements_are_those_that_were_told(self, made):
        found = [c for c in of_kind(made["tools"], "vista3d measurement") if c.facts["polarity"] == "positive"]
        assert len(found) == 2
        for one in found:
            number = re.search(r"of ([\d.]+) m", said(one)[-1])[1]
            assert re.search(rf'"hepatic tumor": {{[^}}]*: {re.escape(number)}\b', said(one)[3]), said(one)


class TestAll:
    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_no_answer_holds_a_number_that_was_not_told(self, made, codec):
        for one in made[codec].conversations:
            if one.facts["question type"] == "vista3d lesion" and codec == "vila-m3":
                continue  # counts what the overlay shows
            before = " ".join(said(one)[:-1])
            for number in re.findall(r"\d+(?:\.\d+)?", re.sub(r"VISTA3D", "", said(one)[-1])):
                assert number in before, said(one)[-1]

    @pytest.mark.parametrize("codec", ["vila-m3", "tools"])
    def test_ids_are_unique_and_pictures_fit_their_places(self, made, codec):
        conversations = made[codec].conversations
        assert len({c.id for c in conversations}) == len(conversations)
        assert {c.facts["codec"] for c in conversations} == {codec}
        for one in conversations:
            assert sum(text.count("<image>") for text in said(one)) == len(one.images)

    def test_the_same_seed_gives_the_same_and_another_other_words(self):
        cases = phantom_cases("cxr", [3], "A", findings=["cardiomegaly"], shape=CXR)
        first, again, other = (expert_conversations(cases, Published(), seed=seed) for seed in (0, 0, 1))
        assert [said(c) for c in first.conversations] == [said(c) for c in again.conversations]
        assert [said(c) for c in first.conversations] != [said(c) for c in other.conversations]
        assert first.conversations[2].messages == first.conversations[2].messages

    def test_balanced_keeps_as_many_of_both(self, tmp_path):
        files.decathlon(tmp_path, cases=5)  # one without a tumor
        cases = decathlon.cases(tmp_path)
        plain = expert_conversations(cases, Published(), kinds=["vista3d lesion"])
        even = expert_conversations(cases, Published(), kinds=["vista3d lesion"], balanced=True)
        assert (plain.counts["polarity: positive"], plain.counts["polarity: negative"]) == (4, 1)
        assert (even.counts["polarity: positive"], even.counts["polarity: negative"]) == (1, 1)

    def test_a_decathlon_task_names_its_own_lesion(self, tmp_path):
        dataset = expert_conversations(decathlon.cases(files.decathlon(tmp_path)), Published())
        assert {c.facts["group"] for c in of_kind(dataset, "vista3d lesion")} == {"hepatic tumor"}
        assert {c.patient for c in dataset.conversations} == {"MSD Liver liver_0", "MSD Liver liver_1"}

    def test_a_broken_case_is_a_problem_and_the_others_are_made(self, tmp_path):
        files.decathlon(tmp_path)
        cases = decathlon.cases(tmp_path)
        (tmp_path / "labelsTr/liver_0.nii.gz").write_bytes(b"broken")
        dataset = expert_conversations(cases, Published())
        assert len(dataset.problems) == 1
        assert {c.facts["original id"] for c in dataset.conversations} == {"liver_1"}

    def test_every_plan_has_a_speaker_for_each_modality(self):
        opened = phantom_cases("cxr", [3], "A", findings=[], shape=CXR)[0].open()
        assert plans_for(opened, Speaker("vila-m3", np.random.default_rng(0)), None, {}) == []


class TestRealExperts:
    """Findings that are not the truth: of experts that miss, invent, fail."""

    def run_with(self, tmp_path, answer, codec, kinds):
        files.decathlon(tmp_path)

        def run(expert, study, arguments=None, **more):
            return answer(expert, study, dict(arguments or {}))

        def real(card, case, plan, seed):
            from attending.corpora.truth_expert import TruthExpert

            return TruthExpert(card, case)

        cases = decathlon.cases(tmp_path)
        return expert_conversations(cases, codec, kinds=kinds, expert_of=real, run=run)

    def test_plans_with_a_made_mistake_are_left_out(self, tmp_path):
        from attending.experts import run_expert

        dataset = self.run_with(tmp_path, run_expert, Published(), ())
        assert not of_kind(dataset, "expert failed")
        assert of_kind(dataset, "vista3d lesion")

    def test_what_a_real_expert_failed_at_is_passed_over(self, tmp_path):
        def fails(expert, study, arguments):
            return Finding("failed", "no memory", Record(expert.card.name))

        dataset = self.run_with(tmp_path, fails, Published(), ["vista3d lesion"])
        assert not dataset.conversations
        assert dataset.counts["passed over: VISTA3D gave no result"] == 2
        assert not dataset.problems

    def test_what_a_real_expert_missed_or_invented_is_said(self, tmp_path):
        from dataclasses import replace

        from attending.experts import run_expert

        def swapped(expert, study, arguments):
            found = run_expert(expert, study, arguments)
            labels = found.segmentation.labels
            array = labels.array.copy()
            if (array == 26).any():
                array[array == 26] = 1
            else:
                array[10:14, 10:14, 5] = 26
            facts = {"hepatic tumor": {"volume_ml": 1.0, "components": 1}, "liver": {"volume_ml": 9.0}}
            names = found.segmentation.names
            told = {name: facts[name] for label, name in names.items() if (array == label).any()}
            segmentation = replace(found.segmentation, labels=replace(labels, array=array))
            return replace(found, segmentation=segmentation, measurements=told)

        dataset = self.run_with(tmp_path, swapped, Tools(), ["vista3d lesion", "vista3d measurement"])
        answers = [said(c)[4 if len(said(c)) > 4 else -1] for c in of_kind(dataset, "vista3d lesion")]
        assert answers == ["VISTA3D marked a hepatic tumor, but the image does not bear that out. My answer is no."]
        assert dataset.counts["passed over: the expert measures what is not there"] == 1
        missed = "passed over: the expert did not mark what is there, so there is nothing to measure"
        assert dataset.counts[missed] == 3


class TestTruthExpert:
    def finding(self, case, card, mistake="", about="", seed=0, **arguments):
        from attending.corpora.truth_expert import TruthExpert
        from attending.experts import run_expert

        return run_expert(TruthExpert(card, case, seed, mistake, about), case.study, arguments)

    def test_its_mask_is_the_true_one_of_the_group_asked_for(self, tmp_path):
        case = decathlon.cases(files.decathlon(tmp_path))[0].open()
        vista3d = cards()[1]
        found = self.finding(case, vista3d, structures="hepatic tumor")
        assert found.status == "done"
        assert (found.segmentation.labels.array == case.labels.array).all()
        assert found.measurements["hepatic tumor"]["volume_ml"] == pytest.approx(6 * 6 * 3 * 2 / 1000)
        organs = self.finding(case, vista3d, structures="muscles")
        assert organs.segmentation.present == ()
        missed = self.finding(case, vista3d, "misses", structures="hepatic tumor")
        assert missed.segmentation.present == (1,)

    def test_it_refuses_what_the_expert_would_refuse(self, tmp_path):
        case = decathlon.cases(files.decathlon(tmp_path))[0].open()
        brats_card, vista3d, cxr = cards()
        assert self.finding(case, brats_card).status == "refused"
        assert self.finding(case, cxr).status == "refused"
        assert self.finding(case, vista3d, structures="the heart").status == "refused"
        assert self.finding(case, vista3d, "fails").status == "failed"

    def test_probabilities_lie_on_the_side_of_the_truth_but_for_the_mistake(self):
        case = phantom_cases("cxr", [3], "A", findings=["cardiomegaly"], shape=CXR)[0].open()
        card = cards()[2]
        for seed in range(20):
            scores = self.finding(case, card, seed=seed).scores
            assert [name for name, score in scores.items() if score >= 0.5] == ["Cardiomegaly"]
            assert self.finding(case, card, "misses", "Cardiomegaly", seed).scores["Cardiomegaly"] < 0.5
            assert self.finding(case, card, "invents", "Edema", seed).scores["Edema"] > 0.5
            assert 0.45 <= self.finding(case, card, "unsure", "Edema", seed).scores["Edema"] <= 0.55
        assert len(scores) == 18


class TestReaders:
    def test_phantoms_by_name(self):
        dataset = read("expert-phantom", None, studies="cxr", cases=1, size=128, codec="tools", kinds="cxr finding")
        assert {c.facts["question type"] for c in dataset.conversations} == {"cxr finding"}
        assert dataset.patients == {"phantom 0"}

    def test_volumes_by_name_with_shares(self, tmp_path):
        files.decathlon(tmp_path, cases=4)
        parts = [read("expert-volumes", tmp_path, split, shares="50,0,50") for split in ("train", "test")]
        assert parts[0].patients.isdisjoint(parts[1].patients)
        with pytest.raises(InputError, match="expected decathlon or brats"):
            read("expert-volumes", tmp_path, of="kits")
        with pytest.raises(InputError, match="codec is gpt: expected one of vila-m3, tools"):
            read("expert-volumes", tmp_path, codec="gpt")
