"""Which codec suits a model."""

from __future__ import annotations

import re

from attending.consult.loop import Codec
from attending.consult.published import Published
from attending.consult.short import Short
from attending.consult.tools import Tools
from attending.errors import InputError
from attending.model import Backend

CODECS = {codec.name: codec for codec in (Published, Tools, Short)}


def codec_for(backend: Backend) -> tuple[Codec, bool]:
    """The codec of a model, and whether the model can call experts at all.

    A local model's config may say it: `expert_codec` is `vila-m3`, `tools`, `short`, or `none` for a model that cannot
    call. Otherwise VILA-M3 models, and remote ones with that in their name, have `vila-m3`, all others `tools`.

    Raises:
        InputError: The config names a codec that is not known.
    """
    config = getattr(getattr(backend, "model", None), "config", None)
    named = getattr(config, "expert_codec", None)
    if named is not None and named != "none" and named not in CODECS:
        raise InputError(f"expected one of {', '.join(CODECS)}, none", field="expert_codec", value=named)
    vila = getattr(config, "model_type", None) == "vila_m3" or re.search(r"vila[-_]?m3", backend.name, re.IGNORECASE)
    kind = named if named in CODECS else "vila-m3" if vila else "tools"
    return CODECS[kind](), named != "none"
