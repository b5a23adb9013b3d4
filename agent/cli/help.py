"""Help in the person's language. Typer writes English; for Chinese the same facts are written here."""

from __future__ import annotations

from functools import partial
from typing import Any

from agent.cli.width import width
from agent.language import Language


def speak(command: Any, say: Language) -> None:
    """Have a command, and all commands under it, give their help in this language."""
    command.get_help = partial(_help, command, say)
    for one in getattr(command, "commands", {}).values():
        speak(one, say)


def _help(command: Any, say: Language, context: Any) -> str:
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Commands": []}
    for param in command.get_params(context):
        if record := param.get_help_record(context):
            kind = "Arguments" if param.param_type_name == "argument" else "Options"
            sections[kind].append((record[0], _told(say, record[1])))
    for name, one in getattr(command, "commands", {}).items():
        sections["Commands"].append((name, _told(say, one.help or "")))
    lines = [usage(command.get_usage(context), say), "", f"  {_told(say, command.help or '')}"]
    for head, rows in sections.items():
        lines += ["", f"{say(head)}："] if rows else []
        wide = max((width(name) for name, _ in rows), default=0)
        lines += [f"  {name}{' ' * (wide - width(name))}  {text}".rstrip() for name, text in rows]
    return "\n".join([*lines, *(["", f"  {_told(say, command.epilog)}"] if command.epilog else [])])


def usage(english: str, say: Language) -> str:
    """The line that shows how a command is called."""
    joined = " ".join(english.split())
    return say.told(joined).replace("[OPTIONS]", say("[OPTIONS]")).replace("COMMAND [ARGS]", say("COMMAND [ARGS]"))


def _told(say: Language, help: str) -> str:
    """A help text, and after it in brackets what the parser says of the value: a default, or that it is required."""
    text, _, more = " ".join(help.replace("  [", "\0").split()).partition("\0")
    facts = "；".join(say.told(fact) for fact in more.removesuffix("]").split("; ")) if more else ""
    return f"{say(text)}  [{facts}]" if facts else say(text)
