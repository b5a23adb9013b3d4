"""`remit practice`: a small world on loopback to try everything safely, and the demo played in it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    practice = typer.Typer(help="A small world to practise in: shop, server, scripted model.")
    practice.command("up")(up)
    practice.command("down")(down)
    practice.command("status")(status)
    practice.command("demo")(demo)
    app.add_typer(practice, name="practice")


def up() -> int:
    """Start the practice world and make its home, beside yours. The last line printed sets REMIT_HOME to it."""
    from agent.demo import practice_home  # start-up time
    from agent.language import Language
    from agent.practice import make

    world, settings = make(practice_home(), script="sandbox.practice.scripts.demo:exact")
    say = Language(settings.language)
    print(f"shop.example {world.shop.url}   web-1 {world.web1.host}:{world.web1.port}   model {world.model.url}/v1")
    print(say("To work in it, run the next line; to end it: remit practice down"))
    print(f"export REMIT_HOME={practice_home()}")
    return 0


def down() -> int:
    """End the practice world, and the demo's; their homes with runs and ledger are kept."""
    from agent.demo import demo_home, practice_home  # start-up time
    from sandbox.practice.world import down as end

    for home in (practice_home(), demo_home()):
        end(home / "world")
    return 0


def status() -> int:
    """Show what of the practice world is up. Exit code 1 if a part of it is down."""
    from agent.demo import demo_home, practice_home  # start-up time
    from agent.language import spoken
    from sandbox.practice.world import status as look

    only_demo = (demo_home() / "world").exists() and not (practice_home() / "world").exists()
    home = demo_home() if only_demo else practice_home()
    found, say = look(home / "world"), spoken()
    print(home)
    for part in found.parts:
        print(f"{part.name:<8} {say('up' if part.up else 'down'):<5} {part.address.url if part.address else ''}")
    print(f"worker   {found.worker.value if found.worker else say('down')}")
    return 0 if found.up else 1


def demo(
    script: str = typer.Option("exact", metavar="NAME", help="What the model is like: exact, sloppy or hostile."),
) -> int:
    """Play one task twice, without and with the policy, in a home of its own. Exit code 0 if all is as it should be."""
    from agent.demo import play  # start-up time

    return play(script)
