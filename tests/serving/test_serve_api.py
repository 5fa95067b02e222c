"""The API as a client of OpenAI's sees it: a started server, the real client, a model that follows a script."""

import json
from urllib.request import urlopen

import numpy as np
import openai
import pytest
from scripted import cxr_expert
from started import NAME, Model, file_of, grey, image, running, text, url_of

from attending.consult import Attending, Options
from attending.errors import InputError, NotAvailableError
from attending.imaging import open_study
from attending.model import RemoteModel, Sampling
from attending.serving.replies import Live

CALL = '<tool_call>{"name": "CXR", "arguments": {}}</tool_call>'
CHEST = {"attending": {"modality": "CXR", "body_part": "CHEST"}}


def shades(messages, pictures):
    """Says how bright each picture is."""
    return ", ".join(str(int(picture.pixels.mean())) for picture in pictures) or "nothing"


def test_a_question_is_answered_as_the_library_answers_it(tmp_path) -> None:
    model = Model(shades)
    with running(model) as server:
        told = server.ask([{"role": "user", "content": [text("How bright?"), image(grey(77))]}])
        (tmp_path / "x.png").write_bytes(file_of(grey(77)))
        mine = Attending(model, []).ask(open_study(tmp_path / "x.png"), "How bright?")
    assert told.choices[0].message.content == mine.text == "77"
    assert model.asked[0][0] == model.asked[1][0]
    assert np.array_equal(model.asked[0][1][0].pixels, model.asked[1][1][0].pixels)
    assert (told.object, told.model, told.choices[0].finish_reason) == ("chat.completion", NAME, "stop")
    usage = told.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 2, 13)
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert set(told.attending) == set(mine.to_dict()) - {"question", "answer", "model", "files"}
    assert "research use only" in told.attending["notice"]


def test_the_conversation_of_the_client_reaches_the_model_in_order() -> None:
    model = Model(shades)
    with running(model) as server:
        told = server.ask(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [text("Speak plainly.")]},
                {"role": "user", "content": "Hello"},
                {"role": "user", "content": [image(grey(10)), text("and this?")]},
                {"role": "assistant", "content": "It is dark.", "refusal": None, "tool_calls": None},
                {"role": "user", "content": [image(grey(200), "JPEG"), image(grey(30)), text("And these?")]},
                {"role": "assistant", "content": [text("One is bright.")]},
                {"role": "user", "content": "Sure?", "name": "someone"},
            ]
        )
    assert told.choices[0].message.content == "10, 200, 30"
    messages, _ = model.asked[0]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[0]["content"].endswith("Be brief.\nSpeak plainly.")
    assert "Hello\nand this?" in messages[1]["content"]
    assert messages[2]["content"] == "It is dark."
    assert messages[-1]["content"] == "Sure?"


def test_words_between_pictures_keep_their_places() -> None:
    model = Model("x")
    with running(model) as server:
        server.ask([{"role": "user", "content": [text("Before:"), image(), text("after:"), image(), text("Changed?")]}])
        server.ask([{"role": "user", "content": [text("Two:"), image(), image(), text("Same?")]}])
    assert "Before:\n(image 1)\nafter:\n(image 2)\nChanged?" in model.asked[0][0][-1]["content"]
    assert "Two:\nSame?" in model.last


def test_an_expert_examines_the_picture_and_its_finding_comes_beside_the_text() -> None:
    expert = cxr_expert(Effusion=0.91)
    replies = iter([f"Let me ask. {CALL}", "There is an effusion.", "It is on the left."])
    model = Model(lambda messages, pictures: next(replies))
    with running(model, [expert]) as server:
        told = server.ask([{"role": "user", "content": [image(), text("An effusion?")]}], extra_body=CHEST)
        said = told.choices[0].message.content
        again = server.ask(
            [
                {"role": "user", "content": [image(), text("An effusion?")]},
                {"role": "assistant", "content": said},
                {"role": "user", "content": "Which side?"},
            ],
            extra_body=CHEST,
        )
    assert said == "There is an effusion."
    (finding,) = told.attending["findings"]
    assert (finding["expert"], finding["status"], finding["scores"]) == ("CXR", "done", {"Effusion": 0.91})
    assert told.attending["checks"][0]["verdict"] == "supported"
    assert told.attending["status"] == "answered"
    assert "CXR" in model.asked[0][0][0]["content"]
    assert model.asked[0][0][0] == model.asked[2][0][0]  # the expert is on offer in the later question too
    assert again.attending["findings"] == []


