"""Several conversations answered together, each token of all of them in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from attending.imaging import Picture
from attending.model.decoding import Delta, Sampling, TextWriter
from attending.model.engines import LeanEngine
from attending.model.local import LocalModel
from attending.model.messages import Messages


def answer_together(
    model: LocalModel,
    conversations: Sequence[tuple[Messages, Sequence[Picture]]],
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> list[Delta]:
    """Answer several conversations; the same texts as one by one, each as one `Delta` that ends it.

    Rows keep caches of their own and leave the batch when they end, so there is no padding to get wrong. Models that
    only have Transformers' forward answer one after the other.

    Raises:
        InputError: When a conversation does not fit its pictures or the model's context; before anything is computed.
    """
    prompts = [model.prompt(messages, pictures) for messages, pictures in conversations]
    if model.lean is None:
        return [_whole(model.session().stream(messages, pictures, sampling)) for messages, pictures in conversations]
    engines = [LeanEngine(model) for _ in prompts]
    writers = [TextWriter(model.tokenizer, sampling.stop) for _ in prompts]
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in prompts]
    texts = [""] * len(prompts)
    cut = [False] * len(prompts)
    logits = {row: engine.prefill(prompts[row])[0] for row, engine in enumerate(engines)}
    while logits:
        taken: dict[int, int] = {}
        for row, scores in logits.items():
            writer = writers[row]
            token = model.next_token(scores, writer.ids, sampling, None, generators[row])
            if token not in model.end_ids:
                texts[row] += writer.add(token)
                cut[row] = not writer.stopped and len(writer.ids) >= model.room(prompts[row], sampling)
                if not writer.stopped and not cut[row]:
                    taken[row] = token
        if not taken:
            break
        scores = model.lean.forward(model.embed_tokens(list(taken.values())), [engines[row].cache for row in taken])
        logits = dict(zip(taken, scores, strict=True))
    return [
        Delta(texts[row] + writer.finish(), "length" if cut[row] else "stop", len(prompts[row].ids), 0, len(writer.ids))
        for row, writer in enumerate(writers)
    ]


def _whole(stream: Iterator[Delta]) -> Delta:
    """All pieces of an answer as one."""
    pieces = list(stream)
    return replace(pieces[-1], text="".join(piece.text for piece in pieces))
