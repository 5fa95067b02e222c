"""The parts by themselves: projectors, towers, aspect modes, other language models, registration."""

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoProcessor,
    CLIPVisionConfig,
    Dinov2Config,
    LlamaConfig,
    Qwen2Config,
    SiglipVisionConfig,
)
from vila_pictures import image, picture

from attending.model import (
    LocalModel,
    Sampling,
    VilaM3Config,
    VilaM3ForConditionalGeneration,
    VilaM3ImageProcessor,
    register,
)
from attending.model.projector import DownSample, MultiModalProjector

TEXT: dict[str, Any] = {
    "vocab_size": 330, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.2,
    "max_position_embeddings": 2048,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 42,
    "patch_size": 14,
}  # fmt: skip


def model_of(vision: Any, text: Any = None, **settings: Any) -> VilaM3ForConditionalGeneration:
    torch.manual_seed(5)
    config = VilaM3Config(vision_config=vision, text_config=text or LlamaConfig(**TEXT), **settings)
    return VilaM3ForConditionalGeneration(config).eval()


def test_down_sampling_pads_regroups_and_transposes() -> None:
    grid = torch.arange(1, 10.0).reshape(1, 9, 1)  # 1 2 3 / 4 5 6 / 7 8 9
    assert DownSample()(grid).tolist() == [[[1, 2, 4, 5], [7, 8, 0, 0], [3, 0, 6, 0], [9, 0, 0, 0]]]


@pytest.mark.parametrize(
    ("kind", "tokens", "linears"),
    [("mlp_downsample", 4, 2), ("linear", 9, 1), ("mlp1x_gelu", 9, 1), ("mlp3x_gelu", 9, 3), ("identity", 9, 0)],
)
def test_every_projector_gives_the_shape_it_promises(kind: str, tokens: int, linears: int) -> None:
    width = TOWER["hidden_size"] if kind == "identity" else 32
    config = VilaM3Config(
        vision_config=SiglipVisionConfig(**TOWER),
        text_config=LlamaConfig(**{**TEXT, "hidden_size": width}),
        projector_type=kind,
    )
    projector = MultiModalProjector(config)
    assert projector(torch.randn(2, 9, 24)).shape == (2, tokens, width)
    assert config.image_seq_length == tokens
    assert sum(isinstance(one, torch.nn.Linear) for one in projector.modules()) == linears


