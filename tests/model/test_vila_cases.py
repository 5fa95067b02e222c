"""Cases that no fixture records, against an oracle written from the rules (`vila_reference.py`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from vila_pictures import image
from vila_reference import IMAGE, Reference

from attending.errors import InputError
from attending.model import import_checkpoint

ASK = "<image>This is a CT image.\nCan you identify any liver masses?"
TURNS = {
    "one picture": ([("user", ASK)], 1),
    "no picture": ([("user", "What is in the scan?")], 0),
    "two pictures": ([("user", "<image>\n<image>\nCompare them.")], 2),
    "adjacent pictures": ([("user", "T1: <image><image> end")], 2),
    "a space after a picture": ([("user", "<image> This is a CXR image.")], 1),
    "pictures alone": ([("user", "<image><image><image>")], 3),
    "several turns": (
        [("user", ASK), ("assistant", "Let me look."), ("user", "The results are <image>. So?")],
        2,
    ),
    "two user turns in a row": ([("user", "liver"), ("user", "tumor")], 0),
    "an answer of spaces and signs": ([("user", "Q"), ("assistant", "  Yes, é 中.\n"), ("user", " \n why ")], 0),
}


class Both:
    """A model imported by us and the oracle on the same files."""

    def __init__(self, published: Path, imported: Path) -> None:
        self.reference = Reference(published)
        self.processor = AutoProcessor.from_pretrained(imported)
        self.model = AutoModelForImageTextToText.from_pretrained(imported, dtype=torch.float32)

    def prompt(self, turns: list[tuple[str, str]], open_turn: bool = True) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        rendered: str = self.processor.apply_chat_template(messages, add_generation_prompt=open_turn)
        return rendered

    def ids(self, prompt: str) -> list[int]:
        """The oracle's ids with ours in place of its pictures."""
        each = self.processor.image_seq_length
        return [
            one
            for id_ in self.reference.tokenize(prompt)
            for one in ([self.processor.image_token_id] * each if id_ == IMAGE else [id_])
        ]


@pytest.fixture(scope="module", params=["llama", "vicuna"])
def both(request: pytest.FixtureRequest, published: dict[str, Path], imported: dict[str, Path]) -> Both:
    return Both(published[request.param], imported[request.param])


@pytest.mark.parametrize("name", TURNS)
def test_ids_and_logits_are_the_references(both: Both, name: str) -> None:
    turns, count = TURNS[name]
    prompt, pictures = both.prompt(turns), [image(seed) for seed in range(count)]
    inputs = both.processor(text=prompt, images=pictures or None, return_tensors="pt")
    assert inputs["input_ids"].tolist() == [both.ids(prompt)]
    with torch.no_grad():
        ours, theirs = both.model(**inputs).logits[0], both.reference.logits(prompt, pictures)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_pictures_of_any_mode_become_the_references_pixels(both: Both, mode: str) -> None:
    one = image(3, mode="RGBA").convert("RGB").convert(mode) if mode in ("P", "1", "CMYK") else image(3, mode=mode)
    pixels = both.processor(images=[one], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels[0], both.reference.pixels(one), atol=1e-6, rtol=0)


def test_a_palette_with_transparency_is_expanded_without_a_warning(both: Both) -> None:
    one = image(4, mode="P")
    one.info["transparency"] = bytes(range(256))
    plain = image(4, mode="P")
    assert torch.equal(*(both.processor(images=[each], return_tensors="pt")["pixel_values"] for each in (one, plain)))


def test_pictures_that_are_wide_or_tall_are_stretched_as_the_reference_does(both: Both) -> None:
    for size in ((200, 20), (20, 200), (1, 1), (42, 42)):
        one = image(5, size=size)
        pixels = both.processor(images=[one], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels[0], both.reference.pixels(one), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["one picture", "several turns", "no picture"])
def test_greedy_generation_is_the_references(both: Both, name: str) -> None:
    turns, count = TURNS[name]
    prompt, pictures = both.prompt(turns), [image(seed) for seed in range(count)]
    inputs = both.processor(text=prompt, images=pictures or None, return_tensors="pt")
    ends = set(both.model.generation_config.eos_token_id)
    ours = both.model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    eos = both.reference.llm.config.eos_token_id
    assert ours.tolist() == both.reference.generate(prompt, pictures, 12, ends, eos)


