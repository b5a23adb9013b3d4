"""`remit init`: a short interview that leaves a home in which everything works."""

from __future__ import annotations

import getpass
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from agent.language import Language
    from agent.wiring import App

PROVIDERS = {
    "DashScope": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen3.8-flash"),
    "vLLM": ("http://127.0.0.1:8000/v1", ""),
    "Ollama": ("http://127.0.0.1:11434/v1", ""),
    "other": ("", ""),
}
"""Base URL and model that are proposed. DashScope's is the shared host of Beijing; other regions have others."""
POLICIES = ("read-only", "back-office")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("init")(init)


def init() -> int:
    """Ask for language, model, key and starter policy, keep them, and look whether all of it works."""
    from agent.cli.doctor import doctor  # start-up time
    from agent.errors import BadSettings
    from agent.language import Language
    from agent.settings import load_settings
    from agent.wiring import App

    app = App(load_settings())
    try:
        settings, home = app.settings, app.settings.home
        code = _asked("Language / 语言 (en, zh)", settings.language, ("en", "zh"))
        say, model = Language(code), settings.model
        provider = _asked(say("Model server"), _provider(model.base_url), tuple(PROVIDERS))
        url, name = PROVIDERS[provider]
        if model.base_url and provider == _provider(model.base_url):
            url, name = model.base_url, model.model
        url = _asked(say("Base URL"), url).rstrip("/")
        host = urlsplit(url).hostname
        if not host:
            raise BadSettings(f"{url!r} is no base URL such as http://127.0.0.1:8000/v1; start again")
        name = _asked(say("Model"), name)
        key = _key(app, say, host)
        policy = home / "policy.yaml"
        if not policy.exists():
            preset = _asked(say("Starter policy"), POLICIES[0], POLICIES)
            text = (Path(__file__).parents[2] / "policies" / "presets" / f"{preset}.yaml").read_bytes()
            _write(policy, text)
        path = home / "settings.toml"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        text = changed(before, {"language": code, "model": {"base_url": url, "model": name, "key": key}}, str(path))
        _write(path, text.encode())
        print(say("Written: {settings}. The policy is {policy}; make it yours.", settings=path, policy=policy))
    finally:
        import asyncio

        asyncio.run(app.close())
    return doctor()
