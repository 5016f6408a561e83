import numpy as np
import pytest
from commands import blocks


@pytest.mark.slow
def test_the_library_examples_run_as_they_stand(here):
    names: dict = {}
    exec("\n".join(blocks("README.md")), names)
    assert names["run"].metrics["accuracy"] > 0.5
    assert names["history"]["val_accuracy"][-1] > 0.8
    assert names["histories"]["val_accuracy"].shape == (8, 2)
    assert np.isfinite(names["histories"]["loss"]).all()