def test_a_turns_end_stops_at_once_but_the_texts_end_only_after_two_tokens(both: Both) -> None:
    inputs = both.processor(text=both.prompt([("user", "liver")]), return_tensors="pt")
    bias = torch.zeros(both.model.config.text_config.vocab_size)
    for end in both.model.generation_config.eos_token_id:
        wanted = bias.clone()
        wanted[end] = 1e4
        hook = both.model.lm_head.register_forward_hook(lambda _m, _i, out, wanted=wanted: out + wanted)
        new = both.model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :].tolist()
        hook.remove()
        own = end == both.model.config.text_config.eos_token_id
        assert new.index(end) == (2 if own else 0)
        assert len(new) == new.index(end) + 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_computes_what_its_rows_compute_alone(both: Both, side: str) -> None:
    rows = [TURNS["several turns"], TURNS["no picture"], TURNS["one picture"]]
    prompts = [both.prompt(turns) for turns, _ in rows]
    pictures = [[image(10 * number + seed) for seed in range(count)] for number, (_, count) in enumerate(rows)]
    batch = both.processor(text=prompts, images=pictures, padding=True, padding_side=side, return_tensors="pt")
    flat = [one for group in pictures for one in group]
    again = both.processor(text=prompts, images=flat, padding=True, padding_side=side, return_tensors="pt")
    assert torch.equal(batch["pixel_values"], again["pixel_values"])
    with torch.no_grad():
        logits = both.model(**batch).logits
        for row, (prompt, group) in enumerate(zip(prompts, pictures, strict=True)):
            kept = batch["attention_mask"][row].bool()
            assert batch["input_ids"][row][kept].tolist() == both.ids(prompt)
            torch.testing.assert_close(logits[row][kept], both.reference.logits(prompt, group), atol=1e-4, rtol=0)


def test_left_padded_generation_gives_each_row_its_own_answer(both: Both) -> None:
    rows = [TURNS["several turns"], TURNS["one picture"]]
    prompts = [both.prompt(turns) for turns, _ in rows]
    pictures = [[image(10 * number + seed) for seed in range(count)] for number, (_, count) in enumerate(rows)]
    batch = both.processor(text=prompts, images=pictures, padding=True, padding_side="left", return_tensors="pt")
    together = both.model.generate(**batch, max_new_tokens=6, eos_token_id=[])[:, batch["input_ids"].shape[1] :]
    for row, (prompt, group) in enumerate(zip(prompts, pictures, strict=True)):
        assert together[row].tolist() == both.reference.generate(
            prompt, group, 6, set(), both.reference.llm.config.eos_token_id
        )


def test_loss_and_gradients_are_the_references(both: Both) -> None:
    turns, _ = TURNS["several turns"]
    messages = [{"role": role, "content": text} for role, text in [*turns, ("assistant", "A tumor.")]]
    text = both.processor.apply_chat_template(messages)
    pictures = [image(1), image(2)]
    inputs = both.processor(text=text, images=pictures, return_tensors="pt")
    labels = inputs["input_ids"].clone()
    labels[:, :20] = -100
    both.model.zero_grad()
    loss = both.model(**inputs, labels=labels).loss
    loss.backward()

    wanted = labels[0].masked_fill(labels[0] == both.processor.image_token_id, -100)
    both.reference.llm.zero_grad()
    expected = torch.nn.functional.cross_entropy(both.reference.logits(text, pictures)[:-1], wanted[1:])
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    ours = both.model.model
    for mine, theirs in [
        (ours.language_model.embed_tokens.weight, both.reference.llm.model.embed_tokens.weight),
        (both.model.lm_head.weight, both.reference.llm.lm_head.weight),
        (ours.multi_modal_projector.layers[2].weight, both.reference.projector["layers.2.weight"]),
        (
            ours.vision_tower.encoder.layers[0].self_attn.q_proj.weight,
            both.reference.tower.encoder.layers[0].self_attn.q_proj.weight,
        ),
        (ours.vision_tower.embeddings.patch_embedding.weight, both.reference.tower.embeddings.patch_embedding.weight),
    ]:
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    assert all(one.grad is not None for one in both.model.parameters()), "no parameter is left out of the computation"


def test_truncation_cuts_after_splicing_even_inside_a_picture(both: Both) -> None:
    prompt, pictures = both.prompt([("user", "ab<image>cd<image>ef")]), [image(1), image(2)]
    whole = both.ids(prompt)
    begin = whole.index(both.processor.image_token_id)
    each = both.processor.image_seq_length
    full = both.reference.logits(prompt, pictures)
    for length, left in ((begin + 2, 1), (begin, 0), (begin + each + 3 + 2, 2), (len(whole) - 1, 2)):
        inputs = both.processor(text=prompt, images=pictures, truncation=True, max_length=length, return_tensors="pt")
        assert inputs["input_ids"].tolist() == [whole[:length]]
        assert len(inputs.get("pixel_values", [])) == left
        with torch.no_grad():
            torch.testing.assert_close(both.model(**inputs).logits[0], full[:length], atol=1e-4, rtol=0)


