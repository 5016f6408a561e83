import re

import numpy as np
import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_library_examples_run_as_they_stand(here):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec("\n".join(blocks), names)
    assert names["run"].metrics["accuracy"] > 0.5
    assert names["history"]["val_accuracy"][-1] > 0.8
    assert names["histories"]["val_accuracy"].shape == (8, 2)
    assert np.isfinite(names["histories"]["loss"]).all()