@pytest.mark.parametrize("layer", [-1, -2, -4, 2])
@pytest.mark.parametrize("kind", [SiglipVisionConfig, CLIPVisionConfig, Dinov2Config])
def test_a_shortened_tower_gives_the_chosen_layer_of_the_whole(kind: Any, layer: int) -> None:
    vision = kind(**TOWER)
    # The projector needs a square grid, so towers with a CLS token drop it.
    select = "cls_patch" if kind is SiglipVisionConfig else "patch"
    model = model_of(vision, vision_feature_layer=layer, vision_feature_select_strategy=select)
    whole = type(model.model.vision_tower)(vision).eval()
    state = {**whole.state_dict(), **model.model.vision_tower.state_dict()}
    whole.load_state_dict(state)
    pixels = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        expected = whole(pixels, output_hidden_states=True).hidden_states[layer]
        found = model.get_image_features(pixels)
    expected = expected if select == "cls_patch" else expected[:, 1:]
    torch.testing.assert_close(found.last_hidden_state, expected, atol=1e-6, rtol=0)
    assert torch.stack(found.pooler_output).shape == (2, model.config.image_seq_length, 32)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"projector_type": "mlp_downsample_3x3"}, "projector_type is 'mlp_downsample_3x3'; expected mlp_downsample"),
        ({"vision_feature_layer": 9}, "vision_feature_layer is 9; the tower has hidden states -4 to 3"),
        ({"vision_feature_select_strategy": "cls"}, "vision_feature_select_strategy"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        model_of(SiglipVisionConfig(**TOWER), **settings)


def test_ids_and_embeddings_cannot_be_mixed() -> None:
    model = model_of(SiglipVisionConfig(**TOWER))
    ids = torch.tensor([[0, 7]])
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(input_ids=ids, inputs_embeds=model.get_input_embeddings()(ids))
    with pytest.raises(ValueError, match="pictures go in with input_ids"):
        model(inputs_embeds=model.get_input_embeddings()(ids), pixel_values=torch.randn(1, 3, 42, 42))
    plain, embedded = model(input_ids=ids), model(inputs_embeds=model.get_input_embeddings()(ids))
    assert torch.equal(plain.logits, embedded.logits)
    assert torch.equal(model(input_ids=ids, return_dict=False)[0], plain.logits)
    torch.testing.assert_close(model(input_ids=ids, logits_to_keep=1).logits, plain.logits[:, -1:])


def test_padding_to_a_square_uses_the_mean_colour() -> None:
    processor = VilaM3ImageProcessor(size={"height": 42, "width": 42}, image_aspect_ratio="pad")
    wide = image(1, size=(61, 20))
    square = Image.new("RGB", (61, 61), (127, 127, 127))
    square.paste(wide, (0, (61 - 20) // 2))
    plain = VilaM3ImageProcessor(size={"height": 42, "width": 42})
    padded = processor(wide, return_tensors="pt")["pixel_values"]
    assert torch.equal(padded, plain(square, return_tensors="pt")["pixel_values"])
    assert not torch.equal(padded, plain(wide, return_tensors="pt")["pixel_values"])


def test_arrays_are_pictures_too() -> None:
    processor = VilaM3ImageProcessor(size={"height": 42, "width": 42})
    one = image(2)
    expected = processor(one, return_tensors="pt")["pixel_values"]
    array = np.asarray(one)
    for given in (array, np.moveaxis(array, -1, 0), torch.from_numpy(array.copy())):
        assert torch.equal(processor(given, return_tensors="pt")["pixel_values"], expected)


def test_another_language_model_answers_through_the_same_session(imported: dict[str, Path], tmp_path: Path) -> None:
    model = model_of(SiglipVisionConfig(**TOWER), Qwen2Config(**TEXT))
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(imported["llama"]).save_pretrained(tmp_path)
    local = LocalModel.load(tmp_path)
    assert local.lean is None
    session, sampling = local.session(), Sampling(max_new_tokens=6)
    ask = [{"role": "user", "content": "<image> What?"}]
    more = [*ask, {"role": "assistant", "content": "x"}, {"role": "user", "content": "<image> and?"}]
    reused = []
    for messages, pictures in ((ask, [picture(1)]), (more, [picture(1), picture(2)]), (ask, [picture(2)])):
        deltas = list(session.stream(messages, pictures, sampling))
        text = local.processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = local.processor(text=text, images=[one.to_pil() for one in pictures], return_tensors="pt")
        ids = local.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert "".join(one.text for one in deltas) == local.tokenizer.decode(ids, skip_special_tokens=True)
        reused.append(deltas[-1].reused_tokens)
    assert reused[1] > reused[0] == reused[2] == 0


def test_registering_twice_is_harmless_and_is_what_vllm_calls() -> None:
    register()
    assert AutoConfig.for_model("vila_m3").model_type == "vila_m3"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["vllm.general_plugins"]["attending"].partition(":")
    assert getattr(import_module(module), name) is register


def test_what_vllm_and_tensor_parallelism_ask_is_answered(imported: dict[str, Path]) -> None:
    processor = AutoProcessor.from_pretrained(imported["llama"])
    assert processor._get_num_multimodal_tokens(image_sizes=[(5, 6), (7, 8)]).num_image_tokens == [4, 4]
    found = processor(text="<image>x", images=[image()], return_mm_token_type_ids=True)
    assert sum(found["mm_token_type_ids"][0]) == 4
    model = model_of(SiglipVisionConfig(**TOWER))
    assert model._supports_attention_backend
    assert {"lm_head", "model.language_model.layers.*.self_attn.q_proj"} <= set(model.tp_plan)
