#!/usr/bin/env python3
"""What Python's servers read in a body: `json`, Starlette with python-multipart, and FastAPI. A line of JSON in, one
out: `{"type": …, "body": base64}`, `{"models": […]}`."""

import asyncio
import base64
import json
import sys
from collections.abc import Callable

from fastapi import Body, FastAPI, Form
from starlette.requests import Request

app = FastAPI()


@app.post("/json")
def by_json(body: dict = Body()) -> list:
    return [body.get("model")]


@app.post("/form")
def by_form(model: str = Form()) -> list:
    return [model]


def scope_of(said: str | None, path: str, length: int) -> dict:
    headers = [(b"content-length", str(length).encode())]
    if said is not None:
        headers.append((b"content-type", said.encode("latin-1")))
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip


def receiver(body: bytes) -> Callable:
    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def starlette(said: str | None, body: bytes) -> list:
    request = Request(scope_of(said, "/", len(body)), receiver(body))
    if (said or "").startswith("multipart/"):
        form = await request.form()
        return [value if isinstance(value, str) else (await value.read()).decode() for value in form.getlist("model")]
    return [(await request.json()).get("model")]


async def fastapi(path: str, said: str | None, body: bytes) -> list:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    await app(scope_of(said, path, len(body)), receiver(body), send)
    status = sent[0]["status"]
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return json.loads(text) if status == 200 else []


async def plain(said: str | None, body: bytes) -> list:
    return [json.loads(body).get("model")]


def models(said: str | None, body: bytes) -> list[str]:
    found = []
    for ask in (
        lambda: plain(said, body),
        lambda: starlette(said, body),
        lambda: fastapi("/json", said, body),
        lambda: fastapi("/form", said, body),
    ):
        try:
            found += asyncio.run(ask())
        except Exception:  # noqa: BLE001 - whatever it is, nothing was read
            continue
    return [model for model in found if isinstance(model, str)]


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"models": models(asked["type"], base64.b64decode(asked["body"]))}), flush=True)
