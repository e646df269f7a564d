"""``flipbench serve``: sends the report and its figures, nothing else, to this machine only; updated with the cells."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from matplotlib.figure import Figure

from flipbench.cli.report_server import ADDRESS, Page, server, state_of
from flipbench.errors import UserError
from flipbench.report.figures import style
from flipbench.report.html import templates
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.browser import Browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records.write_grid(
        tmp_path / "grid",
        aggregators=("fedavg", "median"),
        attacks={"mirrored": records.LABEL_FLIPS["mirrored"]},
        fractions=(0.2,),
        flip_rates=(1.0,),
        seeds=(0,),
    )
    figures = tmp_path / "grid" / "heatmaps"
    figures.mkdir()
    drawn = style.files(Figure(figsize=(1, 1)))
    (figures / "ranks.png").write_bytes(drawn[".png"])
    (figures / "ranks.svg").write_bytes(drawn[".svg"])
    (figures / "theirs.png").write_bytes(b"not drawn here")
    (figures / "link.png").symlink_to(tmp_path / "grid" / "plan.json")
    return tmp_path / "grid"


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """A server whose clock stands still: the page is made again whenever something has changed."""
    with server(folder, 0, Page(folder, least_wait=0.0, clock=lambda: 0.0)) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


def ask(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    made = http.client.HTTPConnection(ADDRESS, port, timeout=250)
    made.putrequest(method, path, skip_host=True)
    if host != "":
        made.putheader("Host", f"{ADDRESS}:{port}" if host is None else host)
    made.endheaders()
    answer = made.getresponse()
    return answer.status, answer.read(), dict(answer.headers)


def add_cell(folder: Path) -> None:
    """A cell of the plan that was missing comes: a third rule."""
    store = Store(folder)
    cell = replace(records.BASE, aggregator="geometric_median", attack="mirrored", malicious_fraction=0.2)
    added = records.record(cell, mapping=records.LABEL_FLIPS["mirrored"])
    store.publish(added)
    store.write_plan(store.read_plan() | {"keys": [*store.read_plan()["keys"], added["key"]]})


def test_the_report_and_its_figures_are_sent_and_nothing_else(port: int, folder: Path) -> None:
    status, body, headers = ask(port, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Label flips, made up" in body
    assert b'href="heatmaps/ranks.png"' in body
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(port, "/report.html?a=b")[1] == body
    assert ask(port, "/", method="HEAD")[1] == b""
    for name, kind in (("ranks.png", "image/png"), ("ranks.svg", "image/svg+xml")):
        status, raw, headers = ask(port, f"/heatmaps/{name}")
        assert (status, raw, headers["Content-Type"]) == (200, (folder / "heatmaps" / name).read_bytes(), kind)
    key = Store(folder).keys()[0]
    inside = ("/plan.json", f"/cells/{key[:2]}/{key}.json", "/heatmaps/theirs.png", "/heatmaps/link.png", "/heatmaps/")
    outside = ("/heatmaps/../plan.json", "/heatmaps/%2e%2e/plan.json", "//etc/passwd", "/../../etc/passwd")
    assert [ask(port, path)[0] for path in (*inside, *outside)] == [404] * 9
    assert ask(port, "/", method="POST")[0] == 501
    assert not (folder / "report.html").exists()  # nothing is written


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "localhost.evil:1", "[::2]:80"]
)
def test_another_name_gets_nothing(port: int, host: str) -> None:
    for path in ("/", "/version", "/heatmaps/ranks.png"):
        status, body, _ = ask(port, path, host=host)
        assert status == 421
        assert len(body) < 100
    assert ask(port, "/version", host=f"localhost:{port}")[0] == 200


def test_it_listens_on_the_loopback_address_only(folder: Path) -> None:
    with server(folder, 0) as running:
        assert running.server_address[0] == "127.0.0.1"


def test_the_page_is_made_again_when_a_cell_comes_and_not_before(folder: Path, port: int) -> None:
    before = ask(port, "/")[1]
    version = ask(port, "/version")[1].decode()
    assert f'data-version="{version}"'.encode() in before
    assert ask(port, "/")[1] == before
    add_cell(folder)
    assert ask(port, "/version")[1].decode() != version
    assert b"geometric_median" not in before
    assert b"geometric_median" in ask(port, "/")[1]


def test_the_page_is_not_made_again_before_the_run_has_had_the_cores(folder: Path) -> None:
    now = [100.0]
    page = Page(folder, least_wait=5.0, clock=lambda: now[0])
    first, version = page.text(), page.version()
    add_cell(folder)
    now[0] += 4.9
    assert (page.version(), page.text()) == (version, first)
    now[0] += 0.2
    assert page.version() == state_of(folder) != version
    assert page.text() != first


def test_only_a_served_page_may_ask_its_server(folder: Path) -> None:
    text = Page(folder).text()
    assert "connect-src 'self'" in text
    assert "connect-src" not in templates.policy(templates.EXPLORING)
    assert templates.live(text.replace("connect-src 'self'; ", ""), '"><script>').count("<script>") == text.count(
        "<script>"
    )


def test_mistakes_are_reported(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no plan"):
        server(tmp_path / "nowhere", 0)
    with socket.create_server((ADDRESS, 0)) as taken, pytest.raises(UserError, match="choose another --port"):
        server(folder, taken.getsockname()[1])


def test_what_cannot_be_read_is_reported_and_the_server_goes_on(folder: Path, port: int) -> None:
    plan = (folder / "plan.json").read_bytes()
    (folder / "plan.json").write_text("{")
    status, body, headers = ask(port, "/")
    assert (status, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
    assert b"plan.json" in body
    (folder / "plan.json").write_bytes(plan)
    assert ask(port, "/")[0] == 200


@pytest.mark.process
def test_ctrl_c_ends_it_cleanly(folder: Path) -> None:
    command = [sys.executable, "-m", "flipbench", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert ran.stdout is not None
        assert "http://127.0.0.1:" in ran.stdout.readline()
        ran.send_signal(signal.SIGINT)
        try:
            out, err = ran.communicate(timeout=250)
        finally:
            ran.kill()  # else a server that goes on would be waited for
    assert (ran.returncode, out, err) == (0, "ended\n", "")


def test_a_browser_shows_what_comes(browser: Browser, folder: Path, port: int) -> None:
    browser.open(f"http://{ADDRESS}:{port}/#show=_damage")
    rules = "return Array.from(document.querySelectorAll('#heatmap tbody th'), e => e.innerText).join()"
    end = time.monotonic() + 250
    while "median" not in browser.run(rules) and time.monotonic() < end:
        time.sleep(0.1)
    assert browser.errors() == []
    add_cell(folder)
    while "geometric_median" not in browser.run(rules) and time.monotonic() < end:
        time.sleep(0.1)
    assert "geometric_median" in browser.run(rules)
    assert browser.run("return location.hash") == "#show=_damage"
    assert {r.rpartition("/")[2] for r in browser.requests()} <= {"version"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:80"])
def test_a_forwarded_port_may_have_another_number(port: int, host: str) -> None:
    assert ask(port, "/version", host=host)[0] == 200
