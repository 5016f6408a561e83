"""A run that chooses its threshold: on the validation, and reported on test; what is kept of it is
used again. python -m pytest tests/test_threshold_run.py -n 0 -m slow"""

import json

import numpy as np
import pytest
from samples import Tiny
from sklearn import metrics as reference

from engine import Config, Hyper, Place, evaluate, fit, load
from engine.command import output
from engine.errors import RequestError

pytestmark = pytest.mark.usefixtures("quickly")


def sample(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A tenth are of the second class, most of which no half of the probability finds."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < 0.1).astype(np.int32)
    return (rng.normal(size=(count, 4)) + 0.8 * targets[:, None]).astype(np.float32), targets


SETS = {"train": sample(0, 600), "validation": sample(1, 300), "test": sample(2, 300)}


@pytest.mark.slow
def test_a_threshold_is_chosen_on_validation_and_reported_on_test(tmp_path, capsys):
    config = Config(model=Tiny, epochs=3, choose_threshold="f1")
    place = Place(device="cpu", run_dir=str(tmp_path / "run"))
    run = fit(config, Hyper(learning_rate=1e-2), place, SETS)
    kept = json.loads((tmp_path / "run" / "metrics.json").read_text())
    choice = kept["threshold_choice"]
    (x, y), (test, true) = SETS["validation"], SETS["test"]
    p = run.predict(x)[:, 1]
    every = [reference.f1_score(y, p >= at) for at in p]
    assert choice["score"] == pytest.approx(max(every)) and choice["split"] == "validation"
    assert choice["score_at_half"] == pytest.approx(reference.f1_score(y, p >= 0.5))
    said = (run.predict(test)[:, 1] >= kept["threshold"]).astype(int)
    assert kept["split"] == "test" and kept["threshold"] < 0.5
    assert kept["confusion"] == reference.confusion_matrix(true, said).tolist()
    assert kept["per_class"]["1"]["f1"] == pytest.approx(reference.f1_score(true, said))
    printed = capsys.readouterr().out
    assert f"threshold: 1 from the probability {kept['threshold']:.4g} on: the best f1" in printed
    assert "flatters the score" not in printed.split("threshold: ")[1]
    again = load(run.path, config)
    assert again.learner.task.threshold == kept["threshold"]
    file = str(tmp_path / "said.csv")
    with output.writer(file, again.learner.task, "row", again.classes) as tell:
        tell([*map(str, range(300))], again.predict(test))
    rows = [line.split(",")[1] for line in open(file).read().splitlines()[1:]]
    assert rows == [str(number) for number in said]
    scores = evaluate(run.path, SETS, config=config)
    for name in ("confusion", "threshold", "threshold_choice", "interval", "f1_macro", "loss"):
        assert scores[name] == pytest.approx(kept[name]) if isinstance(kept[name], float) \
            else scores[name] == kept[name], name
    half = evaluate(run.path, SETS, config=Config(model=Tiny, epochs=3))
    assert "threshold" not in half and half["confusion"] != kept["confusion"]


@pytest.mark.slow
def test_a_threshold_among_probabilities_of_0_is_read_again(tmp_path):
    """Chosen as 0.0, it was called a damaged file, by the run itself."""
    sets = {name: (1e4 * x, y) for name, (x, y) in SETS.items()}
    config = Config(model="linear", task="classification", epochs=1, choose_threshold="f1")
    place = Place(device="cpu", run_dir=str(tmp_path / "run"), report=False)
    run = fit(config, Hyper(learning_rate=1.0), place, sets, quiet=True)
    assert (run.predict(sets["validation"][0])[:, 1] == 0).sum() > 60
    assert evaluate(run.path, sets)["confusion"] == run.metrics["confusion"]
    assert load(run.path).learner.task.threshold == run.metrics["threshold"]


@pytest.mark.parametrize("sets, words", [
    ({"train": sample(0, 60), "validation": (sample(1, 9)[0], np.zeros(9, np.int32))},
     "has no example of 1: type another --validation_split"),
    ({"train": (sample(0, 60)[0], np.arange(60) % 3)}, "is for two classes, and there are 3"),
])
def test_what_leaves_nothing_to_choose_is_refused_at_once(tmp_path, sets, words):
    with pytest.raises(RequestError, match="choose_threshold") as told:
        fit(Config(model=Tiny, epochs=3, choose_threshold="f1", batch_size=8),
            Hyper(), Place(device="cpu", run_dir=str(tmp_path / "run")), sets, quiet=True)
    assert words in str(told.value) and not (tmp_path / "run").exists()
