"""The agent's socket: takes connections, reads requests, writes answers, and lets no peer get it down."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Condition, Thread

from cni import wire
from cni.spec import Code, Refusal

log = logging.getLogger(__name__)

Reply = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]

TICK = 2.0
"""Seconds after which a thread that waits for its peer looks up."""

PATIENCE = 10.0
"""Seconds that a peer may take for one frame, from its first byte, and for taking an answer."""

IDLE = 60.0
"""Seconds that a connection may stand open between two requests."""

BACKLOG = 1024
"""Connections that wait for a thread: a node that boots starts all its pods at once."""


class CannotServe(Exception):
    """The socket cannot be had; the message says why."""


class Agent:
    """Serves ``reply`` on the unix socket at ``path``.

    Each thread takes a connection and serves it to its end: no hop on the way, and what blocks blocks one peer only. There
    are as many threads as connections, at most ``workers``.
    """

    def __init__(self, path: Path, reply: Reply, *, workers: int = 256) -> None:
        self.path = path
        self._reply = reply
        self._workers = workers
        self._guard = Condition()
        self._threads = 0
        self._idle = 0
        self._stopping = False
        self._connections: set[socket.socket] = set()
        self._lock: int | None = None
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Take the socket: that of a dead agent is replaced, a live one is left alone. Raises CannotServe."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = _lock(self.path)
            _clear(self.path)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)  # 0600 from its first instant; a chmod afterwards would come too late
            try:
                self._listener.bind(str(self.path))
            finally:
                os.umask(before)
            self._listener.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise CannotServe(f"{self.path}: {error.strerror or error}") from error
        except CannotServe:
            self.close()
            raise

    def start(self) -> None:
        with self._guard:
            self._spawn()

    def stop(self, seconds: float) -> bool:
        """Take no more, finish what runs, at most so long; whether all was finished."""
        with self._guard:
            self._stopping = True
            if self._listener is not None:
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)  # wakes the threads in accept()
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)  # wakes those that wait for a request
            finished = self._guard.wait_for(lambda: self._threads == 0, seconds)
        self.close()
        return finished

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)
        if self._lock is not None:  # the file stays: removing it would let two agents lock two files
            os.close(self._lock)
            self._lock = None

    def _spawn(self) -> None:
        """One more thread to accept; ``_guard`` is held."""
        self._threads += 1
        self._idle += 1
        Thread(target=self._work, name=f"agent-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        listener = self._listener
        assert listener is not None
        try:
            while not self._stopping:
                try:
                    connection, _ = listener.accept()
                except OSError as error:
                    if not self._stopping:
                        log.error("cannot accept a connection: %s", error)
                        time.sleep(0.1)  # out of file descriptors: let others finish
                    continue
                with self._guard:
                    self._connections.add(connection)
                    self._idle -= 1
                    if not self._idle and self._threads < self._workers and not self._stopping:
                        self._spawn()
                try:
                    self._serve(connection)
                except Exception:
                    log.exception("a connection failed")
                finally:
                    with self._guard:
                        self._connections.discard(connection)
                        self._idle += 1
                    connection.close()
        finally:
            with self._guard:
                self._idle -= 1
                self._threads -= 1
                self._guard.notify_all()

    def _serve(self, connection: socket.socket) -> None:
        """Answer one request after the other until the peer closes, is silent too long, or talks nonsense."""
        peer = _Peer(connection, self)
        rest = b""
        try:
            while not self._stopping:
                peer.next_frame()
                body, rest = wire.read_frame(peer.recv, rest)
                if body is None:
                    return
                answer = wire.response(*self._reply(*wire.parse_request(body)))
                connection.sendall(wire.frame(answer))
        except wire.WireError as error:
            log.warning("a request was refused: %s", error)
            with contextlib.suppress(OSError):
                connection.sendall(wire.frame(wire.response(1, Refusal(Code.DECODING, str(error)).to_json())))
        except OSError as error:  # it went away, or did not take its answer in time
            log.debug("a connection ended: %s", error)

    @property
    def stopping(self) -> bool:
        return self._stopping


class _Peer:
    """A connection's ``recv`` that keeps time: ``IDLE`` between frames, ``PATIENCE`` for one, however it dribbles."""

    __slots__ = ("_agent", "_begun", "_connection", "_since")

    def __init__(self, connection: socket.socket, agent: Agent) -> None:
        self._connection = connection
        self._agent = agent
        # The kernel's own time-outs: Python's would add a poll() to each call.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(TICK))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(PATIENCE))
        self.next_frame()

    def next_frame(self) -> None:
        self._begun = False
        self._since = time.monotonic()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                data = self._connection.recv(size)
            except BlockingIOError:
                data = None
            now = time.monotonic()
            if self._begun and now > self._since + PATIENCE:
                raise wire.WireError(f"a request did not arrive whole within {PATIENCE:g} s")
            if data is not None:
                if not self._begun:
                    self._begun, self._since = True, now
                return data
            if self._agent.stopping or (not self._begun and now > self._since + IDLE):
                return b""


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


def _lock(path: Path) -> int:
    """The lock beside the socket, held for as long as the process lives, however it ends."""
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise CannotServe(f"another agent serves {path}; stop it first, or use another --socket") from None
    return fd


def _clear(path: Path) -> None:
    """Remove the socket that a dead agent left."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotServe(f"{path} is there and is no socket; remove it, or use another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        else:
            raise CannotServe(f"another program serves {path}; stop it first, or use another --socket")
