"""One SSH connection to a pinned server: the only place that knows paramiko.

Paramiko blocks, so calls run in threads. A remote command lives on when its channel is closed; so a small shell
on the server stays beside it and ends its process group when our side of the channel closes, for whatever reason.
Not reached are processes that left the group (a daemon) or belong to another user (sudo).
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
import secrets
import shlex
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.auth_strategy import AuthSource, AuthStrategy
from paramiko.ssh_exception import NoValidConnectionsError

from policies.errors import ActionFailed
from tools.servers.inventory import Server

OUTPUT_BYTES = 48_000
COMPLAINT_BYTES = 16_000
_LINGER_S = 1.0  # for output that a daemon, started by the command, keeps open
_ENDING_S = 1.5
# What paramiko raises; the last three for packets that are none.
_TROUBLE = (OSError, EOFError, paramiko.SSHException, ValueError, LookupError, struct.error)
# Goes to `sh` by its input: nothing in it depends on the login shell's dialect, and half of it is a syntax error.
# The end of that input is what the watcher waits for. POSIX words only: dash's kill takes no `-KILL --`.
_SUPERVISED = """{{ exec 3<&0
setsid sh -c {text} </dev/null 3<&- &
group=$!
(read -r _ <&3; kill -s KILL -- -$group || kill -s KILL $group) >/dev/null 2>&1 &
watcher=$!
wait $group; code=$?
exec 2>/dev/null; kill $watcher
exit $code; }}
"""
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would write tracebacks to the terminal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """How a remote command ended."""

    code: int
    stdout: str
    stderr: str
    truncated: bool


class _Closes(Protocol):
    def close(self) -> None: ...


class Stop:
    """Ends one call from another thread: closes what it waits on, and lets it begin nothing more."""

    def __init__(self) -> None:
        self._lock, self._asked = threading.Lock(), False
        self._thing: _Closes | None = None

    def ask(self) -> None:
        """Let the call end now."""
        with self._lock:
            self._asked = True
        if self._thing is not None:
            self._thing.close()

    def watch(self, thing: _Closes) -> None:
        """`thing` is what the call waits on from here; ActionFailed when it was asked to end."""
        with self._lock:
            self._thing = thing
            if not self._asked:
                return
        thing.close()
        raise ActionFailed("interrupted before it began", may_have_acted=False)


class Lost(ActionFailed):
    """The connection had died before anything was sent over it."""


class Connection:
    """A logged-in transport; several threads may use it at once, each call on a channel of its own."""

    def __init__(
        self,
        name: str,
        server: Server,
        private_key: Callable[[], str],
        *,
        stop: Stop,
        answer_s: float,
        this_machine: bool = False,
    ) -> None:
        self._name, self._answer_s, self._client = name, answer_s, paramiko.SSHClient()
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        key = _key(private_key(), name)
        stop.watch(self)
        try:
            with self._deadline(self, answer_s, "cannot be reached; check address and sshd"):
                self._log_in(server, key)
                if not this_machine and self._is_here():
                    raise self._failed(
                        "is this machine, where policies, keys and ledger lie; take it out of servers.yaml"
                    )
                # Nagle and delayed acknowledgements together cost 44 ms a command (52 to 8 ms measured)
                self._transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
                self._transport.set_keepalive(15)
        except BaseException:
            self.close()  # else its thread and socket stay
            raise

    @property
    def alive(self) -> bool:
        """False once the other side has gone, as far as TCP tells."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def run(self, text: str, *, timeout_s: float, stop: Stop) -> Finished:
        """Run checked command text without input. ActionFailed says whether it may still run there."""
        with contextlib.closing(self._session(stop)) as channel:
            with self._deadline(channel, self._answer_s, "did not start the command"):
                channel.exec_command("exec sh")
            until = time.monotonic() + timeout_s
            try:
                channel.settimeout(timeout_s)
                channel.sendall(_SUPERVISED.format(text=shlex.quote(text)).encode())
                return _collected(channel, until)
            except TimeoutError:
                left = "it was ended" if _ended(channel) else "it may still be running there"
                raise self._failed(f"did not finish in {timeout_s:g} s; {left}", acted=True) from None
            except _TROUBLE:
                raise self._failed("broke off; whether the command finished is not known", acted=True) from None

    def read(self, path: str, limit: int, *, stop: Stop) -> bytes | None:
        """At most `limit` bytes of the plain file whose real path is `path`; None when there is none."""
        with self._files(path, stop) as sftp:
            if self._at(sftp, path) is None:
                return None
            with sftp.open(path, "rb") as remote:
                return bytes(remote.read(limit))

    def write(self, path: str, data: bytes, *, stop: Stop) -> None:
        """Put `data` at the real path `path`, all or nothing; owner and mode stay, a new file has 0600."""
        beside = f"{path.rpartition('/')[0]}/.remit-{secrets.token_hex(8)}"
        with self._files(path, stop) as sftp:
            old, renaming = self._at(sftp, path), False
            try:
                # Exclusive: whoever may write to this folder could have put a link there.
                with sftp.open(beside, "wxb") as new:
                    new.chmod(0o600)
                    new.write(data)
                    if old is not None:
                        _give(new, old)
                renaming = True
                sftp.posix_rename(beside, path)
            except _TROUBLE as error:
                gone = _withdrawn(sftp, beside, renaming)
                raise self._failed(f"could not write {path!r} ({_why(error)})", acted=not gone) from None

    def close(self) -> None:
        """Close the connection; commands that run over it are ended by their watchers."""
        if transport := self._client.get_transport():
            transport.close()

    @property
    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        assert transport is not None, "connected when made"
        return transport

    def _log_in(self, server: Server, key: paramiko.PKey) -> None:
        kind, encoded, *_ = server.host_key.split()
        pinned = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
        at = server.host if server.port == 22 else f"[{server.host}]:{server.port}"
        self._client.get_host_keys().add(at, kind, pinned)
        try:
            self._client.connect(
                server.host,
                port=server.port,
                timeout=self._answer_s,
                banner_timeout=self._answer_s,
                auth_timeout=self._answer_s,
                auth_strategy=_ThisKey(server.user, key),
            )
        except paramiko.BadHostKeyException:
            raise self._failed(
                "shows another host key than the pinned one, so nothing was sent; "
                "find out why before you pin the new key in servers.yaml"
            ) from None
        except paramiko.AuthenticationException as error:
            if not self.alive or "timeout" in str(error):  # nobody said no
                raise EOFError from None
            raise self._failed(f"refused the login of {server.user!r}; check user and key in servers.yaml") from None

    def _is_here(self) -> bool:
        """True when the other end has the address of this end: by whatever name, it is the same machine."""
        sock: Any = self._transport.sock
        return bool(sock.getpeername()[0] == sock.getsockname()[0])

    def _session(self, stop: Stop) -> paramiko.Channel:
        """A channel over which nothing was sent yet. Lost when the connection is dead."""
        try:
            channel = self._transport.open_session(timeout=self._answer_s)
        except paramiko.ChannelException:
            raise self._failed("takes no further session; let others end first") from None
        except _TROUBLE:
            if not self.alive:
                raise Lost(f"server {self._name!r} closed the connection", may_have_acted=False) from None
            self.close()  # silent: the next call shall not wait for it again
            raise self._failed(f"opened no session in {self._answer_s:g} s; check that it still runs") from None
        channel.settimeout(self._answer_s)
        stop.watch(channel)
        return channel

    @contextlib.contextmanager
    def _files(self, path: str, stop: Stop) -> Iterator[paramiko.SFTPClient]:
        channel, doing = self._session(stop), f"could not serve {path!r}"
        with contextlib.closing(channel), self._deadline(channel, 3 * self._answer_s, doing):
            channel.invoke_subsystem("sftp")
            yield paramiko.SFTPClient(channel)

    def _at(self, sftp: paramiko.SFTPClient, path: str) -> paramiko.SFTPAttributes | None:
        """The plain file at `path`, None for nothing; ActionFailed when a link would lead elsewhere.

        Not a boundary against somebody on that server who swaps a folder for a link right after: SFTP 3 has no
        way to hold a folder.
        """
        folder = path.rpartition("/")[0] or "/"
        try:
            if sftp.normalize(folder) != folder:
                raise self._failed(f"reaches {path!r} through a link; name the real path")
            found = sftp.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode or 0):
            raise self._failed(f"has at {path!r} a link, a folder or a device; name a plain file")
        return found

    @contextlib.contextmanager
    def _deadline(self, thing: _Closes, seconds: float, doing: str) -> Iterator[None]:
        """Trouble in the block is ActionFailed with nothing done; after `seconds` there is trouble."""
        began = time.monotonic()
        timer = threading.Timer(seconds, thing.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        except _TROUBLE as error:
            late = time.monotonic() - began >= seconds
            raise self._failed(f"{doing} ({f'no answer in {seconds:g} s' if late else _why(error)})") from None
        finally:
            timer.cancel()

    def _failed(self, what: str, *, acted: bool = False) -> ActionFailed:
        return ActionFailed(f"server {self._name!r} {what}", may_have_acted=acted)


class _ThisKey(AuthStrategy):
    """One key and nothing else: no agent, no keys of the home folder, no question on the terminal."""

    def __init__(self, user: str, key: paramiko.PKey) -> None:
        self._user, self._key = user, key

    def get_sources(self) -> Iterator[AuthSource]:
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> None:  # type: ignore[override]
        if transport.auth_publickey(self._user, self._key):
            raise paramiko.AuthenticationException("the server wants a second factor")


def _collected(channel: paramiko.Channel, until: float) -> Finished:
    """Everything the command says, up to the limits; TimeoutError when it is not over at `until`."""
    kept, said, quiet_at = (bytearray(), bytearray()), [0, 0], None
    limits = (OUTPUT_BYTES, COMPLAINT_BYTES)
    while True:
        stream, data = _next(channel)
        said[stream] += len(data)
        kept[stream].extend(data[: limits[stream] - len(kept[stream])])
        now = time.monotonic()
        if channel.exit_status_ready() and not (channel.recv_ready() or channel.recv_stderr_ready()):
            quiet_at = now if data or quiet_at is None else quiet_at
            if channel.eof_received or channel.closed or now - quiet_at > _LINGER_S:
                break
        if now > until:
            raise TimeoutError
    if (code := channel.recv_exit_status()) < 0:
        raise EOFError  # the connection broke, or something on the server ended our shell
    out, err = (each.decode("utf-8", "replace") for each in kept)
    return Finished(code=code, stdout=out, stderr=err, truncated=said > [len(each) for each in kept])


def _next(channel: paramiko.Channel) -> tuple[int, bytes]:
    """The next piece of output (0) or complaints (1); empty after a tenth of a second without one."""
    if channel.recv_stderr_ready():
        return 1, channel.recv_stderr(32_768)
    if channel.eof_received and not channel.recv_ready():
        channel.status_event.wait(0.1)
        return 0, b""
    channel.settimeout(0.1)
    try:
        return 0, channel.recv(32_768)
    except TimeoutError:
        return 0, b""


def _ended(channel: paramiko.Channel) -> bool:
    """End the command by ending its watcher's input; True when the server confirms that it is over."""
    with contextlib.suppress(*_TROUBLE):
        channel.shutdown_write()
        return channel.status_event.wait(_ENDING_S) and channel.recv_exit_status() >= 0
    return False


def _give(new: paramiko.SFTPFile, old: paramiko.SFTPAttributes) -> None:
    """The owner and mode of the file that `new` replaces; an error when they cannot be given."""
    mine = new.stat()
    if old.st_uid is not None and old.st_gid is not None and (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        new.chown(old.st_uid, old.st_gid)
    new.chmod((old.st_mode or 0o600) & 0o777)


def _withdrawn(sftp: paramiko.SFTPClient, path: str, renaming: bool) -> bool:
    """Remove what was written beside; True when this shows that nothing changed."""
    try:
        sftp.remove(path)
    except FileNotFoundError:
        return not renaming  # never made; else it became the file
    except _TROUBLE:
        return False
    return True


def _key(text: str, name: str) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(*_TROUBLE, TypeError, UnsupportedAlgorithm):
            return kind.from_private_key(io.StringIO(text.rstrip("\n") + "\n"))
    raise ActionFailed(
        f"the private key for server {name!r} cannot be read; store it whole and without a passphrase",
        may_have_acted=False,
    )


def _why(error: BaseException) -> str:
    """The cause in our own words: those of the server are a stranger's, and may hold anything."""
    match error:
        case TimeoutError():
            return "it did not answer in time"
        case socket.gaierror():
            return "its name is not known"
        case NoValidConnectionsError():
            return "the connection was refused"
        case OSError(errno=int(number)):
            return os.strerror(number)
        case OSError():
            return "the server reported a failure"
        case _:
            return "the connection broke off"
