"""Between a client and a real S3 server, a proxy that has the faults a test asks for."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 64 << 10


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or besides, being passed on.

    Attributes:
        status, code: is answered with this error of S3 and not passed on.
        drop: the connection is closed without an answer; `late`: after the server carried the request out.
        cut: of the answer so many bytes come, then the connection breaks.
        rate: bytes a second, both ways.
        wait: seconds before anything happens.
    """

    status: int | None = None
    code: str = "InternalError"
    drop: bool = False
    late: bool = False
    cut: int | None = None
    rate: float | None = None
    wait: float = 0.0


Script = Callable[[str, str, int], Fault | None]


@dataclass
class Proxy:
    """A running proxy; `script` says what happens to a request (method, path, its number) and may be changed.

    Attributes:
        seen: method and path of every request.
        passed: bytes of bodies, both ways.
    """

    endpoint: str
    script: Script
    seen: list[tuple[str, str]] = field(default_factory=list)
    passed: int = 0


@contextmanager
def fault_proxy(upstream: str, script: Script, port: int = 0) -> Iterator[Proxy]:
    """Listen on the loopback and pass everything on to `upstream` ("127.0.0.1:PORT"), but for the faults."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    proxy = Proxy(f"127.0.0.1:{server.server_address[1]}", script)
    server.proxy, server.upstream, server.lock = proxy, upstream, threading.Lock()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        server = self.server
        with server.lock:
            server.proxy.seen.append((self.command, self.path))
            fault = server.proxy.script(self.command, self.path, len(server.proxy.seen)) or Fault()
        body = self._body(fault.rate)
        time.sleep(fault.wait)
        if fault.status is not None:
            self._refuse(fault)
        elif fault.drop and not fault.late:
            self.close_connection = True
        else:
            self._pass(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _body(self, rate: float | None) -> bytes:
        left, pieces = int(self.headers.get("Content-Length") or 0), []
        while left:
            piece = self.rfile.read(min(PIECE, left))
            if not piece:
                self.close_connection = True
                break
            left -= len(piece)
            pieces.append(piece)
            self._count(len(piece), rate)
        return b"".join(pieces)

    def _refuse(self, fault: Fault) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>a fault</Message></Error>"
        data = b"" if self.command == "HEAD" else text.encode()
        self.send_response(fault.status or 500)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _pass(self, body: bytes, fault: Fault) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=120)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            if fault.drop:
                answer.read()
                self.close_connection = True
                return
            self.send_response_only(answer.status, answer.reason)
            data = None if answer.getheader("Content-Length") or self.command == "HEAD" else answer.read()
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            if data is not None:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            sent = 0
            for piece in [data] if data is not None else iter(lambda: answer.read(PIECE), b""):
                if fault.cut is not None and sent + len(piece) > fault.cut:
                    self.wfile.write(piece[: fault.cut - sent])
                    self.close_connection = True
                    return
                self.wfile.write(piece)
                sent += len(piece)
                self._count(len(piece), fault.rate)
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True
        finally:
            connection.close()

    def _count(self, size: int, rate: float | None) -> None:
        with self.server.lock:
            self.server.proxy.passed += size
        if rate is not None:
            time.sleep(size / rate)

    def log_message(self, *words: object) -> None:
        pass
