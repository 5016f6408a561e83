"""A report in a browser that is as strict as its host may be: Chromium, where there is one."""

import http.server
import shutil
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

pytestmark = pytest.mark.slow
STRICT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BROKEN = "<img src=/other.png><script>document.title = 1</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Strict(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, under the policy; frame.html is the test's, and may run scripts."""

    def end_headers(self):
        if not self.path.endswith("/frame.html"):
            self.send_header("Content-Security-Policy", STRICT)
        super().end_headers()

    def log_message(self, *_):
        pass


class Seen(NamedTuple):
    """What the browser's console says of a page, what it asked the server for, its picture's file,
    and the document as the browser has it."""

    told: list[str]
    asked: list[str]
    picture: Path
    document: str


@pytest.fixture
def browsed(tmp_path):
    """A function of a page of `tmp_path`, and whether it is seen in the dark: a Seen."""
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    asked: list[str] = []

    class Here(Strict):
        def __init__(self, *words, **more):
            super().__init__(*words, directory=str(tmp_path), **more)

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def look(name: str, dark: bool = False) -> Seen:
        picture = tmp_path / f"seen-{dark}.png"
        asked.clear()
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             "--disable-background-networking", "--hide-scrollbars", "--window-size=1000,3000",
             *["--blink-settings=preferredColorScheme=0"] * dark, "--dump-dom",
             f"--screenshot={picture}", f"--user-data-dir={tmp_path / 'profile'}",
             f"http://127.0.0.1:{server.server_port}/{name}"],
            capture_output=True, text=True, timeout=300, check=True)
        told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Seen(told, list(asked), picture, done.stdout)

    yield look
    server.shutdown()
    server.server_close()


FRAME = """<!doctype html><iframe src="report.html" width="360" height="2000"></iframe>
<script>onload = () => {
  const page = document.querySelector("iframe").contentDocument.documentElement;
  document.title = "wide: " + page.scrollWidth;
}</script>"""


def test_a_report_is_whole_under_a_strict_policy(tmp_path, launch, browsed):
    """Not a word on the console, not a request, both colour schemes, nothing wider than a phone."""
    (tmp_path / "broken.html").write_text(f"<!doctype html><title>0</title>{BROKEN}")
    assert len(browsed("broken.html").told) == 2  # this is how the browser tells
    done = launch("--dataset", "digits", "--batch_size", 256, "--epochs", 1, "--device", "cpu",
                  "--run_dir", "run")
    assert done.returncode == 0, done.stderr
    for dark, page, ink in ((False, (255, 255, 255), (36, 87, 214)),
                            (True, (16, 18, 22), (141, 177, 255))):
        seen = browsed("run/report.html", dark)
        assert seen.told == [] and {*seen.asked} <= {"/run/report.html", "/favicon.ico"}
        image = Image.open(seen.picture).convert("RGB")
        colours = {colour for _, colour in image.getcolors(1 << 24)}
        # The page's own colours: the accent of curves and score, and the heat map's cells.
        assert image.getpixel((1, 1)) == page and ink in colours
        assert any(blue > 150 and blue - red > 60 for red, _, blue in colours - {ink})
    (tmp_path / "run/frame.html").write_text(FRAME)
    assert "<title>wide: 360</title>" in browsed("run/frame.html").document
