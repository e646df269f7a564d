"""A headless Chromium for tests: open a file, then ask what a reader of it would see, and what the page did.

    def test_page(browser: Browser) -> None:  # the fixture is in conftest.py; skips where there is no Chromium
        browser.open(folder / "report.html")
        assert browser.errors() == []
        assert browser.requests() == []
        browser.click("th button")
        assert browser.run("return document.title") == "..."
        browser.screenshot(folder / "narrow.png", width=400)

Nothing outside this machine can be reached from it: every name but the loopback address is unknown to it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-quic", "--no-first-run", "--disable-sync", "--disable-extensions", "--dns-prefetch-disable"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--proxy-server=direct://"),
)
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_DRIVERS = ("chromedriver", "chromium.chromedriver")
SECONDS = 60.0  # for a page to load, or a script to run


@dataclass
class Browser:
    """One window; every `open` starts the records of errors and requests anew."""

    driver: Any
    address: str = ""
    _errors: list[str] = field(default_factory=list)
    _requests: list[str] = field(default_factory=list)

    def open(self, what: Path | str) -> None:
        """Show a file, or what a server on this machine sends, and wait until all that it asks for is loaded."""
        self.driver.get("about:blank")
        self._take()
        self._errors.clear()
        self._requests.clear()
        self.address, _, fragment = (what.resolve().as_uri() if isinstance(what, Path) else what).partition("#")
        self.driver.get(f"{self.address}#{fragment}" if fragment else self.address)

    def errors(self) -> list[str]:
        """What the console calls an error since `open`: exceptions, refused scripts, missing files; also warnings."""
        self._take()
        return list(self._errors)

    def requests(self) -> list[str]:
        """Every address that the page asked for since `open`, the refused ones too; itself and data: left out."""
        self._take()
        return list(self._requests)

    def run(self, script: str, *given: Any) -> Any:
        """The value that a script returns; ``given`` are its ``arguments``. A page's own policy does not bind it."""
        return self.driver.execute_script(script, *given)

    def text(self) -> str:
        """All text of the page, hidden parts left out."""
        return str(self.run("return document.body.innerText"))

    def click(self, selector: str, nth: int = 0) -> None:
        """Click the nth element that matches a CSS selector, as a user does: it must be there and reachable."""
        found = self.driver.find_elements("css selector", selector)
        assert len(found) > nth, f"{len(found)} elements match {selector!r}; wanted number {nth} counted from 0"
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found[nth])
        found[nth].click()

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that matches a CSS selector."""
        self.driver.find_element("css selector", selector).send_keys(text)

    def resize(self, width: int, height: int = 900) -> None:
        """Lay the page out for a window of so many CSS pixels; narrow ones as on a telephone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def emulate(self, media: str = "", **features: str) -> None:
        """``emulate("print")``, ``emulate(prefers_color_scheme="dark")``; ``emulate()`` is back to normal."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": told})

    def screenshot(self, file: Path, width: int = 1280, height: int = 900, whole: bool = True) -> None:
        """A PNG of the page laid out for this window: all of it from top to bottom, or only what the window shows."""
        self.resize(width, height)
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
        file.write_bytes(base64.b64decode(taken["data"]))

    def _take(self) -> None:
        """Chromium hands its logs out once."""
        self._errors += [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
        for entry in self.driver.get_log("performance"):
            told = json.loads(entry["message"])["message"]
            if told["method"] == "Network.requestWillBeSent":
                address = str(told["params"]["request"]["url"])
                if not address.startswith(("data:", "about:")) and address.partition("#")[0] != self.address:
                    self._requests.append(address)


def missing() -> str:
    """Why there is no browser here; empty where there is one."""
    if not _found(_PROGRAMS):
        return "needs Chromium (Debian: apt-get install chromium chromium-driver)"
    if not _found(_DRIVERS):
        return "needs chromedriver (Debian: apt-get install chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "needs selenium (pip install -c constraints.txt 'flipbench[test]')"
    return ""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser with a profile of its own, both gone afterwards."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = _found(_PROGRAMS)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="flipbench-browser-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options, Service(_found(_DRIVERS), log_output=os.devnull))
        try:
            driver.set_page_load_timeout(SECONDS)
            driver.set_script_timeout(SECONDS)
            yield Browser(driver)
        finally:
            driver.quit()


def _found(names: tuple[str, ...]) -> str:
    return next((path for name in names if (path := shutil.which(name))), "")
