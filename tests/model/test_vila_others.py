"""Other families through the same session code: a tiny LLaVA and a tiny Qwen2-VL."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from vila_checkpoints import write_llama_tokenizer
from vila_pictures import picture

from attending.model import LocalModel, Sampling, answer_together

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for p in m.content %}{{ p.text if p.type == 'text' else IMAGE }}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
ASK = {"role": "user", "content": "<image> What is this?"}
FOLLOW = [ASK, {"role": "assistant", "content": "a mass"}, {"role": "user", "content": "And <image> or liver?"}]


def tokenizer_in(folder: Path, *special: str) -> PreTrainedTokenizerFast:
    write_llama_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, clean_up_tokenization_spaces=False)
    tokenizer.add_special_tokens({"extra_special_tokens": list(special)})
    return tokenizer


TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 5,
    "initializer_range": 0.2,
}  # fmt: skip


def llava(folder: Path) -> LocalModel:
    tokenizer = tokenizer_in(folder, "<image>")
    vision = CLIPVisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, image_size=28, patch_size=14
    )
    torch.manual_seed(3)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision, text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    size = {"height": 28, "width": 28}
    LlavaProcessor(
        CLIPImageProcessorPil(size=size, crop_size=size), tokenizer, patch_size=14, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=TEMPLATE.replace("IMAGE", "'<image>'"),
    ).save_pretrained(folder)  # fmt: skip
    return LocalModel.load(folder)


class PicturesOnly(Qwen2VLProcessor):
    """Qwen2-VL's processor without its video part, which needs torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str) -> None:
        self.image_token, self.image_token_id = "<|image_pad|>", tokenizer.convert_tokens_to_ids("<|image_pad|>")
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def qwen(folder: Path) -> LocalModel:
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = tokenizer_in(folder, *marks)
    start, end, image, video = tokenizer.convert_tokens_to_ids(marks)
    torch.manual_seed(3)
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            text_config={"vocab_size": len(tokenizer), **text},
            vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
            vision_start_token_id=start, vision_end_token_id=end, image_token_id=image, video_token_id=video,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56})
    template = TEMPLATE.replace("IMAGE", "'<|vision_start|><|image_pad|><|vision_end|>'")
    processor = PicturesOnly(image_processor, tokenizer, chat_template=template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attending.model.local.AutoProcessor.from_pretrained", lambda *_, **__: processor)
        return LocalModel.load(folder)


@pytest.mark.parametrize("build", [llava, qwen])
def test_a_session_says_what_generate_says(build: Any, tmp_path: Path) -> None:
    model = build(tmp_path)
    assert model.lean is None
    session, pictures = model.session(), [picture(1), picture(2)]
    sampling = Sampling(max_new_tokens=10)
    for messages, shown in (([ASK], pictures[:1]), (FOLLOW, pictures), ([ASK], pictures[1:])):
        deltas = list(session.stream(messages, shown, sampling))
        prompt = model.prompt(messages, shown)
        ids = torch.tensor([prompt.ids])
        expected = model.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **prompt.inputs, max_new_tokens=10, do_sample=False
        )[0, ids.shape[1] :]
        assert "".join(one.text for one in deltas) == model.tokenizer.decode(expected, skip_special_tokens=True)
        assert deltas[-1].prompt_tokens == ids.shape[1]
    together = answer_together(model, [([ASK], pictures[:1]), (FOLLOW, pictures)], sampling)
    alone = [
        "".join(d.text for d in model.session().stream(m, p, sampling))
        for m, p in (([ASK], pictures[:1]), (FOLLOW, pictures))
    ]
    assert [one.text for one in together] == alone


def test_llava_reuses_the_prefix_with_its_picture(tmp_path: Path) -> None:
    model = llava(tmp_path)
    session = model.session()
    first = list(session.stream([ASK], [picture(1)], Sampling(max_new_tokens=4)))[-1]
    second = list(session.stream(FOLLOW, [picture(1), picture(2)], Sampling(max_new_tokens=4)))[-1]
    assert second.reused_tokens >= first.prompt_tokens - 1, "all but the last space, which joins the answer"
    other = list(session.stream(FOLLOW, [picture(3), picture(2)], Sampling(max_new_tokens=4)))[-1]
    assert other.reused_tokens == 0, "another picture stands in the prefix"


def test_two_qwen_conversations_may_take_turns(tmp_path: Path) -> None:
    """Qwen2-VL keeps its position offset in the model; each session must bring its own."""
    model = qwen(tmp_path)
    sampling = Sampling(max_new_tokens=8)
    asked = [([ASK], [picture(1)]), ([{"role": "user", "content": "liver"}], [])]
    alone = ["".join(d.text for d in model.session().stream(m, p, sampling)) for m, p in asked]
    streams = [model.session().stream(m, p, sampling) for m, p in asked]
    texts = ["", ""]
    while streams[0] or streams[1]:
        for number, stream in enumerate(streams):
            delta = next(stream, None) if stream else None
            if delta is None:
                streams[number] = None  # type: ignore[call-overload]
            else:
                texts[number] += delta.text
    assert texts == alone
