"""Conversations as tokens and labels, and rows they share: labels equal Transformers' own, nothing is lost."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from attending.corpora.collate import packed, padded
from attending.corpora.conversation import Conversation, Message, turns
from attending.corpora.packing import IGNORED, encode, pack, pack_padded, trained_form
from attending.errors import InputError
from attending.imaging import Picture
from attending.model import VilaM3ImageProcessor, VilaM3Processor
from attending.model.templates import MODES

PICTURE = Picture(np.zeros((8, 8, 3), np.uint8))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte level, with the marks of all templates; begins each text with BOS, as Llama 3's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
             "<|im_start|>", "<|im_end|>", "</s>", "<image>"]  # fmt: skip
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({one: number for number, one in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(marks)
    bos = inner.token_to_id(marks[0])
    inner.post_processor = processors.TemplateProcessing(single=f"{marks[0]} $A", special_tokens=[(marks[0], bos)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=marks[0], pad_token=marks[1])


@pytest.fixture(scope="module", params=list(MODES))
def processor(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> VilaM3Processor:
    template = MODES[request.param].template
    return VilaM3Processor(VilaM3ImageProcessor(), tokenizer, chat_template=template, image_seq_length=4)


TALK = turns("<image>\nIs it a mass?", "Yes.", "How large? Answer Yes. or No.", "Yes. <VISTA3D(liver)>")


def test_labels_are_what_transformers_marks_as_generated(processor: VilaM3Processor) -> None:
    said = [{"role": one.role, "content": one.content} for one in TALK]
    said[0]["content"] = [{"type": "image", "image": PICTURE.to_pil()}, {"type": "text", "text": "\nIs it a mass?"}]
    found = processor.apply_chat_template(said, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    sample = encode(Conversation("a", TALK, (PICTURE,)), processor, 1000)
    assert sample.ids.tolist() == found["input_ids"][0]
    assert (sample.labels != IGNORED).tolist() == [bool(one) for one in found["assistant_masks"][0]]
    assert (sample.labels == sample.ids)[sample.labels != IGNORED].all()


def test_what_is_learned_is_the_answers_and_their_ends(processor: VilaM3Processor) -> None:
    sample = encode(Conversation("a", TALK, (PICTURE,)), processor, 1000)
    learned = processor.tokenizer.decode(sample.labels[sample.labels != IGNORED])
    ends = {
        "llama_3": ("<|eot_id|>", "<|end_of_text|>"),
        "vicuna_v1": ("</s>", "</s>"),
        "hermes-2": ("<|im_end|>", "<|im_end|>"),
        "plain": ("\n", "\n"),
    }
    first, last = next(ends[name] for name, one in MODES.items() if one.template == processor.chat_template)
    assert learned.replace(" ", "") == f"Yes.{first}Yes.<VISTA3D(liver)>{last}"


def test_threads_that_encode_at_once_do_not_disturb_each_other(tokenizer: PreTrainedTokenizerFast) -> None:
    template = MODES["hermes-2"].template
    processor = VilaM3Processor(VilaM3ImageProcessor(), tokenizer, chat_template=template, image_seq_length=4)
    talks = [Conversation(str(n), turns(f"ask {n}", f"say {n}. " * (n % 7 + 1))) for n in range(200)]
    wanted = [encode(one, processor, 1000).labels.tolist() for one in talks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: encode(one, processor, 1000).labels.tolist(), talks * 3))
    assert found == wanted * 3


def test_a_picture_in_an_answer_is_not_learned(processor: VilaM3Processor) -> None:
    sample = encode(Conversation("a", turns("show", "here <image> it is"), (PICTURE,)), processor, 1000)
    assert (sample.ids == processor.image_token_id).sum() == 4
    assert not (sample.labels == processor.image_token_id).any()


def test_a_conversation_that_is_too_long_is_named(processor: VilaM3Processor) -> None:
    long = Conversation("case 7", turns("<image>" * 5, "word " * 50), (PICTURE,) * 5, source="mine")
    with pytest.raises(InputError, match=r"case 7.*mine.*context is 100 tokens; 20 of these are pictures"):
        encode(long, processor, 100)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Q\n<image>", "Q <image>\n"),
        ("<image>\nQ", "<image>\nQ"),
        ("<image>Q", "<image>\nQ"),
        ("a model.\n<image>This is a CT image.\nQ", "a model. <image>\nThis is a CT image.\nQ"),
        ("T1: <image>, T2: <image> These", "T1: <image>\n, T2: <image>\nThese"),
        ("<image><image>\n\nQ ", "<image>\n <image>\nQ"),
        ("no picture ", "no picture "),
    ],
)
def test_the_trained_form_of_white_space_around_pictures(text: str, wanted: str) -> None:
    (found,) = trained_form([Message("user", text)])
    assert found.content == wanted
    assert trained_form([found]) == (found,)


def test_the_trained_form_is_an_option_of_encode(tokenizer: PreTrainedTokenizerFast) -> None:
    processor = VilaM3Processor(
        VilaM3ImageProcessor(), tokenizer, chat_template=MODES["hermes-2"].template, image_seq_length=4
    )
    one = Conversation("a", turns("Q\n<image>", "Yes."), (PICTURE,))
    plain, fixed = encode(one, processor, 100), encode(one, processor, 100, fix_up=True)
    assert "Q\n<image>" in processor.tokenizer.decode(plain.ids)
    assert "Q <image>" in processor.tokenizer.decode(fixed.ids)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=40), st.integers(20, 100))
def test_packing_keeps_every_conversation_once_and_rows_within_the_limit(lengths: list[int], limit: int) -> None:
    for share, size in ((pack, sum), (pack_padded, lambda row: len(row) * max(row))):
        rows = share(lengths, limit)
        assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
        for row in rows:
            assert len(row) == 1 or size([lengths[index] for index in row]) <= limit
    assert len(pack(lengths, limit)) <= max(1, 2 * -(-sum(lengths) // limit))


def test_collating_loses_nothing(processor: VilaM3Processor) -> None:
    samples = [
        encode(Conversation(str(n), turns("<image>ask " * n, "say"), (PICTURE,) * n), processor, 1000) for n in (1, 3)
    ]
    one, other = packed(samples), padded(samples, 9)
    assert one.ids.shape == (1, sum(map(len, samples)))
    assert one.mask is None
    assert one.positions[0].tolist() == [*range(len(samples[0])), *range(len(samples[1]))]
    assert other.ids.shape == (2, len(samples[1]))
    assert other.mask is not None
    assert other.mask.sum(1).tolist() == [len(samples[0]), len(samples[1])]
    assert (other.ids[0, len(samples[0]) :] == 9).all()
    assert one.learned == other.learned == int((other.labels != IGNORED).sum())
    assert len(one.images) == len(other.images) == 4
    assert one.to(one.ids.device).learned == one.learned
    kept = other.ids[other.mask.bool()]
    assert kept.tolist() == one.ids[0].tolist()


def test_the_first_token_is_never_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    template = "{% generation %}{{ messages[1].content }}{% endgeneration %}"
    processor = VilaM3Processor(VilaM3ImageProcessor(), tokenizer, chat_template=template, image_seq_length=4)
    sample = encode(Conversation("a", turns("ask", "say")), processor, 100)
    assert sample.labels[0] == IGNORED
    with pytest.raises(InputError, match="nothing in it is learned"):
        encode(Conversation("a", turns("ask", "say")), _mute(processor), 100)


def _mute(processor: VilaM3Processor) -> VilaM3Processor:
    template = "{% generation %}{% endgeneration %}{{ messages[0].content }}"
    return VilaM3Processor(VilaM3ImageProcessor(), processor.tokenizer, chat_template=template, image_seq_length=4)
