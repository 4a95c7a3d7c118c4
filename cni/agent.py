"""The agent's socket: takes connections, reads requests, writes answers, and lets no peer get it down."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import Protocol

from cni import wire
from cni.spec import Code, Refusal
from cni.workers import Workers

log = logging.getLogger(__name__)

Answer = tuple[int, bytes]
"""The plugin's exit status and stdout."""

Reply = Callable[[Mapping[str, str], bytes], Answer]

TICK = 2.0
"""Seconds after which the front looks at its clocks."""

PATIENCE = 10.0
"""Seconds that a peer may take for one frame, from its first byte, and for taking an answer."""

IDLE = 60.0
"""Seconds that a connection may stand open between two requests; with ``OPEN`` of them, ``PATIENCE``, for others wait."""

BACKLOG = 1024
"""Connections that wait to be taken: a node that boots starts all its pods at once."""

OPEN = 512
"""Connections taken at one time; below the file descriptors that a process has by default."""


class CannotServe(Exception):
    """The socket cannot be had; the message says why."""


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other agent serves ``path`` meanwhile, nor uses what goes with it. Raises CannotServe."""
    lock = _lock(path)
    try:
        yield
    finally:  # the file stays: removing it would let two agents lock two files
        os.close(lock)


class Express(Protocol):
    """Gets the requests that came together; answers each, or has it ``block``. Waits for nobody."""

    def __call__(self, requests: Sequence[Request]) -> None: ...
    def start(self) -> None: ...
    def stop(self, seconds: float) -> bool: ...


class Agent:
    """Serves the unix socket at ``path``, for whoever is ``alone`` there.

    One thread, the front, takes connections, reads what comes, and hands it to ``express``. What that does not answer,
    ``reply`` does, which may block: in a thread meanwhile, at most ``workers`` at one time.
    """

    def __init__(
        self,
        path: Path,
        reply: Reply,
        *,
        express: Express | None = None,
        workers: int = 256,
        told: Callable[[Mapping[str, str], int, bytes, float], object] = lambda *_: None,
    ) -> None:
        """``told`` hears of each answer: the request's environment, status, stdout, seconds. It must not raise."""
        self.path = path
        self._reply = reply
        self._told = told
        self._looked = time.monotonic()
        self._express = express
        self._workers = Workers(workers)
        self._guard = Condition()
        self._stopping = False
        self._running = False
        self._connections: dict[int, _Connection] = {}
        self._answers: deque[tuple[Request, Answer]] = deque()  # for the front to send
        self._returned: deque[_Connection] = deque()  # for the front to read on
        self._listener: socket.socket | None = None
        self._bound: os.stat_result | None = None
        self._listening = False
        self._poll: select.epoll | None = None
        self._bell = -1

    def open(self) -> None:
        """Take the socket: that of a dead agent is replaced, a live one is left alone. Raises CannotServe."""
        try:
            _clear(self.path)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)  # 0600 from its first instant; a chmod afterwards would come too late
            try:
                self._listener.bind(str(self.path))
            finally:
                os.umask(before)
            self._bound = self.path.stat()
            self._listener.listen(BACKLOG)
            self._listener.setblocking(False)
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll = select.epoll()
            self._poll.register(self._bell, select.EPOLLIN)
        except OSError as error:
            self.close()
            raise CannotServe(f"{self.path}: {error.strerror or error}") from error
        except CannotServe:
            self.close()
            raise

    def start(self) -> None:
        if self._express is not None:
            self._express.start()
        self._running = True
        self._looked = time.monotonic()
        Thread(target=self._front, name="front", daemon=True).start()

    @property
    def silent(self) -> float:
        """Seconds since the front last looked at its clocks; a few while it is alive."""
        return time.monotonic() - self._looked

    @property
    def lost(self) -> bool:
        """Whether the socket's file was removed or replaced while it serves: plugins then find nobody."""
        try:
            return self._bound is not None and not os.path.samestat(self._bound, self.path.lstat())
        except OSError:
            return True

    def stop(self, seconds: float) -> bool:
        """Take no more, finish what runs, at most so long; whether all was finished."""
        deadline = time.monotonic() + seconds

        def left() -> float:
            return max(deadline - time.monotonic(), 0)

        with self._guard:
            self._stopping = True
            started = self._running
            if started:
                self._ring()
            finished = self._guard.wait_for(lambda: not self._running, seconds)
        if started and finished and self._express is not None:
            finished = self._express.stop(left())
        finished = finished and self._workers.stop(left())
        self.close(keep=not finished)
        return finished

    def close(self, *, keep: bool = False) -> None:
        """Give the socket back. ``keep``: threads that do not end still use what they poll."""
        if self._listener is not None:
            self._listener.close()
            if self._bound is not None and not self.lost:  # else what stands there is another's
                self.path.unlink(missing_ok=True)
            self._bound = None
        if not keep:
            self._listener = None
            if self._poll is not None:
                self._poll.close()
                os.close(self._bell)
                self._poll, self._bell = None, -1

    # The front -----------------------------------------------------------------------------------

    def _front(self) -> None:
        while not (self._stopping and not self._connections):
            try:
                self._cycle()
                if self._stopping or time.monotonic() > self._looked + TICK:
                    self._looked = time.monotonic()
                    self._look_at_clocks(self._looked)
            except Exception:
                log.exception("the front failed")
                time.sleep(0.1)
        with self._guard:
            self._running = False
            self._guard.notify_all()

    def _cycle(self) -> None:
        """Wait for something to happen; send what is to be sent, read what is to be read, and hand on the requests that are whole."""
        assert self._poll is not None
        assert self._listener is not None
        self._listen(not self._stopping and len(self._connections) < OPEN)
        requests: list[Request] = []
        try:
            for fd, _ in self._poll.poll(TICK):
                if fd == self._bell:
                    os.eventfd_read(self._bell)
                elif fd == self._listener.fileno():
                    self._accept(requests)
                elif (connection := self._connections.get(fd)) is not None:
                    self._receive(connection, requests)
            while self._answers:
                self.answer(*self._answers.popleft())
            while self._returned:
                self._read_on(self._returned.popleft(), requests)
        finally:
            if self._express is not None and requests:
                self._express(requests)
            else:
                for request in requests:
                    request.block()

    def _listen(self, on: bool) -> None:
        if on != self._listening:
            self._listening = on
            assert self._poll is not None
            assert self._listener is not None
            if on:
                self._poll.register(self._listener, select.EPOLLIN)
            else:
                self._poll.unregister(self._listener)

    def _end_listening(self) -> None:
        """Those who wait to be taken see an end, those who come later that nobody is there."""
        self._listen(False)
        assert self._listener is not None
        with contextlib.suppress(OSError):
            while self._listener.fileno() >= 0:
                self._listener.accept()[0].close()
        self._listener.close()

    def _accept(self, requests: list[Request]) -> None:
        assert self._poll is not None
        assert self._listener is not None
        while len(self._connections) < OPEN and not self._stopping:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.error("cannot accept a connection: %s", error)
                time.sleep(0.1)  # out of file descriptors: let others finish
                return
            connection = _Connection(accepted)
            with self._guard:
                self._connections[accepted.fileno()] = connection
            self._poll.register(accepted, select.EPOLLIN)
            self._receive(connection, requests)  # mostly it is there already

    def _receive(self, connection: _Connection, requests: list[Request]) -> None:
        with self._guard:
            if connection.busy:  # it says more, or hangs up, before it is answered
                assert self._poll is not None
                self._poll.unregister(connection.socket)
                connection.parked = True
                return
        try:
            data = connection.socket.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("a connection ended: %s", error)
            self._drop(connection)
            return
        if data:
            if not connection.rest:
                connection.since = time.monotonic()
            connection.rest += data
            self._next(connection, requests)
        elif connection.rest:
            self._refuse(connection, "the connection ended in mid-frame")
        else:
            self._drop(connection)

    def _read_on(self, connection: _Connection, requests: list[Request]) -> None:
        """It was answered, and had said more before that."""
        if connection.busy or connection.socket.fileno() < 0:  # seen to meanwhile
            return
        if connection.parked:
            connection.parked = False
            assert self._poll is not None
            self._poll.register(connection.socket, select.EPOLLIN)
        self._next(connection, requests)

    def _next(self, connection: _Connection, requests: list[Request]) -> None:
        """The next request in what was received, if it is there whole."""
        try:
            body, connection.rest = wire.split(connection.rest)
            if body is None:
                if connection.rest and time.monotonic() > connection.since + PATIENCE:
                    raise wire.WireError(f"a request did not arrive whole within {PATIENCE:g} s")
                return
            env, stdin = wire.parse_request(body)
        except wire.WireError as error:
            self._refuse(connection, str(error))
            return
        connection.busy = True
        requests.append(Request(self, connection, env, stdin))

    def _look_at_clocks(self, now: float) -> None:
        """Part with those that take too long; in the end with all, also with those that still wait to be taken."""
        if self._stopping:
            self._end_listening()
        idle = IDLE if len(self._connections) < OPEN else PATIENCE
        for connection in list(self._connections.values()):
            with self._guard:
                if connection.busy or connection in self._returned:
                    continue
            if self._stopping or (not connection.rest and now > connection.since + idle):
                self._drop(connection)
            elif connection.rest:
                self._next(connection, [])

    def _refuse(self, connection: _Connection, why: str) -> None:
        log.warning("a request was refused: %s", why)
        answer = wire.response(1, Refusal(Code.DECODING, why).to_json())
        with contextlib.suppress(OSError):
            connection.socket.send(wire.frame(answer), socket.MSG_DONTWAIT)
        self._drop(connection)

    # From whatever thread ------------------------------------------------------------------------

    def post(self, answers: Sequence[tuple[Request, Answer]]) -> None:
        """Have the front send them: to send many from another thread is to wait for the interpreter's lock as often."""
        self._answers.extend(answers)
        self._ring()

    def block(self, request: Request, reply: Callable[[], Answer] | None) -> None:
        self._workers(
            lambda: self._reply_to(request, reply or (lambda: self._reply(request.env, request.stdin)))
        )

    def _reply_to(self, request: Request, reply: Callable[[], Answer]) -> None:
        try:
            answer = reply()
        except Exception:
            log.exception("a connection failed")
            self._done(request.connection, lives=False)
        else:
            self.answer(request, answer)

    def answer(self, request: Request, answer: Answer) -> None:
        """Without waiting; what the peer does not take at once, a worker sends."""
        connection = request.connection
        try:
            data = wire.frame(wire.response(*answer))
        except wire.WireError as error:  # it repeats what was asked
            answer = 1, Refusal(Code.DECODING, f"the answer to this configuration: {error}").to_json()
            data = wire.frame(wire.response(*answer))
        self._told(request.env, *answer, time.monotonic() - request.since)
        try:
            sent = connection.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            log.debug("a connection ended: %s", error)
            self._done(connection, lives=False)
            return
        if sent < len(data):
            self._workers(lambda: self._send_rest(connection, data[sent:]))
        else:
            self._done(connection)

    def _send_rest(self, connection: _Connection, data: bytes) -> None:
        try:
            connection.socket.sendall(data)  # SO_SNDTIMEO ends it
        except OSError as error:
            log.debug("a connection ended: %s", error)
            self._done(connection, lives=False)
        else:
            self._done(connection)

    def _done(self, connection: _Connection, *, lives: bool = True) -> None:
        """Answered: the connection is the front's again."""
        with self._guard:
            if lives and not self._stopping:
                connection.since = time.monotonic()
                connection.busy = False
                if connection.parked or connection.rest:
                    self._returned.append(connection)  # last: the front may have it at once
                    self._ring()
                return
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        """Whoever it belongs to may do so, nobody else: a closed descriptor's number is soon another's."""
        with self._guard:
            del self._connections[connection.socket.fileno()]
            connection.socket.close()
            if self._stopping:
                self._ring()

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)


