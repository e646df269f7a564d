"""Private parts of multiprocessing and distributed: the installed versions have all that flipbench uses."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import forkserver
from typing import Any

import pytest
from distributed import Nanny

from flipbench.system import private_parts
from tests.helpers.paths import ROOT


def test_the_installed_versions_have_every_private_part() -> None:
    assert private_parts.missing() == [], "adapt flipbench.system.private_parts to these versions"


def test_a_version_without_them_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Nanny, "_on_worker_exit_sync")
    monkeypatch.setattr(forkserver, "_forkserver", object())
    lacking = " ".join(private_parts.missing())
    for name in ("Nanny._on_worker_exit_sync", "_forkserver_pid", "_forkserver_alive_fd"):
        assert name in lacking
    assert private_parts.fork_server_pid() is None
    private_parts.let_go_of_fork_server()


def test_a_nanny_without_the_place_is_refused_and_one_with_it_tells_first() -> None:
    with pytest.raises(RuntimeError, match="_on_worker_exit_sync"):
        private_parts.before_worker_exit(object(), print)

    class Small:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def _on_worker_exit_sync(self, code: int) -> None:
            self.calls.append(code)

    nanny = Small()
    private_parts.before_worker_exit(nanny, lambda code: nanny.calls.append(f"told {code}"))
    nanny._on_worker_exit_sync(-9)
    assert nanny.calls == ["told -9", -9]


SERVER = """
import os, signal
from multiprocessing import forkserver
from flipbench.system import child_processes, private_parts
assert private_parts.fork_server_pid() is None
forkserver.ensure_running()
pid = private_parts.fork_server_pid()
child_processes.kill_server()
assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
"""
LET_GO = """
import os
from multiprocessing import forkserver
from flipbench.system import private_parts
forkserver.ensure_running()
pid = private_parts.fork_server_pid()
private_parts.let_go_of_fork_server()
assert os.waitpid(pid, 0) == (pid, 0)  # it ends by itself once nothing holds its pipe
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="no fork server")
@pytest.mark.parametrize("code", [SERVER, LET_GO])
def test_the_fork_server_is_the_process_named_and_ends_when_let_go_of(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
