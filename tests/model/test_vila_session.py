"""Sessions: the same text as `generate`, computing only what is new; sampling, stopping, cancelling, constraining."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from vila_pictures import picture

from attending.errors import InputError
from attending.imaging import Picture
from attending.model import Choices, Delta, LocalModel, Sampling, answer_together, load_backend
from attending.model.decoding import TextWriter, choose
from attending.model.lean import KeyValueCache

ASK = {"role": "user", "content": "<image>This is a CT image.\nCan you identify any liver masses?"}
SHORT = Sampling(max_new_tokens=12)


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def generated(model: LocalModel, messages: list[dict[str, Any]], pictures: list[Picture], new: int) -> str:
    """What Transformers' own `generate` says."""
    prompt = model.processor.apply_chat_template(messages, add_generation_prompt=True)
    images = [one.to_pil() for one in pictures] or None
    inputs = model.processor(text=prompt, images=images, return_tensors="pt")
    ids = model.model.generate(**inputs, max_new_tokens=new)[0, inputs["input_ids"].shape[1] :]
    return str(model.tokenizer.decode(ids, skip_special_tokens=True))


@pytest.fixture(params=["llama", "vicuna"])
def model(request: pytest.FixtureRequest, imported: dict[str, Path]) -> LocalModel:
    return LocalModel.load(imported[request.param])


def test_a_session_says_what_generate_says(model: LocalModel) -> None:
    one, two = picture(1), picture(2)
    session = model.session()
    first = list(session.stream([ASK], [one], SHORT))
    assert text_of(first) == generated(model, [ASK], [one], 12)
    follow = [ASK, {"role": "assistant", "content": "A mass."}, {"role": "user", "content": "The results are <image>."}]
    second = list(session.stream(follow, [one, two], SHORT))
    assert text_of(second) == generated(model, follow, [one, two], 12)
    assert first[-1].finish == second[-1].finish == "length"
    assert first[-1].new_tokens == 12
    assert first[-1].reused_tokens == 0
    assert second[-1].reused_tokens >= first[-1].prompt_tokens
    assert all(delta.finish is None for delta in second[:-1])


def test_only_the_common_beginning_is_reused(model: LocalModel) -> None:
    session = model.session()
    reused = []
    for messages, pictures in [
        ([ASK], [picture(1)]),
        ([ASK], [picture(1)]),
        ([ASK], [picture(2)]),  # another picture in the same place
        ([{"role": "user", "content": "liver"}], []),
        ([ASK], [picture(1)]),
    ]:
        deltas = list(session.stream(messages, pictures, SHORT))
        assert text_of(deltas) == generated(model, messages, pictures, 12)
        reused.append((deltas[-1].reused_tokens, deltas[-1].prompt_tokens))
    assert reused[1] == (reused[0][1] - 1, reused[0][1]), "all but the position whose logits are needed"
    begin = model.prompt([ASK], [picture(1)]).ids.index(model.image_token_id)
    assert reused[2][0] == begin
    assert 0 < reused[3][0] <= begin