class Request:
    """What a peer asked. Whoever has it calls ``answer`` or ``block``, once, from any thread."""

    __slots__ = ("agent", "connection", "env", "since", "stdin")

    def __init__(self, agent: Agent, connection: _Connection, env: Mapping[str, str], stdin: bytes) -> None:
        self.agent = agent
        self.connection = connection
        self.env = env
        self.stdin = stdin
        self.since = time.monotonic()

    def answer(self, answer: Answer) -> None:
        """Does not wait."""
        self.agent.answer(self, answer)

    def block(self, reply: Callable[[], Answer] | None = None) -> None:
        """Have it answered by ``reply``, or else the agent's, in a thread."""
        self.agent.block(self, reply)


class _Connection:
    """A peer. While ``busy`` it belongs to whoever answers its request, else to the front."""

    __slots__ = ("busy", "parked", "rest", "since", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(PATIENCE))
        self.socket = accepted
        self.busy = False
        self.parked = False
        """The front does not look at it until it is answered."""
        self.rest = b""
        """Received, and not yet a request."""
        self.since = time.monotonic()
        """When ``rest`` began, or the last answer was given."""


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


def _lock(path: Path) -> int:
    """The lock beside the socket, held for as long as the process lives, however it ends."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
    except BlockingIOError:
        raise CannotServe(f"another agent serves {path}; stop it first, or use another --socket") from None
    except OSError as error:
        raise CannotServe(f"{path}: {error.strerror or error}") from error
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
