"""``flipbench serve``: the report of a results folder in a browser, made anew while a run goes on.

The standard library's server, for this machine only: it listens on the loopback address, answers only to its own name
(a page elsewhere that has its own name lead here gets nothing: DNS rebinding), and sends the report and the pictures of
one folder. Nothing is written.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
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
LEAST_WAIT = 5.0  # seconds between two makings of the page,
SHARE = 5.0  # and so many times as long as one takes: the cores are the run's
_PICTURE = re.compile(r"/heatmaps/([a-z0-9][a-z0-9_-]*)\.(png|svg)")
_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass
class Fresh:
    """The page of a folder, made when it is asked for and the results have changed.

    Attributes:
        folder: ``results/<grid>``.
        least_wait: seconds between two makings.
        clock: what tells the time, in seconds.
    """

    folder: Path
    least_wait: float = LEAST_WAIT
    clock: Callable[[], float] = time.monotonic
    _version: str = ""
    _page: str = ""
    _again: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def version(self) -> str:
        """What the results are now; but what the page shows until it may be made anew."""
        return self._version if self._page and self.clock() < self._again else state_of(self.folder)

    def page(self) -> str:
        """The page as it is now.

        Raises:
            UserError: the folder holds no plan, or cannot be read.
        """
        with self._lock:
            version = self.version()
            if version != self._version:
                start = self.clock()
                self._page, self._version = templates.live(write.page(self.folder), version), version
                end = self.clock()
                self._again = end + max(self.least_wait, SHARE * (end - start))
            return self._page


def state_of(folder: Path) -> str:
    """A name for what is stored: it changes when a cell, a failure or a plan comes."""
    told = hashlib.sha256()
    shards = sorted((folder / "cells").glob("*/")) if (folder / "cells").is_dir() else []
    for path in (folder / "plan.json", folder / "failures", *shards):
        try:
            told.update(f"{path.name} {path.stat().st_mtime_ns}\n".encode())
        except OSError:
            continue  # not there yet
    return told.hexdigest()[:16]


def server(folder: Path, port: int, fresh: Fresh | None = None) -> ThreadingHTTPServer:
    """A server that listens; port 0 takes a free one.

    Raises:
        UserError: the folder holds no plan, or the port is taken.
    """
    if not (folder / "plan.json").is_file():
        raise UserError(f"{folder} holds no plan.json: give the folder of a grid that was run, like results/label_flip")
    handler = type("Handler", (_Handler,), {"fresh": fresh or Fresh(folder)})
    try:
        return ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UserError(f"port {port} cannot be used ({why}): choose another --port") from error


def serve(folder: Path, port: int, say: Callable[[str], Any]) -> None:
    """Serve until Ctrl-C.

    Raises:
        UserError: as `server`.
    """
    with server(folder, port) as one:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us with & has it ignored
        try:
            say(f"{folder}: http://{ADDRESS}:{one.server_port}/ (this machine only; Ctrl-C ends it)")
            one.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("ended")


class _Handler(BaseHTTPRequestHandler):
    fresh: Fresh
    server_version, sys_version = "flipbench", ""

    def do_GET(self) -> None:
        try:
            self._answer(*self._found())
        except UserError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode(), "text/plain; charset=utf-8")

    do_HEAD = do_GET  # noqa: N815

    def _found(self) -> tuple[HTTPStatus, bytes, str]:
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in {f"{name}:{port}" for name in (ADDRESS, "localhost")}:
            return HTTPStatus.MISDIRECTED_REQUEST, b"this server answers to its own name only\n", "text/plain"
        path = self.path.partition("?")[0]
        if path in ("/", f"/{write.PAGE}"):
            return HTTPStatus.OK, self.fresh.page().encode(), "text/html; charset=utf-8"
        if path == "/version":
            return HTTPStatus.OK, self.fresh.version().encode(), "text/plain"
        if (named := _PICTURE.fullmatch(path)) and (raw := _picture(self.fresh.folder, named[1], named[2])):
            return HTTPStatus.OK, raw, _TYPES[named[2]]
        return HTTPStatus.NOT_FOUND, b"there is the report, and its pictures\n", "text/plain"

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the run's."""


def _picture(folder: Path, name: str, suffix: str) -> bytes | None:
    """A picture that was drawn here; nothing else that may lie in the folder."""
    path = folder / write.HEATMAPS / f"{name}.{suffix}"
    if path.is_symlink() or not path.is_file() or not style.is_ours(path):
        return None
    return path.read_bytes()
