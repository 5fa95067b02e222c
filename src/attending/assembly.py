"""Where the rooms are put together: a model, experts and reports become an `Attending`."""

from __future__ import annotations

from attending.consult import Attending, Options
from attending.errors import NotAvailableError
from attending.model import Sampling, load_backend
from attending.reporting import write


def load(
    model: str | None = None,
    *,
    experts: list[str] | None = None,
    route: bool = False,
    rounds: int = 3,
    seconds: float = 1800.0,
    seed: int = 0,
    temperature: float = 0.0,
    max_new_tokens: int = 1024,
    dtype: str = "auto",
    device: str = "cpu",
) -> Attending:
    """Load a model, and find the experts that can run here.

    Args:
        model: A model folder, or an OpenAI-compatible server as `http://host:8000/v1#name`.
        experts: Names of those that the model may ask; None takes all that can run here, an empty list none.
        route: Ask the experts before the model speaks, for a model that cannot call them.
        rounds: How often the model may have experts run for one question.
        seconds: Time for one answer.
        seed: Of the sampling.
        temperature: 0 always takes the likeliest token.
        max_new_tokens: Longest text of the model.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        device: Where the model runs.

    Raises:
        InputError: There is no such model, or no such expert.
        NotAvailableError: An extra is missing, or a named expert cannot run here.
    """
    if model is None:
        raise NotAvailableError("no model is built in yet; pass a model folder, or http://host:8000/v1#name")
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    options = Options(rounds=rounds, seconds=seconds, route=route, sampling=sampling)
    return Attending(load_backend(model, dtype, device), experts, options, writer=write)
