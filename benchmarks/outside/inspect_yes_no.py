"""An inspect_ai task over the table of make_pictures.py, for a model behind `attending serve`; see docs/serving.md.

Needs inspect-ai and attending in one environment: answers are read by `attending.evaluation`, so that the score is the
one that `attending eval` gives to the same answers.
"""

import base64
import csv
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, pattern, scorer, stderr
from inspect_ai.solver import TaskState, generate

from attending.evaluation.parse import parse

PROMPT = "{question}\nAnswer yes or no."


@task
def phantom_yes_no(data: str) -> Task:
    """Is there a pleural effusion?

    Args:
        data: The folder of make_pictures.py.
    """
    folder = Path(data)
    with (folder / "data.csv").open(encoding="utf-8") as file:
        samples = [sample_of(row, folder) for row in csv.DictReader(file)]
    return Task(
        dataset=samples,
        solver=generate(),
        # The second one is inspect's own, to compare: the first yes or no that stands anywhere.
        scorer=[read_as_attending_does(), pattern(r"(?i)\b(yes|no)\b")],
        config=GenerateConfig(
            temperature=0, max_tokens=64, extra_body={"attending": {"modality": "CXR", "body_part": "CHEST"}}
        ),
    )


def sample_of(row: dict[str, str], folder: Path) -> Sample:
    """A row with its picture as a data: URL, the only kind that the server takes."""
    picture = base64.b64encode((folder / row["image"]).read_bytes()).decode()
    asked = [
        ContentImage(image=f"data:image/png;base64,{picture}"),
        ContentText(text=PROMPT.format(question=row["question"])),
    ]
    return Sample(id=row["id"], input=[ChatMessageUser(content=asked)], target=row["answer"])


@scorer(metrics=[accuracy(), stderr()])
def read_as_attending_does() -> Scorer:
    """Right when the answer is read as yes or no and is the target's; what cannot be read is wrong, and says why."""

    async def score(state: TaskState, target: Target) -> Score:
        read = parse("yes_no", state.output.completion)
        right = read.valid and read.value == (target.text == "yes")
        return Score(
            value=CORRECT if right else INCORRECT,
            answer={True: "yes", False: "no", None: "invalid"}[read.value],
            explanation=f"{state.output.completion} ({read.why or 'read'})",
        )

    return score
