"""A report in a browser that is as strict as its host may be: Chromium, where there is one."""

import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow
STRICT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BROKEN = "<img src=/other.png><script>document.title = 1</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Strict(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, under the policy."""

    def end_headers(self):
        self.send_header("Content-Security-Policy", STRICT)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def browsed(tmp_path):
    """A function of a page of `tmp_path`: what the browser's console says of it, and its picture's
    file."""
    if not CHROMIUM:
        pytest.skip("needs Chromium")

    class Here(Strict):
        def __init__(self, *words, **more):
            super().__init__(*words, directory=str(tmp_path), **more)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def look(name: str) -> tuple[list[str], Path]:
        picture = tmp_path / "seen.png"
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             "--hide-scrollbars", "--window-size=1000,3000", f"--screenshot={picture}",
             f"--user-data-dir={tmp_path / 'profile'}",
             f"http://127.0.0.1:{server.server_port}/{name}"],
            capture_output=True, text=True, timeout=300, check=True)
        return [line for line in done.stderr.splitlines() if "CONSOLE" in line], picture

    yield look
    server.shutdown()
    server.server_close()


def test_a_report_is_whole_under_a_strict_policy(tmp_path, launch, browsed):
    (tmp_path / "broken.html").write_text(f"<!doctype html><title>0</title>{BROKEN}")
    assert len(browsed("broken.html")[0]) == 2  # this is how the browser tells
    done = launch("--dataset", "digits", "--batch_size", 256, "--epochs", 1, "--device", "cpu",
                  "--run_dir", "run")
    assert done.returncode == 0, done.stderr
    told, seen = browsed("run/report.html")
    assert told == []
    # The heat map's blues and the curve's colours: every picture is there.
    colours = {colour for _, colour in Image.open(seen).convert("RGB").getcolors(1 << 24)}
    for name in ("curves.png", "confusion.png"):
        drawn = Image.open(tmp_path / "run" / name).convert("RGB").getcolors(1 << 24)
        strongest = max((c for c in drawn if max(c[1]) - min(c[1]) > 60), default=None)
        assert strongest and any(sum(abs(a - b) for a, b in zip(strongest[1], c, strict=True)) < 24
                                 for c in colours), name
