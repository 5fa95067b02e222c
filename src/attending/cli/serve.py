"""`attending serve`: answer over HTTP as OpenAI's API does, so that other programs can ask."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

import typer

from attending.cli.console import talk


def serve(
    model: Annotated[
        str | None,
        typer.Option(help="A folder, or an OpenAI-compatible server: http://host:8000/v1#name. By default embedded."),
    ] = None,
    experts: Annotated[
        str | None,
        typer.Option(metavar="A,B|none", help="Experts the model may ask; by default all that can run here."),
    ] = None,
    route: Annotated[bool, typer.Option("--route", help="Ask the experts first, for a model that cannot.")] = False,
    host: Annotated[
        str, typer.Option(help="Where to listen. Other machines can ask only where ATTENDING_TOKEN is set.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8000,
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its own name.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="What pictures were made with, where a request does not say: CXR, CT, MRI …")
    ] = None,
    body_part: Annotated[str | None, typer.Option(help="Where a request does not say, e.g. CHEST.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampling, where a request does not say.")] = 0,
    temperature: Annotated[float, typer.Option(help="Where a request does not say.", min=0)] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="The most a request may ask for, and what it gets.", min=1)] = 1024,
    rounds: Annotated[int, typer.Option(help="How often the model may have experts run for one answer.", min=0)] = 3,
    seconds: Annotated[float, typer.Option(help="Time for one request, waiting included.", min=0.001)] = 600.0,
    queue: Annotated[int, typer.Option(help="Requests that may wait for their turn.", min=0)] = 32,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Answer over HTTP as OpenAI's chat completions do; the address is printed when it listens.

    Any client of OpenAI's API can ask: give it the address as base URL, and as API key what ATTENDING_TOKEN is set to
    (anything, where it is not set). Pictures go as data: URLs, PNG or JPEG; nothing is fetched. What the experts found
    stands in the field `attending` of the answer. One request is computed at a time; Ctrl-C ends it.

    Example: `attending serve --model m3-8b --port 8000`, then

        curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json'
        -d '{"model": "m3-8b", "messages": [{"role": "user", "content": "What is a pleural effusion?"}]}'
    """
    from attending.assembly import load
    from attending.serving import Settings, application, listen, server

    token = os.environ.get("ATTENDING_TOKEN", "")
    names = None if experts is None else [one.strip() for one in experts.split(",") if one.strip()]
    with listen(host, port, token) as listening:
        with talk.status("loading the model"):
            attending = load(
                model,
                experts=[] if names == ["none"] else names,
                route=route,
                rounds=rounds,
                seconds=seconds,
                seed=seed,
                temperature=temperature,
                max_new_tokens=max_tokens,
                dtype=dtype,
                device=device,
            )
        settings = Settings(name or attending.backend.name, token, modality, body_part, queue=queue, seconds=seconds)
        at, there = listening.getsockname()[:2]
        print(f"http://{f'[{at}]' if ':' in at else at}:{there}/v1", flush=True)
        talk.print(f"serving {settings.name!r}; for research use only", soft_wrap=True, markup=False)
        with suppress(KeyboardInterrupt):  # how a server is ended
            server(application(attending, settings)).run(sockets=[listening])
