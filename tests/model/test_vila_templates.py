"""The conversation modes, written out, and the mask of what is learned."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor
from vila_pictures import image
from vila_reference import IMAGE, Reference

from attending.errors import InputError
from attending.model.templates import MODES, mode

LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, and assist the user with a variety of tasks "
    "using natural language.<|eot_id|>"
)
USER, ANSWER = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)
HERMES = "<|im_start|>system\nAnswer the questions.<|im_end|>"
Q, A = ("user", "Q"), ("assistant", "A")
RENDERED: list[tuple[str, list[tuple[str, str | None]], bool, str]] = [
    ("llama_3", [Q], True, f"{LLAMA}{USER}Q<|eot_id|>{ANSWER}"),
    ("llama_3", [Q, A], False, f"{LLAMA}{USER}Q<|eot_id|>{ANSWER}A<|end_of_text|>"),
    ("llama_3", [Q, A, Q], True, f"{LLAMA}{USER}Q<|eot_id|>{ANSWER}A<|eot_id|>{USER}Q<|eot_id|>{ANSWER}"),
    ("llama_3", [Q], False, f"{LLAMA}{USER}Q<|end_of_text|>"),
    ("llama_3", [Q, ("assistant", None)], False, f"{LLAMA}{USER}Q<|eot_id|>{ANSWER}"),
    ("llama_3", [Q, ("assistant", "")], True, f"{LLAMA}{USER}Q<|eot_id|>{ANSWER}"),
    ("llama_3", [("user", ""), A], False, f"{LLAMA}{USER}{ANSWER}A<|end_of_text|>"),
    ("vicuna_v1", [Q], True, f"{VICUNA}USER: Q ASSISTANT:"),
    ("vicuna_v1", [Q, A, Q], True, f"{VICUNA}USER: Q ASSISTANT: A</s>USER: Q ASSISTANT:"),
    ("vicuna_v1", [Q, A], False, f"{VICUNA}USER: Q ASSISTANT: A</s>"),
    ("vicuna_v1", [Q, Q], True, f"{VICUNA}USER: Q USER: Q</s>ASSISTANT:"),  # separators go by place
    ("hermes-2", [Q], True, f"{HERMES}<|im_start|>user\nQ<|im_end|><|im_start|>assistant\n"),
    (
        "hermes-2",
        [Q, A],
        False,
        f"{HERMES}<|im_start|>user\nQ<|im_end|><|im_start|>assistant\nA<|im_end|>",
    ),
    ("plain", [Q], True, "Q\n"),
    ("plain", [("user", "<image>"), A], False, "<image>A\n"),
]


def processor_of(imported: dict[str, Path], name: str, template: str | None = None) -> Any:
    processor = AutoProcessor.from_pretrained(imported[name])
    processor.chat_template = MODES[template].template if template else processor.chat_template
    return processor


@pytest.mark.parametrize(("name", "turns", "open_turn", "expected"), RENDERED)
def test_a_conversation_renders_exactly(
    imported: dict[str, Path], name: str, turns: list[tuple[str, str | None]], open_turn: bool, expected: str
) -> None:
    processor = processor_of(imported, "llama", name)
    messages = [{"role": role, "content": text} for role, text in turns]
    assert processor.apply_chat_template(messages, add_generation_prompt=open_turn) == expected
    parts = [{"role": r, "content": [{"type": "text", "text": t}] if t else t} for r, t in turns]
    assert processor.apply_chat_template(parts, add_generation_prompt=open_turn) == expected


def test_image_parts_are_placeholders_with_nothing_around_them(imported: dict[str, Path]) -> None:
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "\nWhat?"}]
    rendered = processor_of(imported, "vicuna").apply_chat_template([{"role": "user", "content": content}])
    assert rendered == f"{VICUNA}USER: <image><image>\nWhat? "


def test_a_system_message_takes_the_place_of_the_default(imported: dict[str, Path]) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}]
    for name, expected in [
        (
            "llama_3",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            f"{USER}Q<|eot_id|>{ANSWER}",
        ),
        ("vicuna_v1", "Be brief. USER: Q ASSISTANT:"),
        ("hermes-2", "<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\nQ<|im_end|><|im_start|>assistant\n"),
    ]:
        rendered = processor_of(imported, "llama", name).apply_chat_template(messages, add_generation_prompt=True)
        assert rendered == expected


def test_an_unknown_role_part_or_mode_is_refused(imported: dict[str, Path]) -> None:
    processor = processor_of(imported, "llama")
    with pytest.raises(Exception, match="has the role expert"):
        processor.apply_chat_template([{"role": "expert", "content": "x"}])
    with pytest.raises(Exception, match="of type video"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}])
    with pytest.raises(InputError, match=r"conversation mode is vicuna: expected one of llama_3, vicuna_v1"):
        mode("vicuna")
    assert mode("v1") is MODES["vicuna_v1"]


CONVERSATIONS = [
    [("user", "<image>\nIs it CT?"), ("assistant", "yes")],
    [
        ("user", "<image>Q one"),
        ("assistant", "The scan. Q one"),
        ("user", "So <image>?"),
        ("assistant", "A tumor, é.\n"),
    ],
    [
        ("user", "a"),
        ("assistant", "user"),
        ("user", "b"),
        ("assistant", "assistant"),
        ("user", "c"),
        ("assistant", "d e"),
    ],
]


def reference_mask(reference: Reference, render: Any, turns: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    """Ids and what is learned, by the published method.

    Render once more with a sentinel for every answer, take the sentinels and the token behind each out of the ids, and
    walk both along each other: what the rest of the template does not account for is learned.
    """
    sentinel = "[S-E-N]"
    ids = reference.tokenize(render(turns))
    template = reference.tokenize(render([(role, sentinel if role == "assistant" else text) for role, text in turns]))
    mark = reference.chunk(sentinel)[1:]
    kept, index = [], 0
    while index < len(template):
        if template[index : index + len(mark)] == mark:
            index += len(mark) + 1
        else:
            kept.append(template[index])
            index += 1
    learned, place = [], 0
    for one in ids:
        matches = place < len(kept) and one == kept[place]
        place += matches
        learned.append(not matches)
    assert place == len(kept)
    return ids, learned


@pytest.mark.parametrize("turns", CONVERSATIONS)
@pytest.mark.parametrize("name", ["llama", "vicuna"])
def test_what_is_learned_is_what_the_published_method_leaves(
    published: dict[str, Path], imported: dict[str, Path], name: str, turns: list[tuple[str, str]]
) -> None:
    processor, reference = processor_of(imported, name), Reference(published[name])

    def render(these: list[tuple[str, str]]) -> str:
        text: str = processor.apply_chat_template([{"role": role, "content": text} for role, text in these])
        return text

    ids, learned = reference_mask(reference, render, turns)
    each = processor.image_seq_length
    expected = [flag for one, flag in zip(ids, learned, strict=True) for flag in [flag] * (each if one == IMAGE else 1)]
    count = sum(text.count("<image>") for _, text in turns)
    found = processor.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns],
        tokenize=True, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt",
        processor_kwargs={"images": [image(seed) for seed in range(count)]},
    )  # fmt: skip
    assert found["assistant_masks"].bool().tolist() == [expected]
    assert found["input_ids"].shape == found["assistant_masks"].shape


def test_masks_of_a_padded_and_cut_batch_stay_in_place(imported: dict[str, Path]) -> None:
    processor = processor_of(imported, "llama")
    batch = [[{"role": role, "content": text} for role, text in turns] for turns in CONVERSATIONS[1:]]
    pictures = [[image(1), image(2)], []]
    alone = [_masked(processor, [one], [group]) for one, group in zip(batch, pictures, strict=True)]
    for side in ("right", "left"):
        both = _masked(processor, batch, pictures, padding=True, padding_side=side)
        for row, single in enumerate(alone):
            kept = both["attention_mask"][row].bool()
            assert torch.equal(both["assistant_masks"][row][kept], single["assistant_masks"][0])
            assert not both["assistant_masks"][row][~kept].any()
    cut = _masked(processor, batch[:1], pictures[:1], truncation=True, max_length=150)
    assert torch.equal(cut["assistant_masks"][0], alone[0]["assistant_masks"][0][:150])


def _masked(processor: Any, batch: list[Any], pictures: list[Any], **options: Any) -> Any:
    return processor.apply_chat_template(
        batch, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt",
        processor_kwargs={"images": pictures, **options},
    )  # fmt: skip


def test_tokenizing_while_rendering_gives_the_same_ids_as_in_two_steps(imported: dict[str, Path]) -> None:
    processor = processor_of(imported, "llama")
    messages = [{"role": "user", "content": [{"type": "image", "image": image(1)}, {"type": "text", "text": "What?"}]}]
    at_once = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    steps = processor(text=text, images=[image(1)], return_tensors="pt")
    assert torch.equal(at_once["input_ids"], steps["input_ids"])
    assert torch.equal(at_once["pixel_values"], steps["pixel_values"])
    assert at_once["input_ids"][0, :2].tolist() == [0, 0], "Llama 3 begins with two BOS"
