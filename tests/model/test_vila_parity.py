"""What the reference computed on the recorded fixtures, by the public interface alone."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import attending.model
from attending.model import import_checkpoint

FIXTURES = Path(__file__).parents[2].parent / "shared/parity"
CASES = sorted(path.name for path in (FIXTURES / "cases").glob("*")) or ["absent"]

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recorded fixtures are not beside this checkout")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("parity")
    return {
        f"checkpoints/{path.name}": import_checkpoint(path, base / path.name)
        for path in (FIXTURES / "checkpoints").iterdir()
    }


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_case_is_reproduced(name: str, folders: dict[str, Path]) -> None:
    case = json.loads((FIXTURES / "cases" / name / "case.json").read_text())
    expected = load_file(FIXTURES / "cases" / name / "expected.safetensors")
    processor = AutoProcessor.from_pretrained(folders[case["checkpoint"]])
    model = AutoModelForImageTextToText.from_pretrained(folders[case["checkpoint"]])

    parts = [_message(role, text) for role, text in case["messages"]]
    prompt = processor.apply_chat_template(parts, add_generation_prompt=True)
    assert prompt == case["prompt"]

    images = [Image.open(FIXTURES / path) for path in case["images"]] or None
    inputs = processor(text=prompt, images=images, return_tensors="pt")
    wanted = [one for id_ in case["input_ids"] for one in ([processor.image_token_id] * 16 if id_ == -200 else [id_])]
    assert inputs["input_ids"].tolist() == [wanted]
    assert len(wanted) == case["spliced_length"]

    with torch.no_grad():
        logits = model(**inputs).logits
    torch.testing.assert_close(logits, expected["logits"], atol=1e-4, rtol=0)
    if images:
        torch.testing.assert_close(inputs["pixel_values"], expected["pixel_values"], atol=1e-6, rtol=0)
        features = model.get_image_features(inputs["pixel_values"])
        torch.testing.assert_close(features.last_hidden_state, expected["vision_features"], atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.stack(features.pooler_output), expected["image_features"], atol=1e-5, rtol=0)
        embeds = model.model.splice(inputs["input_ids"], torch.stack(features.pooler_output))
        torch.testing.assert_close(embeds, expected["inputs_embeds"], atol=1e-5, rtol=0)

    options = {
        key: case["generation"][key] for key in ("do_sample", "max_new_tokens", "min_new_tokens", "pad_token_id")
    }
    generated = model.generate(**inputs, **options)[0, len(wanted) :]
    assert generated.tolist() == case["new_token_ids"]
    assert processor.decode(generated, skip_special_tokens=True) == case["generated_text"]


def test_the_auto_classes_give_ours(folders: dict[str, Path]) -> None:
    folder = folders["checkpoints/tiny-llama3"]
    assert type(AutoProcessor.from_pretrained(folder)) is attending.model.VilaM3Processor
    assert type(AutoModelForImageTextToText.from_pretrained(folder)) is attending.model.VilaM3ForConditionalGeneration


def _message(role: str, text: str) -> dict[str, object]:
    first, *rest = text.split("<image>")
    parts: list[dict[str, str]] = [{"type": "text", "text": first}] if first else []
    for one in rest:
        parts += [{"type": "image"}, {"type": "text", "text": one}]
    return {"role": role, "content": parts}
