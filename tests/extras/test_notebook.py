"""The notebook, executed from top to bottom on the CPU; and what runs show in one."""

import os

import pytest
from conftest import ONE_DEVICE, ROOT

SECONDS = 300  # a cell, at most

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")


def executed(folder):
    """The notebook as it is left by a fresh kernel in `folder`."""
    notebook = nbformat.read(ROOT / "notebooks/quickstart.ipynb", as_version=4)
    env = os.environ | ONE_DEVICE | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3",
                                     resources={"metadata": {"path": str(folder)}})
    client.execute(env=env)
    return notebook


def test_the_notebook_runs_from_top_to_bottom_and_its_outputs_are_small(here):
    notebook = executed(here)
    shown = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    def text(start):
        (outputs,) = (found for source, found in shown.items() if source.startswith(start))
        return "".join(out.get("text", "") + out.get("data", {}).get("text/html", "")
                       for out in outputs)

    assert "training on cpu" in text("import jax\n")
    assert "<svg" in text("from flaxmill import Config") and "accuracy" in text("run.history")
    assert text("import jax.numpy").count("over 4 seeds") == 4
    losses = [float(line.split("validation loss ")[1].split(",")[0])
              for line in text("course =").splitlines()]
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert text("from flaxmill import load").count("<tr>") == 5  # a head, and four runs
    assert "three folds" in text("from sklearn")
    assert all(len(str(out)) < 200_000 for outputs in shown.values() for out in outputs)


def test_what_is_kept_in_the_file_is_what_was_executed():
    kept = nbformat.read(ROOT / "notebooks/quickstart.ipynb", as_version=4)
    nbformat.validate(kept)
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert (ROOT / "notebooks/quickstart.ipynb").stat().st_size < 300_000
