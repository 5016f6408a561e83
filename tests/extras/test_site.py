"""The site, built with warnings as errors."""

import importlib
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import engine

pytest.importorskip("mkdocs", reason='pip install -e ".[docs]"')
pytest.importorskip("mkdocstrings", reason='pip install -e ".[docs]"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_and_every_flag_is_on_its_page(site):
    page = (site / "api" / "index.html").read_text()
    for name in engine.__all__:
        where = importlib.import_module(f"engine.{engine._FROM[name]}")
        module = getattr(where, name).__module__
        assert f'id="{module}.{name}"' in page
    flags = (site / "flags" / "index.html").read_text()
    assert all(f"--{name}" in flags for name in ("dataset", "learning_rate", "save_seconds"))


def test_it_fetches_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="([^"]*)"',
                             page.read_text())
        assert fetched and not [at for at in fetched if at.startswith(("http", "//"))]
