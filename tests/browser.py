"""A real headless Chromium for tests, driven through chromedriver by the W3C WebDriver protocol alone."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DEADLINE_S = 300.0
DRIVER_STARTS = 5

SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-first-run"),
)


class Browser:
    """A browser with one page.

    Args:
        address: Where its driver listens.
        width: Width of the window in pixels.
        height: Its height.
    """

    def __init__(self, address: str, *, width: int, height: int) -> None:
        self._address = address
        options = {
            "binary": CHROMIUM,
            "args": [*SWITCHES, f"--window-size={width},{height}"],
            "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": False}},
        }
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        found = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{found['sessionId']}"

    def open(self, address: str) -> None:
        """Loads a page and waits until it is loaded."""
        self.tell("url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's ``return`` in the page."""
        return self.tell("execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> None:
        """Waits until a script returns something true."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true in the page: {script}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Clicks the first element that a CSS selector finds, as a mouse does."""
        found = self.tell("element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self.tell(f"element/{element}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Types into the first element that a CSS selector finds."""
        (element,) = self.tell("element", {"using": "css selector", "value": selector}).values()
        self.tell(f"element/{element}/clear", {})
        self.tell(f"element/{element}/value", {"text": text})

    def emulate_theme(self, theme: str) -> None:
        """Has the page believe that the system prefers ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.tell("goog/cdp/execute", {"cmd": name, "params": parameters})

    def complaints(self) -> list[str]:
        """What the page wrote on its console since the last call."""
        return [entry["message"] for entry in self.tell("se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since the last call, but for what it carries in itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.tell("se/log", {"type": "performance"})]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in asked if not re.match(r"(data|blob|about):", address)]

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Saves a PNG of the page, the whole of it or what is in the window."""
        found = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._ask("DELETE", self._session)

    def tell(self, path: str, body: Any) -> Any:
        """The value of a command to the driver."""
        return self._ask("POST", f"{self._session}/{path}", body)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from error


@contextmanager
def open_browser(*, width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """A browser for the life of a ``with`` block; without one the test is skipped with the reason, or fails in CI."""
    if CHROMIUM is None or DRIVER is None:
        leave = pytest.fail if os.environ.get("CI") else pytest.skip
        leave("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    driver, port = start_driver(DRIVER)
    try:
        browser = Browser(f"http://127.0.0.1:{port}", width=width, height=height)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.communicate(timeout=DEADLINE_S)


def start_driver(program: str) -> tuple[subprocess.Popen[str], int]:
    """A running driver and its port.

    The driver listens on a free port of IPv4 and then wants the same one of IPv6, and ends where another process has
    taken that meanwhile: it is started anew.
    """
    output = ""
    for _attempt in range(DRIVER_STARTS):
        driver = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert driver.stdout is not None
        for line in driver.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                return driver, int(found.group(1))
            output += line
        driver.wait(DEADLINE_S)
    raise AssertionError(f"{program} did not start in {DRIVER_STARTS} attempts:\n{output}")