def test_a_truncated_batch_gives_every_row_its_own_pictures(both: Both) -> None:
    prompts = [both.prompt([("user", f"{start}<image>x<image>")]) for start in ("a", "bb bb bb")]
    pictures = [[image(1), image(2)], [image(3), image(4)]]
    cut = both.ids(prompts[1]).index(both.processor.image_token_id) + 2
    batch = both.processor(
        text=prompts, images=pictures, truncation=True, max_length=cut, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = both.model(**batch).logits
    for row, (prompt, group) in enumerate(zip(prompts, pictures, strict=True)):
        torch.testing.assert_close(logits[row], both.reference.logits(prompt, group)[:cut], atol=1e-4, rtol=0)


def test_what_does_not_fit_is_refused_by_name(both: Both) -> None:
    prompt = both.prompt([("user", "<image> and <image>")])
    with pytest.raises(InputError, match="2 <image> but 1 pictures"):
        both.processor(text=prompt, images=[image()])
    with pytest.raises(InputError, match="2 <image> but 0 pictures"):
        both.processor(text=prompt)
    with pytest.raises(InputError, match="text 1: the text has 2 <image> but 1 pictures"):
        both.processor(text=[both.prompt([("user", "x")]), prompt], images=[[], [image()]], padding=True)
    long = both.prompt([("user", "tumor " * 1200)])
    with pytest.raises(InputError, match=r"prompt length is \d+: the context is 1024 tokens"):
        both.processor(text=long)
    cut = both.processor(text=long, truncation=True, return_tensors="pt")
    assert cut["input_ids"].tolist() == [both.ids(long)[:1024]]
    inputs = both.processor(text=prompt, images=[image(), image()], return_tensors="pt")
    with pytest.raises(ValueError, match="do not fit 1 pictures"):
        both.model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:1])


def test_sharded_bfloat16_is_imported_bit_for_bit(make_published: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_published("llama", dtype=torch.bfloat16, shards=3)
    both = Both(folder, import_checkpoint(folder, tmp_path / "out"))
    prompt = both.prompt(TURNS["one picture"][0])
    inputs = both.processor(text=prompt, images=[image()], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(
            both.model(**inputs).logits[0], both.reference.logits(prompt, [image()]), atol=1e-4, rtol=0
        )
    stored = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert {one.dtype for one in stored.parameters()} == {torch.bfloat16}
    assert torch.equal(stored.lm_head.weight.float(), both.reference.llm.lm_head.weight)


def test_a_vocabulary_longer_than_the_tokenizer_is_cut(make_published: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_published("llama", extra_rows=6)
    import_checkpoint(folder, tmp_path / "out")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    reference = Reference(folder)
    rows = model.config.text_config.vocab_size
    assert rows == reference.llm.config.vocab_size - 6 == model.config.image_token_id
    assert torch.equal(model.lm_head.weight, reference.llm.lm_head.weight[:rows])


def test_saved_again_it_loads_to_the_same(both: Both, tmp_path: Path) -> None:
    both.model.save_pretrained(tmp_path)
    both.processor.save_pretrained(tmp_path)
    again: Any = AutoModelForImageTextToText.from_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    prompt = both.prompt(TURNS["one picture"][0])
    inputs = processor(text=prompt, images=[image()], return_tensors="pt")
    assert inputs["input_ids"].tolist() == [both.ids(prompt)]
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, both.model(**inputs).logits)


def test_repetition_penalty_never_sees_the_placeholder(both: Both) -> None:
    inputs = both.processor(text=both.prompt([("user", ASK)]), images=[image()], return_tensors="pt")
    new = both.model.generate(**inputs, max_new_tokens=6, repetition_penalty=5.0, no_repeat_ngram_size=2)
    assert new.shape[1] > inputs["input_ids"].shape[1]


def test_static_cache_generates_the_same(both: Both) -> None:
    inputs = both.processor(text=both.prompt([("user", ASK)]), images=[image()], return_tensors="pt")
    plain = both.model.generate(**inputs, max_new_tokens=6)
    static = both.model.generate(**inputs, max_new_tokens=6, cache_implementation="static", disable_compile=True)
    assert torch.equal(plain, static)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_back_ends_agree(both: Both, attention: str, imported: dict[str, Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(both.model.name_or_path, attn_implementation=attention)
    inputs = both.processor(text=both.prompt([("user", ASK)]), images=[image()], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, both.model(**inputs).logits, atol=1e-4, rtol=0)


def test_gradient_checkpointing_gives_the_same_gradients(both: Both) -> None:
    inputs = both.processor(text=both.prompt([("user", ASK)]), images=[image()], return_tensors="pt")
    found = []
    for checkpointing in (False, True):
        both.model.train()
        both.model.zero_grad()
        if checkpointing:
            both.model.activation_checkpointing_enable()
        both.model(**inputs, labels=inputs["input_ids"]).loss.backward()
        found.append([one.grad.clone() for one in both.model.parameters()])
    both.model.activation_checkpointing_disable()
    both.model.eval()
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-6, rtol=1e-5)
