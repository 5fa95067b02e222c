"""The odd rules of placeholder tokenization, each by itself."""

from pathlib import Path

import pytest
from tokenizers.processors import ByteLevel
from transformers import AutoProcessor, AutoTokenizer
from vila_reference import Reference

from attending.model import VilaM3Tokenizer


@pytest.fixture(scope="module")
def vicuna(imported: dict[str, Path]) -> VilaM3Tokenizer:
    tokenizer = AutoTokenizer.from_pretrained(imported["vicuna"])
    assert type(tokenizer) is VilaM3Tokenizer
    return tokenizer


def test_a_tokenizer_that_adds_no_bos_loses_the_first_token_behind_each_picture(imported: dict[str, Path]) -> None:
    processor = AutoProcessor.from_pretrained(imported["llama"])
    processor.tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
    chunk = processor.tokenizer("\nliver")["input_ids"]
    ids = processor.expanded_ids("<|begin_of_text|>x<image>\nliver")
    last = len(ids) - 1 - ids[::-1].index(processor.image_token_id)
    assert ids[last + 1 :] == chunk[1:]
    assert ids[0] == processor.tokenizer.bos_token_id != ids[1]
    without = processor.expanded_ids("x<image>\nliver")
    assert without[-len(chunk) :] == chunk


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two",
        "\nHello",
        " a CT",
        "liver</s>liver",
        "</s>x",
        "</s></s>",
        "▁odd",
        "é 中 \U0001f600",
        "a\tb ",
        "</s> x",
    ],
)
def test_sentencepiece_chunks_are_the_references(
    vicuna: VilaM3Tokenizer, published: dict[str, Path], text: str
) -> None:
    ids = vicuna(text)["input_ids"]
    reference = Reference(published["vicuna"])
    if text.startswith("</s>"):  # the oracle's dummy space; in the reference nothing stands before a special token
        assert ids[:2] == [1, 2]
        expected = [1, *reference.chunk("x" + text)[len(reference.chunk("x")) :]]
    else:
        expected = reference.chunk(text)
    assert ids == expected


@pytest.mark.parametrize("text", ["a tumor", " two  spaces ", "é 中\n", "liver</s>USER: x"])
def test_pieces_know_their_characters(vicuna: VilaM3Tokenizer, text: str) -> None:
    pieces = vicuna.pieces(text)
    covered = sorted({index for _, start, end in pieces for index in range(start, end)})
    assert covered == list(range(len(text)))
    for piece, start, end in pieces:
        if "<0x" not in piece:
            assert piece.replace("▁", " ").endswith(text[start:end])


def test_decoding_takes_the_dummy_space_off_and_keeps_the_others(vicuna: VilaM3Tokenizer) -> None:
    for text in ("a tumor", " led by a space", "é 中", "one</s>two"):
        assert vicuna.decode(vicuna(text, add_special_tokens=False)["input_ids"]) == text
    assert vicuna.decode([]) == ""
    assert vicuna.decode(vicuna("x</s>")["input_ids"], skip_special_tokens=True) == "x"


def test_saved_again_the_tokenizer_is_the_same(vicuna: VilaM3Tokenizer, tmp_path: Path) -> None:
    vicuna.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "USER: <image> x</s>liver"
    assert type(again) is VilaM3Tokenizer
    assert again(text)["input_ids"] == vicuna(text)["input_ids"]
    assert again.convert_tokens_to_ids("<image>") == len(again) - 1
