"""Where the rooms are put together: a model, experts and reports become an `Attending`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from attending.errors import NotAvailableError

if TYPE_CHECKING:
    from attending.consult import Attending

_EMBEDDED_NEEDS = ("torch", "transformers", "accelerate", "gguf", "monai", "yaml")


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
        model: A model folder, or an OpenAI-compatible server as `http://host:8000/v1#name`; None takes the embedded
            model, which is put together on first use.
        experts: Names of those that the model may ask; None takes for the embedded model its own, and for others
            all that can run here; an empty list none.
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
        NotAvailableError: An extra is missing, a named expert cannot run here, or the embedded model cannot be put
            together here.
    """
    if model is None:
        missing = [name for name in _EMBEDDED_NEEDS if find_spec(name) is None]
        if missing:
            raise NotAvailableError(f"the embedded model needs {', '.join(missing)}: pip install 'attending[nano]'")
    from attending.consult import Attending, Options
    from attending.consult.domain import Domain
    from attending.experts import embedded
    from attending.model import Sampling, load_backend
    from attending.model.embedded import embedded_model
    from attending.reporting import write

    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    options = Options(rounds=rounds, seconds=seconds, route=route, sampling=sampling)
    if model is not None:
        return Attending(load_backend(model, dtype, device), experts, options, writer=write)
    backend = load_backend(str(embedded_model()), dtype, device)
    own = [(expert, expert.available()) for expert in embedded()] if experts is None else []
    offered = experts if experts is not None else [expert for expert, why in own if why is None]
    attending = Attending(backend, offered, options, writer=write, domain=Domain.load())
    attending.warnings += [f"{expert.card.name} is not available here: {why}" for expert, why in own if why is not None]
    return attending