def test_each_picture_is_encoded_once_by_content(local: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = local.model.get_image_features
    monkeypatch.setattr(local.model, "get_image_features", lambda pixels: seen.append(len(pixels)) or encode(pixels))
    messages = [{"role": "user", "content": "<image><image><image>"}]
    same = picture(41)
    for _ in range(2):  # two sessions of one model
        list(local.session().stream(messages, [same, picture(42), picture(41)], SHORT))
    assert seen == [1, 1]


def test_logits_are_computed_for_one_position_and_no_unused_layer_runs(local: LocalModel) -> None:
    shapes = []
    hook = local.model.lm_head.register_forward_hook(lambda _m, given, _o: shapes.append(given[0].shape[:-1]))
    list(local.session().stream([ASK], [picture(77)], Sampling(max_new_tokens=3)))
    hook.remove()
    assert shapes == [(1,)] * 3
    tower = local.model.model.vision_tower
    assert len(tower.encoder.layers) == local.model.config.vision_config.num_hidden_layers - 1
    assert not hasattr(tower, "head")
    assert isinstance(tower.post_layernorm, torch.nn.Identity)


def test_the_cache_grows_without_losing_what_it_holds() -> None:
    cache = KeyValueCache()
    like = torch.zeros(2, 0, 4)
    cache.reserve(3, 2, like)
    for kept in (*cache.keys, *cache.values):
        kept[:, :3] = torch.randn(2, 3, 4)
    before = [kept[:, :3].clone() for kept in (*cache.keys, *cache.values)]
    cache.length = 3
    cache.reserve(1000, 2, like)
    assert cache.keys[0].shape == (2, 1024, 4)
    assert all(torch.equal(kept[:, :3], one) for kept, one in zip((*cache.keys, *cache.values), before, strict=True))


def test_a_seed_gives_the_same_text_and_another_seed_another(local: LocalModel) -> None:
    def say(seed: int, top_p: float = 1.0) -> str:
        sampling = Sampling(max_new_tokens=12, temperature=1.5, top_p=top_p, seed=seed)
        return text_of(list(local.session().stream([ASK], [picture(1)], sampling)))

    assert say(1) == say(1)
    assert len({say(seed) for seed in range(4)}) == 4
    assert {say(seed, top_p=1e-6) for seed in range(3)} == {
        text_of(list(local.session().stream([ASK], [picture(1)], SHORT)))
    }


def test_top_p_never_draws_what_lies_outside() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)
    drawn = {choose(logits, Sampling(temperature=1.0, top_p=0.75), generator) for _ in range(200)}
    assert drawn == {0, 1}
    every = [choose(logits, Sampling(temperature=1.0), generator) for _ in range(2000)]
    assert abs(every.count(0) / 2000 - 0.5) < 0.05


def test_text_ends_before_a_stop_string_and_never_shows_its_beginning(local: LocalModel) -> None:
    whole = text_of(list(local.session().stream([ASK], [picture(1)], SHORT)))
    stop = whole[4:7]
    deltas = list(local.session().stream([ASK], [picture(1)], Sampling(max_new_tokens=12, stop=(stop, "never"))))
    assert text_of(deltas) == whole[: whole.index(stop)]
    assert deltas[-1].finish == "stop"


def test_the_writer_holds_back_half_characters_and_half_stops() -> None:
    class Bytes:
        def decode(self, ids: list[int], **_: Any) -> str:
            return bytes(ids).decode(errors="replace")

    writer = TextWriter(Bytes(), ("STOP",))
    pieces = [writer.add(one) for one in "é STO STOP x".encode()]
    assert pieces[:2] == ["", "é"]
    assert "".join(pieces) == "é STO "
    assert writer.stopped
    assert writer.finish() == ""
    cut = TextWriter(Bytes(), ("STOP",))
    assert "".join([*(cut.add(one) for one in b"x ST\xc3"), cut.finish()]) == "x ST\ufffd"


def test_an_answer_can_be_cancelled_and_the_session_goes_on(local: LocalModel) -> None:
    session = local.session()
    asked = itertools.count()
    deltas = list(session.stream([ASK], [picture(1)], SHORT, cancelled=lambda: next(asked) >= 3))
    assert (deltas[-1].finish, deltas[-1].new_tokens) == ("cancelled", 3)
    stream = session.stream([ASK], [picture(1)], SHORT)
    next(stream)
    stream.close()  # whoever listens may also just leave
    again = list(session.stream([ASK], [picture(1)], SHORT))
    assert text_of(again) == generated(local, [ASK], [picture(1)], 12)


def test_an_answer_overtaken_by_another_cannot_go_on(local: LocalModel) -> None:
    session = local.session()
    old = session.stream([ASK], [picture(1)], SHORT)
    next(old)
    list(session.stream([ASK], [picture(1)], SHORT))
    with pytest.raises(RuntimeError, match="has begun another answer"):
        next(old)


