"""What each of attending-nano's stages is worth: the recipe without each in turn, the last stage as short for all.

Every variant goes on from what the finished run has before its gap: the stages up to the last take what the recipe
says, the last takes `--steps`. The one without `experts` is the run's model before that stage, with nothing trained.
Printed: the loss on held-out conversations, and what `benchmarks/nano.py table` says of 160 questions that nothing was
learned from. Go on with the same command after any interruption; `--only` shares the work between processes.

    attending train nano --out runs/nano
    python benchmarks/stages.py runs/nano runs/stages [--steps 60] [--only whole,experts]
"""

import argparse
import contextlib
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nano
from attending.training.logs import read_log
from attending.training.recipe import Init, Recipe, read_recipe
from attending.training.run import train

WITHOUT = ("whole", "tower", "align", "instruct", "experts")
_LINES = (
    "the right experts called",
    "no expert called where none is needed",
    "right, with experts",
    "right, from the picture",
)
_TASK = "first: 32, cases: 16,"


def variant(recipe: Recipe, run: Path, without: str, steps: int) -> Recipe:
    """The recipe without a stage, from the last stage before it."""
    names = [stage.name for stage in recipe.stages]
    first = names.index("experts") if without == "whole" else names.index(without) + 1
    before = first - (without != "whole")
    start = f"{before}-{names[before - 1]}/model" if before else "start"
    *later, last = recipe.stages[first:]
    last = replace(last, steps=steps, evaluate_every=steps)
    return replace(recipe, name=f"nano-{without}", init=Init(model=str(run / start)), stages=(*later, last))


def train_variant(run: Path, work: Path, without: str, steps: int) -> Path:
    """The variant's model; trained unless it is there."""
    if without == "experts":
        return run / "3-instruct" / "model"
    out = work / without
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data").exists():
        (out / "data").symlink_to((run / "data").resolve())
    print(f"{without}: training", file=sys.stderr, flush=True)
    return train(variant(read_recipe("nano"), run.resolve(), without, steps), out, lambda told: None, lambda text: None)


def evaluate(model: Path, out: Path, task: Path, cache: Path) -> dict[str, str]:
    """The lines of `nano.table` that tell stages apart."""
    command = [Path(sys.executable).parent / "attending", "eval", "run", task, "--model", model, "--controls", "none"]
    command += ["--experts", "TORSO,BRAIN,CHEST", "--out", out, "--cache", cache]
    subprocess.run([str(one) for one in command], check=True, stdout=subprocess.DEVNULL)
    with contextlib.redirect_stdout(io.StringIO()):
        lines = nano.table(out / "nano-stages")["lines"]
    return {name: lines[name] for name in _LINES}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of the recipe nano")
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", default=",".join(WITHOUT))
    parser.add_argument("--cache", type=Path, help="see attending eval run")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    shipped = (Path(nano.__file__).parents[1] / "src/attending/evaluation/tasks/nano.yaml").read_text()
    task = given.work / "nano-stages.yaml"
    if _TASK not in shipped:
        raise SystemExit("the task nano has changed; see _TASK")
    task.write_text(shipped.replace("name: nano", "name: nano-stages").replace(_TASK, "first: 0, cases: 4,"))
    for without in given.only.split(","):
        model = train_variant(given.run, given.work, without, given.steps)
        lines = evaluate(model, given.work / f"eval-{without}", task, given.cache or given.work / "cache")
        if without != "experts":
            lines["held-out loss"] = f"{read_log(given.work / without / 'log.jsonl')[-1]['held_out']:.3f}"
        print("whole" if without == "whole" else f"without {without}")
        for name, text in lines.items():
            print(f"  {name:42} {text}", flush=True)


if __name__ == "__main__":
    main()
