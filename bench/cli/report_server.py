"""Server of ``flipbench serve``: sends the report of one results folder, made again whenever cells have come.

It uses the standard library's HTTP server and is for this machine only. It listens on the loopback address and answers
only requests for its own name, so that a web page cannot reach it through a name of its own (DNS rebinding). It sends
the report and the figures of one folder, and writes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from flipbench.errors import UserError
from flipbench.report import write
from flipbench.report.figures import style
from flipbench.report.html import templates

ADDRESS = "127.0.0.1"
LEAST_WAIT = 5.0  # seconds before the page is made again,
SHARE = 5.0  # and at least so many times as long as making it took: the cores belong to the run
_OWN_NAME = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?")  # a forwarded port has another number
_FIGURE = re.compile(r"/heatmaps/([a-z0-9][a-z0-9_-]*)\.(png|svg)")
_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass
class Page:
    """The report page of a folder; made again when it is asked for, the results have changed, and enough time passed.

    Attributes:
        folder: ``results/<grid>``.
        least_wait: seconds before the page is made again.
        clock: gives the time, in seconds.
    """

    folder: Path
    least_wait: float = LEAST_WAIT
    clock: Callable[[], float] = time.monotonic
    _version: str = ""
    _text: str = ""
    _again: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def version(self) -> str:
        """The state of the results; until the page may be made again, the state that it shows."""
        return self._version if self._text and self.clock() < self._again else state_of(self.folder)

    def text(self) -> str:
        """The page as HTML.

        Raises:
            UserError: the folder holds no plan, or cannot be read.
        """
        with self._lock:
            version = self.version()
            if version != self._version:
                start = self.clock()
                self._text, self._version = templates.live(write.page(self.folder), version), version
                end = self.clock()
                self._again = end + max(self.least_wait, SHARE * (end - start))
            return self._text


def state_of(folder: Path) -> str:
    """A name for the stored results: it changes when a cell, a failure or a plan is added."""
    digest = hashlib.sha256()
    shards = sorted((folder / "cells").glob("*/")) if (folder / "cells").is_dir() else []
    for path in (folder / "plan.json", folder / "failures", *shards):
        try:
            digest.update(f"{path.name} {path.stat().st_mtime_ns}\n".encode())
        except OSError:
            continue  # not there yet
    return digest.hexdigest()[:16]


def server(folder: Path, port: int, page: Page | None = None) -> ThreadingHTTPServer:
    """A listening server.

    Args:
        folder: ``results/<grid>``.
        port: on the loopback address; 0 takes a free one.
        page: the page to send; default: that of the folder.

    Raises:
        UserError: the folder holds no plan, or the port is taken.
    """
    if not (folder / "plan.json").is_file():
        raise UserError(f"{folder} holds no plan.json: give the folder of a grid that was run, like results/label_flip")
    handler = type("Handler", (_Handler,), {"page": page or Page(folder)})
    try:
        return _Server((ADDRESS, port), handler)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UserError(f"port {port} cannot be used ({why}): choose another --port") from error


def serve(folder: Path, port: int, say: Callable[[str], Any]) -> None:
    """Serve until Ctrl-C.

    Args:
        folder: ``results/<grid>``.
        port: on the loopback address; 0 takes a free one.
        say: prints a line for the user.

    Raises:
        UserError: as `server`.
    """
    with server(folder, port) as running:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us with & has it ignored
        try:
            say(f"{folder}: http://{ADDRESS}:{running.server_port}/ (this machine only; Ctrl-C ends it)")
            running.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("ended")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    page: Page
    server_version, sys_version = "flipbench", ""

    def do_GET(self) -> None:
        try:
            self._send(*self._answer())
        except UserError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode(), "text/plain; charset=utf-8")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> tuple[HTTPStatus, bytes, str]:
        if not _OWN_NAME.fullmatch(self.headers.get("Host", "")):
            return HTTPStatus.MISDIRECTED_REQUEST, b"this server answers to its own name only\n", "text/plain"
        path = self.path.partition("?")[0]
        if path in ("/", f"/{write.PAGE}"):
            return HTTPStatus.OK, self.page.text().encode(), "text/html; charset=utf-8"
        if path == "/version":
            return HTTPStatus.OK, self.page.version().encode(), "text/plain"
        if (asked := _FIGURE.fullmatch(path)) and (raw := _figure(self.page.folder, asked[1], asked[2])):
            return HTTPStatus.OK, raw, _TYPES[asked[2]]
        return HTTPStatus.NOT_FOUND, b"this server sends the report and its figures only\n", "text/plain"

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal may be that of a run."""


def _figure(folder: Path, name: str, suffix: str) -> bytes | None:
    """The bytes of a figure that flipbench has drawn; None for anything else in the folder."""
    path = folder / write.HEATMAPS / f"{name}.{suffix}"
    if path.is_symlink() or not path.is_file() or not style.is_ours(path):
        return None
    return path.read_bytes()