@pytest.mark.parametrize(("settings", "status"), [({}, "refused"), ({"modality": "CXR"}, "done")])
def test_without_a_modality_the_expert_refuses_and_the_server_may_give_one(settings, status) -> None:
    replies = iter([CALL, "I cannot tell."])
    with running(Model(lambda *_: next(replies)), [cxr_expert()], **settings) as server:
        told = server.ask([{"role": "user", "content": [image(), text("An effusion?")]}])
    assert [one["status"] for one in told.attending["findings"]] == [status]


def test_the_models_pictures_may_be_routed_to_experts_first() -> None:
    with running(Model("Yes."), [cxr_expert()], Options(route=True)) as server:
        told = server.ask([{"role": "user", "content": [image(), text("An effusion?")]}], extra_body=CHEST)
    assert told.attending["findings"][0]["status"] == "done"


@pytest.mark.parametrize(
    ("content", "experts"),
    [("Hi", []), ([image(), text("What is it?")], []), ([image(), text("What is it?")], [cxr_expert()])],
)
def test_a_stream_says_what_the_whole_says(content, experts) -> None:
    answer = " \n A long answer, with spaces: a < b, and {more} of `it`.  \n "
    with running(Model(answer), experts) as server:
        whole = server.ask([{"role": "user", "content": content}])
        stream = server.ask([{"role": "user", "content": content}], stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content == answer.strip()
    ended = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert [chunk.choices[0].finish_reason for chunk in ended] == ["stop"]
    assert _settled(ended[0].attending) == _settled(whole.attending)
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], whole.usage.total_tokens)
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(pieces) > (6 if not experts else 2)


def _settled(told):
    """Without what differs from one time to the next."""
    return {**told, "timings": 0, "findings": len(told["findings"])}


def test_a_stream_never_tells_a_text_that_turned_into_a_call() -> None:
    replies = iter([f"Let me ask. {CALL}", "An effusion."])
    with running(Model(lambda *_: next(replies)), [cxr_expert()]) as server:
        stream = server.ask([{"role": "user", "content": [image(), text("?")]}], stream=True, extra_body=CHEST)
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "An effusion."
    assert chunks[-1].attending["findings"][0]["expert"] == "CXR"


def test_space_before_the_models_words_makes_no_second_answer() -> None:
    """The sentence on the study comes first, the model's own words begin with a space that the answer trims."""
    live = Live("")
    sent = [live.add(piece) for piece in ("Unlike the phantoms.\n\n", "  The heart", " is large. ")]
    sent.append(live.rest("Unlike the phantoms.\n\nThe heart is large. No more."))
    assert "".join(sent).split() == ["Unlike", "the", "phantoms.", "The", "heart", "is", "large.", "No", "more."]
    assert live.rest("Another answer.") == "\n\nAnother answer."


def test_how_the_text_is_chosen_is_the_requests_or_the_servers() -> None:
    model = Model("x")
    options = Options(sampling=Sampling(max_new_tokens=50, temperature=0.5, seed=4))
    with running(model, options=options) as server:
        server.ask("a")
        server.ask("a", temperature=0, seed=-3, max_tokens=7, top_p=0.5, stop="END")
        server.ask("a", max_completion_tokens=50, stop=["A", "B"], n=1, user="me", logprobs=False, temperature=None)
    assert model.samplings == [
        Sampling(50, 0.5, 1.0, 4),
        Sampling(7, 0.0, 0.5, -3, ("END",)),
        Sampling(50, 0.5, 1.0, 4, ("A", "B")),
    ]


