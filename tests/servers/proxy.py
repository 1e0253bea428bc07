"""A proxy before an S3 server that fails a fifth of the requests: five ways, seeded.

``error`` and ``busy``: 500 and 503, the server never sees the request. ``reset``: the connection
ends in its stead. ``lost``: the server does what is asked and its answer does not arrive. ``cut``:
of the answer's body half arrives. ``late``: the answer takes its time.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.servers.processes import HOST

SHARE = 0.2
DELAY = 0.4  # seconds
FAULTS = ("error", "busy", "reset", "lost", "cut", "late")
_CODES = {"error": 500, "busy": 503}
_HOP = ("connection", "transfer-encoding", "keep-alive", "expect", "content-length")


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        endpoint: its URL.
        done: how many requests met which fault; those that met none under ``passed``.
        share: of the requests, how many meet one; may be changed.
        faults: which they meet; may be changed.
        of: only requests meet one whose path contains this; may be changed.
    """

    endpoint: str = ""
    done: Counter[str] = field(default_factory=Counter)
    share: float = SHARE
    faults: Sequence[str] = FAULTS
    of: str = ""
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, path: str) -> str:
        """What the next request meets."""
        with self.lock:
            fails = self.of in path and self.chance.random() < self.share
            fault = self.chance.choice(self.faults) if fails else "passed"
            self.done[fault] += 1
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away; that is what this is for."""


@contextmanager
def start(upstream: str) -> Iterator[Proxy]:
    """A proxy before the server at a URL."""
    proxy, target = Proxy(), urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            fault = proxy.draw(self.path)
            body = self.body()
            if fault == "late":
                time.sleep(DELAY)
            if fault in _CODES:
                self.send_response(_CODES[fault])
                self.send_header("content-length", "0")
                self.end_headers()
                return
            if fault == "reset":
                self.drop()
                return
            connection = http.client.HTTPConnection(target, timeout=60)
            try:
                kept = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
                if self.command in ("PUT", "POST"):
                    kept["content-length"] = str(len(body))
                connection.request(self.command, self.path, body or None, kept)
                told = connection.getresponse()
                data = told.read()
            finally:
                connection.close()
            if fault == "lost":
                self.drop()
                return
            self.send_response(told.status)
            for name, value in told.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            length = told.getheader("content-length") if self.command == "HEAD" else len(data)
            self.send_header("content-length", str(length or 0))
            self.end_headers()
            if fault == "cut" and len(data) > 1:
                self.wfile.write(data[: len(data) // 2])
                self.drop()
                return
            self.wfile.write(data)

        def body(self) -> bytes:
            """What the request brings, in chunks or whole."""
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)

        def drop(self) -> None:
            """End the connection with a reset."""
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            self.close_connection = True

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

    server = _Server((HOST, 0), Handler)
    proxy.endpoint = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
