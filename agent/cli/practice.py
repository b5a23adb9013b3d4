"""`remit practice`: a small world on loopback to try everything safely, and the demo played in it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    practice = typer.Typer(help="A shop, a server, a scripted model and a hostile host to practise on.")
    practice.command("up")(up)
    practice.command("down")(down)
    practice.command("status")(status)
    practice.command("demo")(demo)
    app.add_typer(practice, name="practice")


def up() -> int:
    """Start the practice world and make its home; says how to use it."""
    from agent.demo import practice_home  # start-up time
    from agent.practice import make

    world, _ = make(practice_home(), script="sandbox.practice.scripts.demo:exact")
    print(f"shop.example {world.shop.url}   web-1 {world.web1.host}:{world.web1.port}   model {world.model.url}/v1")
    print(f"export REMIT_HOME={practice_home()}")
    return 0


def down() -> int:
    """End the practice world; its home is kept."""
    from agent.demo import practice_home  # start-up time
    from sandbox.practice.world import down as end

    end(practice_home() / "world")
    return 0


def status() -> int:
    """What of the practice world is up."""
    from agent.demo import practice_home  # start-up time
    from sandbox.practice.world import status as look

    found = look(practice_home() / "world")
    for part in found.parts:
        print(f"{part.name:<8} {'up' if part.up else 'down':<5} {part.address.url if part.address else ''}")
    print(f"worker   {found.worker.value if found.worker else 'down'}")
    return 0 if found.up else 1


def demo(script: str = typer.Option("exact", help="exact, sloppy or hostile.")) -> int:
    """One task twice, with and without the policy; ends 0 only if everything is as it should be."""
    from agent.demo import play  # start-up time

    return play(script)