@pytest.fixture(scope="module")
def strict():
    """A server that gives at most 50 tokens."""
    with running(Model("x"), options=Options(sampling=Sampling(max_new_tokens=50))) as server:
        yield server


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 51), ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", True), ("temperature", -1),
        ("temperature", 2.1), ("temperature", "0"), ("top_p", 0), ("seed", 1 << 63), ("seed", 0.5), ("n", 2),
        ("logprobs", True), ("tools", [{"type": "function", "function": {"name": "f"}}]), ("stop", [""]),
        ("stop", ["a"] * 5), ("stop", [1]), ("response_format", {"type": "json_object"}), ("frequency_penalty", 1),
        ("stream", "yes"), ("stream_options", {"x": 1}), ("reasoning_effort", "high"), ("temprature", 1),
        ("attending", {"modality": 3}), ("attending", {"study": "/etc/passwd"}), ("messages", "hello"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(strict, field, value) -> None:
    asked = len(strict.chat.attending.backend.asked)
    with pytest.raises(openai.BadRequestError) as caught:
        strict.ask("a", extra_body={field: value})
    assert field in caught.value.param
    assert caught.value.type == "invalid_request_error"
    assert field in caught.value.message
    assert len(strict.chat.attending.backend.asked) == asked


def test_contradicting_limits_are_refused() -> None:
    with running(Model("x")) as server, pytest.raises(openai.BadRequestError, match="give one"):
        server.ask("a", max_tokens=3, max_completion_tokens=4)


def test_models_and_health_are_told() -> None:
    with running(Model("x")) as server:
        assert [one.id for one in server.client.models.list()] == [NAME]
        with pytest.raises(openai.NotFoundError) as caught:
            server.client.chat.completions.create(model="other", messages=[{"role": "user", "content": "a"}])
        assert caught.value.code == "model_not_found"
        assert NAME in caught.value.message
        health = json.loads(urlopen(f"{server.url}/health").read())
    assert (health["status"], health["requests"]) == ("ok", 0)


def test_our_own_client_reads_our_own_server() -> None:
    model = Model(shades)
    with running(model) as server:
        remote = Attending(RemoteModel(f"{server.url}/v1#{NAME}"), [])
        answer = remote.ask(None, "And now?")
        assert (answer.text, answer.status, answer.tokens["new"]) == ("nothing", "answered", 7)
        with pytest.raises(InputError, match="max_tokens"):
            Attending(RemoteModel(f"{server.url}/v1#{NAME}"), [], Options(sampling=Sampling(2000))).ask(None, "x")


@pytest.mark.parametrize(("status", "reason"), [("rounds", "length"), ("length", "length")])
def test_an_answer_that_a_budget_cut_says_so(status, reason) -> None:
    model = Model(CALL)
    options = Options(rounds=1)
    if status == "length":
        model = Model("x")
        model._speak = lambda text, cancelled: iter([_delta("x"), _delta("", "length")])
    with running(model, [cxr_expert()], options) as server:
        told = server.ask([{"role": "user", "content": [image(), text("?")]}], extra_body=CHEST)
    assert (told.choices[0].finish_reason, told.attending["status"]) == (reason, status)
    assert told.attending["warnings"]


def _delta(words, finish=None):
    from attending.model import Delta

    return Delta(words, finish)


def test_what_the_model_lacks_is_told_as_not_available() -> None:
    def gone(*_):
        raise NotAvailableError("http://far cannot be reached")

    with running(Model(gone)) as server:
        with pytest.raises(openai.InternalServerError, match="far cannot be reached") as caught:
            server.ask("a")
        with pytest.raises(openai.InternalServerError, match="far cannot be reached"):
            server.ask("a", stream=True)
    assert caught.value.status_code == 503


def test_a_fault_of_ours_is_told_without_what_is_inside_and_hurts_nobody_else(caplog) -> None:
    def breaks(messages, pictures):
        if "boom" in messages[-1]["content"]:
            raise ZeroDivisionError("secret of /home/someone")
        return "fine"

    with running(Model(breaks)) as server:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as caught:
                server.ask("boom", stream=stream)
            assert "secret" not in json.dumps(caught.value.body)
            assert server.ask("hello").choices[0].message.content == "fine"
    assert "secret" in caplog.text


def test_a_stream_that_breaks_half_way_says_so() -> None:
    def half(text, cancelled):
        yield _delta("Half a ")
        yield _delta("sentence ")
        raise NotAvailableError("the model's server broke off")

    model = Model("x")
    model._speak = half
    with running(model) as server:
        got = []
        pieces = (got.append(chunk.choices[0].delta.content) for chunk in server.ask("a", stream=True))
        with pytest.raises(openai.APIError, match="broke off"):
            list(pieces)
    assert "".join(got) == "Half a sentence"


def test_half_characters_of_a_model_become_whole_ones() -> None:
    with running(Model("a\ud800b")) as server:
        assert server.ask("x").choices[0].message.content == "a?b"
        assert "".join(one.choices[0].delta.content or "" for one in server.ask("x", stream=True)) == "a?b"


def test_a_picture_may_be_declared_as_another_kind_than_it_is() -> None:
    with running(Model(shades)) as server:
        held = {"url": url_of(file_of(grey(9)), "image/jpeg"), "detail": "low"}
        told = server.ask([{"role": "user", "content": [{"type": "image_url", "image_url": held}, text("?")]}])
    assert told.choices[0].message.content == "9"


def test_a_request_as_lmms_eval_makes_it_is_taken() -> None:
    """models/chat/openai.py and protocol.py of lmms-eval 0.7.3: these fields, PNG as data: URL, words after it."""
    with running(Model(shades), modality="CXR") as server:
        told = server.client.chat.completions.create(
            messages=[{"role": "user", "content": [image(grey(50)), text("Answer with a single word.")]}],
            model=NAME,
            max_tokens=16,
            temperature=0,
        )
    assert told.choices[0].message.content == "50"
    assert told.usage.completion_tokens == 2
