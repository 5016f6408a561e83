"""A headless Chromium, driven by its DevTools protocol over pipes: no port, no other package."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120  # that anything may take


class Browser:
    """One page. `said` has the console's lines and errors, `asked` the addresses of requests."""

    def __init__(self, folder: Path):
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        # It reads commands from its descriptor 3, and writes what happens to its 4.
        placed = f'exec "$0" "$@" 3<&{down} 4>&{up}'
        self._child = subprocess.Popen(
            ["bash", "-c", placed, CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
             "--hide-scrollbars", "--remote-debugging-pipe",
             f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(down, up))
        os.close(down)
        os.close(up)
        self._held, self._count = b"", 0
        self.said: list[str] = []
        self.asked: list[str] = []
        self._session = ""
        page = next(each for each in self("Target.getTargets")["targetInfos"]
                    if each["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=page["targetId"],
                             flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters):
        """What a command gives."""
        self._count += 1
        sent = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            sent["sessionId"] = self._session
        os.write(self._write, json.dumps(sent).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            told = self._next(until)
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def _next(self, until: float) -> dict:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            assert ready, "Chromium doesn't answer"
            self._held += os.read(self._read, 1 << 20)
        line, _, self._held = self._held.partition(b"\0")
        return json.loads(line)

    def _note(self, told: dict) -> None:
        method, given = told.get("method"), told.get("params", {})
        if method == "Log.entryAdded":
            self.said.append(given["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(str(given["args"]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(given["exceptionDetails"]))
        elif method == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])

    def run(self, script: str):
        """A JavaScript expression's value; a promise is waited for."""
        told = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, script: str) -> None:
        """Until the expression is true."""
        self.run("new Promise((done, over) => { const end = Date.now() + 60000; const look = () => "
                 f"({script}) ? done() : Date.now() > end ? over('never: ' + {script!r}) : "
                 "setTimeout(look, 20); look(); })")

    def open(self, address: str, width: int, height: int = 900, scheme: str = "light") -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height,
             deviceScaleFactor=1, mobile=False)
        self("Emulation.setEmulatedMedia",
             features=[{"name": "prefers-color-scheme", "value": scheme}])
        self("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({address!r}) && document.readyState == 'complete'")

    def choose(self, selector: str, file: Path) -> None:
        """A file in an <input type=file>."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        found = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=found, files=[str(file)])

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._child.kill()
        self._child.wait(SECONDS)
        os.close(self._read)
        os.close(self._write)
