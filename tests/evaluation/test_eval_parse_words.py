"""Yes or no, options and lists: traps of negation, words within words, both words, refusals, hedges."""

import pytest

from attending.evaluation.parse import KINDS, parse

YES_NO = {
    # plain
    "yes": True,
    "No.": False,
    "YES!": True,
    "n": False,
    "negative": False,
    "**Yes**": True,
    "Answer: no": False,
    "The answer is yes.": True,
    "The final answer is: No": False,
    "<think>no no no</think>Yes": True,
    "Yes, there is a pleural effusion.": True,
    "No, there is no fracture": False,
    "No there is not": False,
    "Yes, no pneumothorax but effusion is present": True,
    "Yes, but I cannot determine the size.": True,
    "Probably yes": True,
    # "no" and "yes" inside other words are neither
    "normal": None,
    "abnormal": None,
    "nodule": None,
    "The nodule is abnormal": None,
    "unknown": None,
    "Yesterday": None,
    "north": None,
    "not": None,
    # statements
    "There is a nodule in the right lung.": True,
    "The liver shows a lesion": True,
    "No evidence of pneumothorax.": False,
    "There is no evidence of effusion": False,
    "It is not seen": False,
    "I don't see any fracture": False,
    "It is unlikely.": False,
    "The lungs are clear without effusion.": False,
    "The heart is normal.": None,
    # both
    "Yes and no": None,
    "yes or no": None,
    "Yes/No": None,
    "Yes. No.": None,
    "No effusion, but there is a pneumothorax": None,
    # refusals and hedges
    "I cannot tell": None,
    "I can't determine whether yes": None,
    "I can't see the image": None,
    "No, I cannot tell.": None,
    "No, I am not sure": None,
    "I'm sorry, but I can't help with that.": None,
    "There may be a small effusion": None,
    "An effusion cannot be excluded": None,
    "maybe": None,
    "Not yes": None,
    # nothing
    "": None,
    "   \n": None,
}


@pytest.mark.parametrize(("text", "value"), YES_NO.items())
def test_yes_or_no(text, value):
    read = parse("yes_no", text)
    assert read.value is value
    assert read.valid is (value is not None)
    assert bool(read.why) is (value is None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("yes or no", "both"),
        ("I cannot tell", "refusal"),
        ("possibly an effusion", "hedge"),
        ("The heart is normal.", "neither"),
    ],
)
def test_an_invalid_answer_says_why(text, why):
    assert parse("yes_no", text).why == why


OFFERED = ["pleural effusion", "effusion", "pneumonia", "normal"]
OPTIONS = {
    "B": "B",
    "(b)": "B",
    "B.": "B",
    "**C**": "C",
    "b) effusion": "B",
    "A. pleural effusion": "A",
    "C: pneumonia": "C",
    "Option C": "C",
    "answer: c": "C",
    r"\boxed{C}": "C",
    "The answer is (D).": "D",
    "The correct option is C because effusion is not seen": "C",
    "a": "A",
    "pleural effusion": "A",
    "The image shows pneumonia.": "C",
    "Not pneumonia, but effusion": "B",
    "It is pneumonia rather than effusion": "C",
    # traps
    "abnormal": None,
    "a large thing": None,
    "Hepatitis B": None,
    "A. effusion": None,
    "A and B": None,
    "(A) or (C)": None,
    "pneumonia or effusion": None,
    "E": None,
    "I cannot tell": None,
    "pneumonitis": None,
    "": None,
}


@pytest.mark.parametrize(("text", "label"), OPTIONS.items())
def test_options_by_letter_or_text_never_the_nearest(text, label):
    assert parse("option", text, options=OFFERED).value == label


def test_options_may_be_yes_and_no_and_have_their_own_labels():
    assert parse("option", "no", options=["yes", "no"]).value == "B"
    assert parse("option", "No effusion", options=["effusion", "no effusion"]).value == "B"
    assert parse("option", "Right lung", options={"1": "left lung", "2": "right lung"}).value == "2"
    assert parse("option", "A. effusion", options=OFFERED).why == "label and text disagree"
    assert parse("option", "E", options=OFFERED).why == "no such option"


@pytest.mark.parametrize("options", [[], ["one"], ["same", "Same"], [str(i) for i in range(27)]])
def test_impossible_options_are_the_tasks_fault(options):
    with pytest.raises(ValueError, match="options"):
        parse("option", "A", options=options)


LISTS = {
    "edema, effusion and pneumonia": ("edema", "effusion", "pneumonia"),
    "1. edema\n2. effusion": ("edema", "effusion"),
    "- Edema\n- the mass\n- edema": ("edema", "mass"),
    '["Edema", "Mass"]': ("edema", "mass"),
    "edema, no effusion": ("edema",),
    "No effusion, edema or mass": (),
    "none": (),
    "None of the above.": (),
    "I cannot tell": None,
    "": None,
}


@pytest.mark.parametrize(("text", "items"), LISTS.items())
def test_lists_leave_out_what_is_denied(text, items):
    assert parse("list", text).value == items


def test_a_vocabulary_takes_the_longest_name_that_is_not_denied():
    names = ["Effusion", "Pleural Effusion", "Edema"]
    assert parse("list", "There is a pleural effusion but no edema.", vocabulary=names).value == ("Pleural Effusion",)
    assert parse("list", "banana", vocabulary=names).why == "no item"
    assert parse("list", "no edema", vocabulary=names).value == ()


def test_text_is_kept_and_empty_text_is_invalid():
    assert parse("text", " A report. ").value == "A report."
    assert parse("text", " \n ").why == "empty"


def test_an_unknown_kind_names_those_there_are():
    with pytest.raises(ValueError, match="yes_no, option, number, boxes, list, text"):
        parse("vibes", "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "\x00\x1b[31m",
        "\u202eyes",
        "9" * 5000,
        "((((" * 5000,
        "no " * 40000,
        "1,2" * 5000,
        "a" * 300_000,
        "\ud800",
        "[" * 9000,
    ],
)
def test_hostile_text_is_read_or_refused_but_never_raises(kind, text):
    options = {"options": ["one", "two"]} if kind == "option" else {}
    read = parse(kind, text, **options)
    assert read.valid or read.why