def test_choices_leave_only_the_options(local: LocalModel) -> None:
    end = min(local.end_ids)
    options = ["<VISTA3D(hepatic tumor)>", "<VISTA3D(liver)>", "no"]
    for option in options:
        choices = Choices(local.tokenizer, options, end)
        wanted = local.tokenizer.encode(option, add_special_tokens=False)

        def steer(
            ids: list[int], logits: torch.Tensor, choices: Choices = choices, wanted: list[int] = wanted
        ) -> torch.Tensor:
            liked = logits.clone()
            if len(ids) < len(wanted):
                liked[wanted[len(ids)]] += 100
            return choices(ids, liked)

        sampling = Sampling(max_new_tokens=40)
        deltas = list(local.session().stream([ASK], [picture(1)], sampling, constraint=steer))
        assert (text_of(deltas), deltas[-1].finish) == (option, "stop")
    free = text_of(list(local.session().stream([ASK], [picture(1)], Sampling(), constraint=choices)))
    assert free in options
    nothing = local.session().stream([ASK], [picture(1)], SHORT, constraint=lambda _ids, logits: logits - torch.inf)
    with pytest.raises(ValueError, match="leaves no token"):
        list(nothing)


def test_a_batch_of_conversations_gives_what_each_gives_alone(model: LocalModel) -> None:
    conversations = [
        ([ASK], [picture(1)]),
        ([{"role": "user", "content": "liver"}], []),
        (
            [ASK, {"role": "assistant", "content": "x"}, {"role": "user", "content": "<image><image>?"}],
            [picture(3)] * 3,
        ),
    ]
    for sampling in (
        SHORT,
        Sampling(max_new_tokens=8, temperature=1.0, seed=3),
        Sampling(max_new_tokens=12, stop=("a",)),
    ):
        together = answer_together(model, conversations, sampling)
        alone = [list(model.session().stream(*one, sampling)) for one in conversations]
        assert [one.text for one in together] == [text_of(pieces) for pieces in alone]
        for one, pieces in zip(together, alone, strict=True):
            assert (one.finish, one.new_tokens) == (pieces[-1].finish, pieces[-1].new_tokens)
            assert one.prompt_tokens == pieces[-1].prompt_tokens


def test_what_does_not_fit_is_refused(local: LocalModel, tmp_path: Path) -> None:
    session = local.session()
    with pytest.raises(InputError, match="1 places for pictures, 0 pictures came"):
        next(session.stream([ASK]))
    with pytest.raises(InputError, match="role is expert: expected system, user or assistant"):
        next(session.stream([{"role": "expert", "content": "x"}]))
    with pytest.raises(InputError, match=r"content is .*: expected parts of type text or image"):
        next(session.stream([{"role": "user", "content": [{"type": "audio"}]}]))
    with pytest.raises(InputError, match=r"prompt length is \d+: the context is 1024 tokens"):
        next(session.stream([{"role": "user", "content": "liver " * 1000}]))
    with pytest.raises(InputError, match="expected a model folder, or an address"):
        load_backend(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"config\.json: the file is missing"):
        load_backend(str(tmp_path))
    with pytest.raises(ValueError, match="0 < top_p <= 1"):
        Sampling(top_p=0)


def test_bfloat16_sessions_run_and_stay_near_float32(imported: dict[str, Path]) -> None:
    half = LocalModel.load(imported["llama"], dtype="bfloat16")
    full = LocalModel.load(imported["llama"])
    logits = []
    for one in (half, full):
        prompt = one.prompt([ASK], [picture(1)])
        logits.append(one.engine().prefill(prompt)[0])
    assert half.model.dtype is torch.bfloat16
    assert (logits[0] - logits[1]).norm() / logits[1].norm() < 0.05
