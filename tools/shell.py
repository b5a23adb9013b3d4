"""Commands in the run's folder: argument vectors behind walls, without a network, without a shell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from policies.action import Command, EffectClass, ShellRun
from policies.errors import ActionFailed
from policies.permit import Permit
from policies.ports import Raw
from sandbox.confinement import Confinement, Level
from sandbox.process import Exit, Stage, run
from sandbox.workspace import Workspace
from tools.files import IN_FOLDER, TEXT_BYTES, Workspaces, capped, sandbox_faults

_WALL_S = 60.0
_MEMORY_BYTES = 1 << 30
_PROCESSES = 64
_FILE_BYTES = 256 << 20


class ShellExecutor:
    """Carries out shell.run. `timezone` is the children's, a name of /usr/share/zoneinfo."""

    kinds = frozenset({"shell.run"})

    def __init__(self, workspaces: Workspaces, *, timezone: str = "UTC", wall_s: float = _WALL_S) -> None:
        self._workspaces, self._env, self._wall_s = workspaces, {"TZ": timezone}, wall_s

    async def execute(self, permit: Permit) -> Raw:
        """What the pipelines printed, run in turn until one ends with another code than 0.

        Such a code is a result. ActionFailed if a program is missing, a file cannot be redirected, or time is up.
        """
        action = permit.redeem(ShellRun)
        workspace = self._workspaces(permit.run)
        # All handles first: one that may not be restored stops the command before any of it runs.
        todo = [tuple(_opened(permit, command) for command in pipeline) for pipeline in action.pipelines]
        writes = action.effect is not EffectClass.READ
        with sandbox_faults(may_have_acted=False):
            before = set(workspace.listing())
        deadline = time.monotonic() + self._wall_s
        ended: list[Exit] = []
        for pipeline in todo:
            left_s = max(deadline - time.monotonic(), 0.001)
            with sandbox_faults(may_have_acted=writes and bool(ended)):
                walls = confined_to(workspace, wall_s=left_s, env=self._env)
                result = await run([_stage(workspace, c) for c in pipeline], walls, least=least_level(permit))
            if result.not_found is not None:
                sentence = f"There is no program {result.not_found!r} for commands in the run's folder."
                raise ActionFailed(sentence, may_have_acted=writes and bool(ended))
            if result.timed_out:
                sentence = f"The command did not end within {self._wall_s:g} s and was stopped."
                raise ActionFailed(sentence, may_have_acted=writes)
            ended.append(result)
            if result.codes[-1]:
                break
        with sandbox_faults(may_have_acted=writes):
            files = tuple(str(entry.path) for entry in workspace.listing() if entry not in before)
            full = workspace.used_bytes() > workspace.quota_bytes
        return Raw(
            text=capped(_text(ended, len(todo), full)),
            files=files,
            exit_code=ended[-1].codes[-1],
            label=IN_FOLDER,
            level=ended[-1].level.name.lower(),
        )

    async def probe(self, permit: Permit) -> Raw | None:
        """Never known: ActionFailed."""
        raise ActionFailed("Nobody can tell whether the command ran; look at its files.", may_have_acted=True)


def least_level(permit: Permit) -> Level:
    """The weakest walls that the permit accepts."""
    return Level[permit.obligations.least_level.upper()]


def confined_to(
    workspace: Workspace, *, wall_s: float, env: Mapping[str, str] | None = None, read: Sequence[Path] = ()
) -> Confinement:
    """Walls with the system to read, the run's folder to write, and no network."""
    return Confinement(
        read_roots=tuple(read),
        write_roots=(workspace.root,),
        cwd=workspace.root,
        cpu_s=int(wall_s) + 1,
        memory_bytes=_MEMORY_BYTES,
        processes=_PROCESSES,
        file_size_bytes=min(_FILE_BYTES, workspace.quota_bytes),
        wall_s=wall_s,
        output_bytes=TEXT_BYTES,
        env=env or {},
    )


def _opened(permit: Permit, command: Command) -> Command:
    return command.model_copy(update={"argv": tuple(permit.opened(word) for word in command.argv)})


def _stage(workspace: Workspace, command: Command) -> Stage:
    stdin = workspace.resolve(command.stdin) if command.stdin else None
    stdout = workspace.resolve(command.stdout) if command.stdout else None
    return Stage(argv=command.argv, stdin=stdin, stdout=stdout, append=command.append)


def _text(ended: Sequence[Exit], wanted: int, full: bool) -> str:
    parts = [b"".join(result.stdout for result in ended).decode(errors="replace")]
    if complaints := b"".join(result.stderr for result in ended).decode(errors="replace"):
        parts.append(f"[stderr]\n{complaints}")
    if any(result.truncated for result in ended):
        parts.append(f"[cut: only the first {TEXT_BYTES:,} bytes of the output were kept]")
    if any(ended[-1].codes):
        parts.append(f"[exit code {', '.join(map(str, ended[-1].codes))}]")
    if len(ended) < wanted:
        parts.append(f"[not run: {wanted - len(ended)} commands after the one that failed]")
    if full:
        parts.append("[the run's folder is over its size limit; remove files]")
    return "\n".join(part.rstrip("\n") for part in parts if part)
