"""The training tools of the Transformers world on our model: LoRA, SFTTrainer, FSDP2 over two processes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from vila_pictures import image

import attending.model  # noqa: F401  (the worker below loads this file in a process of its own)

pytestmark = pytest.mark.slow


def load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def batch_of(processor: Any) -> Any:
    prompts = ["<image>liver tumor in the CT scan of this patient", "no <image> picture"]
    return processor(text=prompts, images=[[image(1)], [image(2)]], padding=True, return_tensors="pt")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # PEFT 0.21 asks by the old name
def test_lora_trains_saves_loads_and_merges(imported: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = load(imported["llama"])
    batch = batch_of(processor)
    targets = r".*language_model.*\.(q_proj|v_proj|down_proj)"
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"))
    trained = [one for one in adapted.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    losses = []
    for _ in range(6):
        loss = adapted(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapted.eval()
    adapted.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = adapted(**batch).logits
        fresh = PeftModel.from_pretrained(load(imported["llama"])[0], tmp_path).eval()
        assert torch.equal(fresh(**batch).logits, expected)
        merged = fresh.merge_and_unload()
        torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-5, rtol=0)
        new = merged.generate(**batch, max_new_tokens=3, min_new_tokens=3)
    assert new.shape[1] == batch["input_ids"].shape[1] + 3


@pytest.mark.parametrize("assistant_only", [False, True])
@pytest.mark.parametrize("name", ["llama", "vicuna"])
def test_three_steps_of_trls_sft_trainer(
    imported: dict[str, Path], tmp_path: Path, name: str, assistant_only: bool
) -> None:
    """In a process of its own: TRL imports much, and warns of what is not ours."""
    script = f"""
import sys, torch
from datasets import Dataset, Features, Image, List, Value
sys.path.insert(0, {str(Path(__file__).parent)!r})
from vila_pictures import image
import attending.model
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer
folder = {str(imported[name])!r}
said = [{{"role": "user", "content": "Is it a tumor?"}}, {{"role": "assistant", "content": "A liver mass."}}]
rows = [{{"messages": said, "images": [image(number)]}} for number in range(6)]
model = AutoModelForImageTextToText.from_pretrained(folder)
before = model.lm_head.weight.detach().clone()
trainer = SFTTrainer(
    model, train_dataset=Dataset.from_list(rows), processing_class=AutoProcessor.from_pretrained(folder),
    args=SFTConfig({str(tmp_path)!r}, max_steps=3, per_device_train_batch_size=2, report_to=[], bf16=False,
                   use_cpu=True, save_strategy="no", logging_steps=1, max_length=None,
                   assistant_only_loss={assistant_only}, learning_rate=1e-2, gradient_checkpointing=False),
)
trainer.train()
losses = [one["loss"] for one in trainer.state.log_history if "loss" in one]
assert len(losses) == 3 and losses[-1] < losses[0], losses
assert not torch.equal(before, model.lm_head.weight)
print("trained", losses)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert "trained" in ran.stdout, ran.stderr[-3000:]


WORKER = """
import os, sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from test_vila_training import batch_of, load
rank = int(os.environ["RANK"])
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
model, processor = load(sys.argv[1])
batch = batch_of(processor)
for layer in [*model.model.language_model.layers, *model.model.vision_tower.encoder.layers]:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
mine = {name: one[rank : rank + 1] for name, one in batch.items()}
out = model(**mine)
hidden = (mine["attention_mask"] == 0) | (mine["input_ids"] == processor.image_token_id)
target = mine["input_ids"].masked_fill(hidden, -100)
loss = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), target[:, 1:].flatten(), reduction="sum")
loss.backward()
shards = {name: one.grad.full_tensor() for name, one in model.named_parameters()}
logits = [torch.empty_like(out.logits) for _ in range(2)]
dist.all_gather(logits, out.logits.detach())
if rank == 0:
    torch.save({"grads": shards, "logits": torch.cat(logits)}, sys.argv[3])
dist.destroy_process_group()
"""


def test_two_processes_of_fsdp2_compute_what_one_computes(imported: dict[str, Path], tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    ran = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(worker),
            str(imported["llama"]), str(Path(__file__).parent), str(tmp_path / "found"),
        ],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = torch.load(tmp_path / "found", weights_only=True)
    model, processor = load(imported["llama"])
    batch = batch_of(processor)
    out = model(**batch)
    torch.testing.assert_close(found["logits"], out.logits.detach(), atol=1e-5, rtol=0)
    hidden = (batch["attention_mask"] == 0) | (batch["input_ids"] == processor.image_token_id)
    target = batch["input_ids"].masked_fill(hidden, -100)
    loss = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), target[:, 1:].flatten(), reduction="sum")
    loss.backward()
    for name, one in model.named_parameters():
        # FSDP averages the gradients of its two processes.
        torch.testing.assert_close(found["grads"][name] * 2, one.grad, atol=1e-4, rtol=1e-4)
