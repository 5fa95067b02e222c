"""What a model's text asks for, by either grammar (fault 22)."""

import pytest

from attending.consult.calls import json_calls, tag_calls, unique, written_out
from attending.experts import ExpertCard
from attending.experts.brats import Brats
from attending.experts.cxr import Cxr
from attending.experts.vista3d import Vista3D

CARDS = [Brats().card, Vista3D().card, Cxr().card]
TWO = ExpertCard("TWO", ("CT",), (), "segmentation", "o", "a", {"what": ("a", "b"), "side": ("left", "right")})


def asked(text, cards=CARDS, parse=tag_calls):
    return [(call.expert, dict(call.arguments), call.problem) for call in unique(parse(text, cards))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This looks like a CT image. Let me trigger <VISTA3D(hepatic tumor)>. ", ("VISTA3D", "hepatic tumor")),
        ("I segmented the entire image using <VISTA3D(everything)>.", ("VISTA3D", "everything")),
        ("This looks like an chest x-ray. Let me first trigger <CXR()>.", ("CXR", None)),
        ("I segmented any brain tumors using <BRATS()>.", ("BRATS", None)),
        ("<BRATS(None)>", ("BRATS", None)),
        ("<CXR(whatever it says)>", ("CXR", None)),
        ("<VISTA3D>", ("VISTA3D", None)),
        ("<vista3d('hepatic tumor')>", ("VISTA3D", "hepatic tumor")),
        ("< VISTA3D ( hepatic tumor ) >", ("VISTA3D", "hepatic tumor")),
        ("<VISTA3D(structures=organs)>", ("VISTA3D", "organs")),
        ("<VISTA3D(organs (all (of them)))>", ("VISTA3D", "organs (all (of them))")),
        ("<VISTA3D(Liver lesions)>", ("VISTA3D", "hepatic tumor")),
        ("<VISTA3D(left-sided effusion)>", ("VISTA3D", "left-sided effusion")),
        ("<VISTA3D(tumor)>", ("VISTA3D", "tumor")),
    ],
)
def test_a_call_in_the_published_grammar(text, expected):
    name, value = expected
    assert asked(text) == [(name, {} if value is None else {"structures": value}, "")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No expert is needed.",
        "<image> shows <b>a liver</b> and <script>alert(1)</script>",
        'One would write "<VISTA3D(organs)>" to call it.',
        "Write `<VISTA3D(organs)>` to call it.",
        "```\n<VISTA3D(organs)>\n```",
        "“<CXR()>” is how it is called",
        "2 < 3 (and 4 > 3)",
        "VISTA3D(organs) without brackets",
    ],
)
def test_talk_of_a_call_is_no_call(text):
    assert asked(text) == []


def test_several_calls_in_one_answer_come_in_order_and_equal_ones_once():
    text = "First <VISTA3D(organs)>, then <CXR()>, again <VISTA3D(organs)> and <VISTA3D(skeleton)>"
    assert asked(text) == [
        ("VISTA3D", {"structures": "organs"}, ""),
        ("CXR", {}, ""),
        ("VISTA3D", {"structures": "skeleton"}, ""),
    ]


def test_a_quotation_before_a_call_does_not_hide_it():
    assert asked('The "liver" is "large": <VISTA3D(organs)>') == [("VISTA3D", {"structures": "organs"}, "")]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("<VISTA3D(hepatic tumor", "VISTA3D", "not closed"),
        ("<VISTA3D(hepatic tumor> and more", "VISTA3D", "not closed"),
        ("<VISTA3D(hepatic\ntumor)>", "VISTA3D", "not closed"),
        ("<CTSEG(liver)>", "CTSEG", "there is no expert of this name; there are: BRATS, VISTA3D, CXR"),
        ("<NAME(args)>", "NAME", "there is no expert"),
        ("<expert: VISTA3D liver>", "VISTA3D", "expected <VISTA3D(args)>"),
    ],
)
def test_a_call_that_cannot_be_carried_out_says_why(text, name, says):
    ((expert, _, problem),) = asked(text)
    assert expert == name
    assert says in problem


