"""One SSH connection to a pinned server: the only place that knows paramiko.

Paramiko blocks, so calls run in threads; whoever cancels closes the channel, and the remote process group is
ended by a second command, because it lives on when its channel is closed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import shlex
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import paramiko

from policies.errors import ActionFailed
from tools.servers.inventory import Server

CONNECT_S = 10.0
OUTPUT_BYTES = 64_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """How a remote command ended."""

    code: int
    stdout: str
    stderr: str
    truncated: bool


class Connection:
    """A logged-in transport. Not safe for two threads at once; the executor takes turns."""

    def __init__(self, name: str, server: Server, private_key: Callable[[], str]) -> None:
        self._name, self._client = name, paramiko.SSHClient()
        kind, encoded, *_ = server.host_key.split()
        pinned = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
        at = server.host if server.port == 22 else f"[{server.host}]:{server.port}"
        self._client.get_host_keys().add(at, kind, pinned)
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            self._client.connect(
                server.host,
                port=server.port,
                username=server.user,
                pkey=_key(private_key(), name),
                timeout=CONNECT_S,
                banner_timeout=CONNECT_S,
                auth_timeout=CONNECT_S,
                allow_agent=False,
                look_for_keys=False,
            )
        except paramiko.BadHostKeyException:
            raise self._failed(
                "shows another host key than the pinned one; nothing was sent: find out why before you pin the new one"
            ) from None
        except paramiko.AuthenticationException:
            raise self._failed(f"refused the login of {server.user!r}; check user and key in servers.yaml") from None
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise self._failed(f"cannot be reached ({_short(error)}); check that its sshd runs") from None
        transport = self._client.get_transport()
        assert transport is not None, "connected above"
        # Nagle and delayed acknowledgements together cost 44 ms a command (52 to 8 ms measured)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
        transport.set_keepalive(15)
        self._transport = transport

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    def run(self, text: str, *, stdin: bytes, timeout_s: float, began: Callable[[], None]) -> Finished:
        """Run checked command text; its process group is ended on timeout or when the channel is closed."""
        # the first line of output is the group to end; setsid makes the shell its leader
        wrapped = f"exec setsid -w sh -c {shlex.quote('echo $$; ' + text)}"
        try:
            channel = self._transport.open_session(timeout=CONNECT_S)
            channel.settimeout(timeout_s)
            channel.exec_command(wrapped)
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise self._failed(f"refused the command ({_short(error)})") from None
        began()
        self._channel, self._group = channel, 0
        try:
            return self._collected(channel, stdin, time.monotonic() + timeout_s)
        except TimeoutError:
            ended = self.end()
            left = "it was ended" if ended else "it may still be running there"
            raise self._failed(f"did not finish in {timeout_s:.0f} s; {left}", acted=True) from None
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise self._failed(f"broke off ({_short(error)}); whether it finished is not known", acted=True) from None
        finally:
            channel.close()

    def end(self) -> bool:
        """End the process group of the command that runs now; True when the server confirms it."""
        group, self._group = self._group, 0
        if not group:
            return False
        try:
            channel = self._transport.open_session(timeout=CONNECT_S)
            channel.settimeout(CONNECT_S)
            channel.exec_command(f"kill -KILL -- -{group}")
            return channel.recv_exit_status() == 0
        except (OSError, paramiko.SSHException, EOFError):
            return False

    def read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file whose real path is `path`."""
        with self._sftp(path) as sftp, sftp.open(path, "rb") as remote:
            return bytes(remote.read(limit))

    def write(self, path: str, data: bytes) -> None:
        """Replace a file whose real path is `path`, all or nothing."""
        with self._sftp(path, folder=True) as sftp:
            beside = f"{path}.remit-new"
            with sftp.open(beside, "wb") as remote:
                remote.write(data)
            sftp.posix_rename(beside, path)

    def close(self) -> None:
        """Close the connection and whatever runs over it."""
        self.end()
        self._client.close()

    _channel: paramiko.Channel
    _group: int = 0

    def _collected(self, channel: paramiko.Channel, stdin: bytes, until: float) -> Finished:
        if stdin:
            channel.sendall(stdin)
        channel.shutdown_write()
        out, err = bytearray(), bytearray()
        while not (channel.exit_status_ready() and not channel.recv_ready() and not channel.recv_stderr_ready()):
            if time.monotonic() > until:
                raise TimeoutError
            self._take(channel, out, err)
        self._take(channel, out, err)
        text = out.decode("utf-8", "replace")
        return Finished(
            code=channel.recv_exit_status(),
            stdout=text.partition("\n")[2] if self._group else text,
            stderr=err.decode("utf-8", "replace"),
            truncated=len(out) >= OUTPUT_BYTES or len(err) >= OUTPUT_BYTES,
        )

    def _take(self, channel: paramiko.Channel, out: bytearray, err: bytearray) -> None:
        channel.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            got = channel.recv(32_768)
            out += got[: max(0, OUTPUT_BYTES - len(out))]
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(32_768)[: max(0, OUTPUT_BYTES - len(err))]
        if not self._group and (line := out.partition(b"\n")[0]).isdigit() and b"\n" in out:
            self._group = int(line)

    @contextlib.contextmanager
    def _sftp(self, path: str, *, folder: bool = False):  # type: ignore[no-untyped-def]
        """A session in which `path` (or its folder, for a new file) is what it seems, not a link elsewhere."""
        try:
            sftp = self._client.open_sftp()
            sftp.get_channel().settimeout(CONNECT_S * 3)  # type: ignore[union-attr]
            with contextlib.closing(sftp):
                seen = path.rsplit("/", 1)[0] or "/" if folder else path
                real = sftp.normalize(seen)
                if real != seen:
                    raise self._failed(f"has {seen!r} as a link to {real!r}; name the real path", acted=False)
                yield sftp
        except FileNotFoundError:
            raise self._failed(f"has no {path!r}; check the path") from None
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise self._failed(f"could not serve {path!r} ({_short(error)})", acted=folder) from None

    def _failed(self, what: str, *, acted: bool = False) -> ActionFailed:
        return ActionFailed(f"server {self._name!r} {what}", may_have_acted=acted)


def _key(text: str, name: str) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key(_file(text))
    raise ActionFailed(
        f"the private key for server {name!r} cannot be read; store it without a passphrase", may_have_acted=False
    )


def _file(text: str) -> IO[str]:
    return io.StringIO(text if text.endswith("\n") else text + "\n")


def _short(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0][:120]
