"""How the learning rates run over a stage."""

import math


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """What the rates are multiplied by in a step counted from 0: a line up over the warm-up, then half a cosine to 0.

    The first step is not 0 and the last is not quite, so that every step learns.
    """
    rise = math.ceil(steps * warmup)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