def test_a_value_in_other_words_is_the_one_that_the_expert_lists():
    card = ExpertCard("E", ("CT",), (), "segmentation", "o", "a", {"what": ("kidneys", "left kidney", "right kidney")})
    text = "<E(left-sided kidney)> <E(what=Kidney)> <E(RIGHT  kidney)> <E(kidney on the left)>"
    told = [{"what": "left kidney"}, {"what": "kidneys"}, {"what": "right kidney"}, {"what": "kidney on the left"}]
    assert [arguments for _, arguments, _ in asked(text, [card])] == told


def test_several_arguments_go_by_place_or_by_name():
    assert asked("<TWO(a, left)>", [TWO]) == [("TWO", {"what": "a", "side": "left"}, "")]
    assert asked("<TWO(side=right)>", [TWO]) == [("TWO", {"side": "right"}, "")]
    assert "takes 2 arguments" in asked("<TWO(a, left, up)>", [TWO])[0][2]


def test_a_text_for_people_names_the_expert_instead_of_the_tag():
    text = "I segmented the liver using <VISTA3D(organs)>. "
    assert written_out(text, tag_calls(text, CARDS)) == "I segmented the liver using VISTA3D(organs)."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>{"name": "VISTA3D", "arguments": {"structures": "organs"}}</tool_call>', {"structures": "organs"}),
        ('Sure.\n<tool_call>\n{"name": "vista3d"}\n</tool_call>', {}),
        ('<tool_call>{"name": "VISTA3D", "arguments": null}', {}),
        (
            '<tool_call>{"name": "VISTA3D", "arguments": {"a": "} </tool_call> {"}}</tool_call>',
            {"a": "} </tool_call> {"},
        ),
        ('<tool_call>{"name": "VISTA3D", "arguments": {"n": 3}}</tool_call>', {"n": "3"}),
        (
            '<tool_call>{"name": "VISTA3D", "arguments": {"structures": "Pulmonary nodule"}}</tool_call>',
            {"structures": "lung tumor"},
        ),
    ],
)
def test_a_call_in_json(text, expected):
    assert asked(text, parse=json_calls) == [("VISTA3D", expected, "")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<tool_call>VISTA3D(organs)</tool_call>", "expected"),
        ('<tool_call>{"name": "VISTA3D"', "expected"),
        ("<tool_call>" + "[" * 50_000, "expected"),
        ('<tool_call>["VISTA3D"]</tool_call>', '"name"'),
        ('<tool_call>{"name": 3}</tool_call>', '"name"'),
        ('<tool_call>{"name": "NOBODY"}</tool_call>', "there is no expert"),
        ('<tool_call>{"name": "CXR", "arguments": ["a"]}</tool_call>', "must be an object"),
        ('<tool_call>{"name": "CXR", "arguments": {"a": {"b": 1}}}</tool_call>', "must be an object"),
    ],
)
def test_json_that_is_no_call_says_why(text, says):
    assert says in asked(text, parse=json_calls)[0][2]


def test_several_calls_in_json_and_one_in_code():
    one = '<tool_call>{"name": "CXR"}</tool_call>'
    two = '<tool_call>{"name": "BRATS"}</tool_call>'
    assert [name for name, _, _ in asked(f"{one}{two} `{one}` {two}", parse=json_calls)] == ["CXR", "BRATS"]
    assert asked(f"```{one}```", parse=json_calls) == []
    assert written_out(f"Now {one} and {two}!", json_calls(f"Now {one} and {two}!", CARDS)) == "Now CXR() and BRATS()!"


@pytest.mark.parametrize(
    "text", ["<" * 100_000, "<a(" * 30_000, "<VISTA3D(" + "(" * 100_000, '"' * 100_000, "`" * 99_999]
)
def test_a_hostile_text_is_read_to_its_end_and_no_call_can_be_carried_out(text):
    for parse in (tag_calls, json_calls):
        assert all(call.problem for call in unique(parse(text, CARDS)))
