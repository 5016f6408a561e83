"""Every format, read by what its users read it with, against Run.predict."""

import dataclasses
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from exported import PICTURES, SHAPE, TABLES, made, photographs, table
from flax.traverse_util import unflatten_dict
from PIL import Image
from test_image import png

from engine import RequestError
from engine.config import Reading
from engine.errors import RunError
from engine.export import card, exporting, program, safetensors
from engine.sets import image
from engine.sets.columns import Columns
from engine.transfer.source import source_of

CLOSE = 1e-5
ALONE = """
import json, pathlib, sys
sys.modules |= dict.fromkeys(("engine", "flaxmill", "models", "launch"))  # none can be imported
import numpy as np
from jax import export
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.stablehlo")):
    model = export.deserialize(bytearray(file.read_bytes()))
    assert model.platforms == ("cpu", "cuda"), model.platforms
    x = np.load(file.with_suffix(".in.npy"))
    np.save(file.with_suffix(".all.npy"), model.call(x))
    if file.stem in ("cnn", "linen", "classes"):
        np.save(file.with_suffix(".one.npy"), model.call(x[:1]))
"""


def inputs_of(run) -> np.ndarray:
    return run.columns.features_of(table()[:6]) if run.columns else photographs()


def alone(script: str, *words: object, cwd: Path) -> None:
    """In a process that can't import flaxmill."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, words)], cwd=cwd, env=env,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_stablehlo_in_a_process_without_flaxmill(tmp_path):
    pytest.importorskip("flatbuffers")
    from engine.export import stablehlo

    wanted = {}
    for name in (*PICTURES, *TABLES):
        run = made(name)
        inputs = inputs_of(run)
        wanted[name] = run.predicted(inputs)
        assert np.ptp(wanted[name], axis=0).max() > 1e-4, name  # it isn't the same of all
        stablehlo.write(run, tmp_path / f"{name}.stablehlo")
        np.save(tmp_path / f"{name}.in.npy", inputs)
    alone(ALONE, tmp_path, cwd=tmp_path)
    for name, predicted in wanted.items():
        scale = max(1.0, np.abs(predicted).max())
        for which, rows in (("all", slice(None)), ("one", slice(1))):
            if which == "one" and name not in ("cnn", "linen", "classes"):
                continue
            found = np.load(tmp_path / f"{name}.{which}.npy")
            assert found.dtype == np.float32
            np.testing.assert_allclose(found / scale, predicted[rows] / scale, atol=CLOSE, rtol=0,
                                       err_msg=name)


def test_the_function_that_is_exported_is_the_runs_predictions():
    run = made("linear")
    function, shape = program.of(run)
    np.testing.assert_allclose(function(photographs()), run.predict(photographs()), atol=CLOSE)
    assert shape.shape[1:] == SHAPE and shape.dtype == np.uint8


@pytest.mark.parametrize("name", [*PICTURES, *TABLES])
def test_onnx_by_onnxruntime(tmp_path, name):
    pytest.importorskip("jax2onnx")
    import onnxruntime

    from engine.export import onnx

    run = made(name)
    inputs = inputs_of(run)
    onnx.write(run, tmp_path / "model.onnx")
    onnxruntime.set_default_logger_severity(3)
    model = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [x.name for x in model.get_inputs()] == [program.INPUTS]
    wanted = run.predicted(inputs)
    scale = max(1.0, np.abs(wanted).max())
    for rows in (slice(None), slice(1)):  # the size of the batch is open
        (found,) = model.run([program.PREDICTIONS], {program.INPUTS: inputs[rows]})
        np.testing.assert_allclose(found / scale, wanted[rows] / scale, atol=CLOSE, rtol=0)


@pytest.mark.timeout(900)  # three processes import TensorFlow, which is 1.3 GB
def test_saved_model_by_tensorflow(tmp_path):
    pytest.importorskip("tensorflow")
    from engine.export import saved_model

    run = made("nnx")
    saved_model.write(run, tmp_path / "model")
    for count in (6, 1):
        found = saved_model.said(run, tmp_path / "model", photographs()[:count])
        np.testing.assert_allclose(found, run.predict(photographs()[:count]), atol=CLOSE, rtol=0)


def test_arrays_are_flaxs_own_by_their_paths_and_begin_another_run(tmp_path):
    from safetensors.numpy import load_file

    from models.resnet20 import ResNet20

    run, file = made("resnet20"), tmp_path / "model.safetensors"
    safetensors.write(run, file)
    arrays = load_file(file)
    tree = {tuple(name.split("/")): x for name, x in arrays.items()}
    kept = {path[1:]: x for path, x in tree.items() if path[0] == "batch_stats"}
    params = {path: x for path, x in tree.items() if path[0] != "batch_stats"}
    outputs = ResNet20(3).apply({"params": unflatten_dict(params), "batch_stats":
                                 unflatten_dict(kept)}, photographs() / np.float32(255),
                                train=False)
    np.testing.assert_allclose(jax.nn.softmax(outputs), run.predict(photographs()), atol=CLOSE)
    taken = source_of(str(file)).arrays
    assert taken.keys() == program.named(run.state.model).keys()
    for name, x in taken.items():
        np.testing.assert_array_equal(x, arrays[name])


BESIDE = """
import sys
sys.modules |= dict.fromkeys(("engine", "flaxmill", "models", "launch", "pandas"))
sys.path.insert(0, sys.argv[1])
import json, numpy as np, inputs
asked = json.load(open(sys.argv[2]))
made = inputs.pictures(asked) if isinstance(asked[0], str) else inputs.rows(asked)
np.save(sys.argv[3], made)
"""


def beside(folder: Path, run, asked: object) -> np.ndarray:
    """What inputs.py beside the export of `run` makes of what is `asked`."""
    folder.mkdir()
    (folder / "inputs.py").write_bytes(card.READER.read_bytes())
    told = card.content(run, "stablehlo", "model.stablehlo", "best")
    (folder / "model.json").write_text(json.dumps(told))
    (folder / "asked.json").write_text(json.dumps(asked))
    alone(BESIDE, folder, folder / "asked.json", folder / "made.npy", cwd=folder)
    return np.load(folder / "made.npy")


def test_the_reader_beside_it_reads_pictures_as_a_run_does(tmp_path):
    picture = Image.fromarray(photographs()[0]).resize((40, 24))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray((np.arange(600).reshape(20, 30) * 109).astype(np.uint16))
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    drawn = {"turned.jpg": (picture, {"exif": turned}), "deep.png": (deep, {}),
             "turned.tif": (picture, {"exif": turned}), "clear.png": (clear, {}),
             "grey.png": (picture.convert("L"), {}), "plain.webp": (picture, {}),
             "palette.png": (picture.quantize(), {"transparency": 0}),
             "deep-clear.png": (deep, {"transparency": 109}),
             "late.png": (picture, {"exif": turned})}
    for name, (content, how) in drawn.items():
        content.save(tmp_path / name, **how)
    (tmp_path / "few.png").write_bytes(png((4, 1, 2, 0), b"\x1b", b"\0\1"))  # greys 0 to 3, 1 clear
    late = (tmp_path / "late.png").read_bytes()
    at = late.index(b"eXIf") - 4  # behind the pixels, where neither looks
    end = at + 12 + int.from_bytes(late[at : at + 4], "big")
    (tmp_path / "late.png").write_bytes(late[:at] + late[end:-12] + late[at:end] + late[-12:])
    files = [str(tmp_path / name) for name in (*drawn, "few.png")]
    run = made("linear")
    navy = dataclasses.replace(run.learner.config, background="navy")
    run = dataclasses.replace(run, learner=dataclasses.replace(run.learner, config=navy))
    found = beside(tmp_path / "export", run, files)
    wanted = np.stack([image.read(file, SHAPE, "navy") for file in files])
    np.testing.assert_array_equal(found, wanted)


def test_the_reader_beside_it_encodes_rows_as_a_run_does(tmp_path, monkeypatch):
    """Wherever it is read: dates without a zone are UTC's. What was constant in training is 0."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    columns = Columns.fit(table().assign(one=7.0), Reading(embed=True))
    frame, run = table()[:30].assign(one=8.0), dataclasses.replace(made("classes"), columns=columns)
    frame.loc[3, "town"], frame.loc[5, "age"] = "nowhere", 12.5
    frame.loc[7, "born"] = datetime.datetime(9999, 12, 31)
    rows = json.loads(frame.to_json(orient="records", date_format="iso"))
    found = beside(tmp_path / "export", run, rows)
    np.testing.assert_allclose(found, run.columns.features_of(frame, told=False), atol=1e-6)
    assert found[3, -1] == 0  # a word that isn't known
    for at, row in enumerate(rows):  # as tables may have them
        year, month, day = (row["born"] or "")[:10].split("-") if row["born"] else [""] * 3
        rows[at] = {name: ["NA", " ", float("nan")][at % 3] if value is None else value
                    for name, value in row.items()}
        if year:
            rows[at]["born"] = [f"{day}.{month}.{year}", f" {year}/{month}/{day} 00:00 "][at % 2]
    again = beside(tmp_path / "again", run, rows)
    np.testing.assert_allclose(again, found, atol=1e-6)
    for at, far in enumerate(("inf", 1e300)):
        with pytest.raises(AssertionError, match="a number is infinite, or too far from those of"):
            beside(tmp_path / f"far{at}", run, [rows[0] | {"fare": far}])


@pytest.mark.parametrize("kind, said", [("classes", "yes is said"), ("labels", "Each is said")])
def test_a_card_says_what_a_threshold_is_of(kind, said):
    out = {"names": ["no", "yes"], "threshold": 0.3}
    assert f"\n\n{said} from the probability 0.3 on" in card._said(kind, out)


class Place:
    run_dir, device, compile_cache = "", "cpu", False


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """A function that exports a made-up run as it is typed, into `tmp_path`."""
    device = jax.config.jax_default_device
    monkeypatch.setattr(exporting, "compute_on", lambda *_: None)

    def call(name: str, asked: str, output: str = "", **changed):
        run = made(name, tmp_path)
        run.path.mkdir(exist_ok=True)
        monkeypatch.setattr(exporting, "load", lambda *_: run)
        request = type("Request", (), {"place": type("P", (Place,), {"run_dir": run.path}),
                                       "config": run.learner.config})
        exporting.tell(request, "best", asked, output)
        return run

    yield call
    jax.config.update("jax_default_device", device)


def test_an_export_has_its_card_and_reader_beside_it(exported, tmp_path, capsys):
    exported("mlp", "safetensors")
    folder = tmp_path / "mlp" / "export"
    assert sorted(p.name for p in folder.iterdir()) == [
        "inputs.py", "model.json", "model.md", "model.safetensors"]
    assert "beside it model.json and model.md and inputs.py" in capsys.readouterr().out
    told = json.loads((folder / "model.json").read_text())
    assert told["inputs"] | {"background": "white"} == told["inputs"]
    assert (told["step"], told["outputs"]["names"]) == (7, ["cat", "dog", "eel"])
    page = (folder / "model.md").read_text()
    assert "uint8 [batch, 20, 20, 3]" in page and "| `Dense_0/kernel` |" in page
    assert '"cat", "dog", "eel"' in page and "{" not in page.partition("## Loading")[0]


@pytest.mark.parametrize("asked, output, said", [
    ("onix", "", "did you mean onnx?"),
    ("ubj", "", "the run's model is a network"),
    ("safetensors", "model.bin", "type a name that ends in .safetensors"),
    ("safetensors", "gone/model.safetensors", "make it first"),
])
def test_what_can_t_be_exported_is_refused(exported, tmp_path, monkeypatch, asked, output, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=said):
        exported("linear", asked, output)
    assert [p.name for p in tmp_path.rglob("*")] == ["linear"]


def test_a_file_that_says_something_else_is_not_kept(exported, tmp_path, monkeypatch):
    right = safetensors.said
    monkeypatch.setattr(safetensors, "said", lambda *words: right(*words) + np.float32(1e-4))
    with pytest.raises(RunError, match="predicts otherwise than the run, by 1.0e-04"):
        exported("linear", "safetensors")
    monkeypatch.setattr(safetensors, "said", lambda *words: right(*words)[:, :-1])
    with pytest.raises(RunError, match=r"otherwise than the run, \[5, 2\] for \[5, 3\]"):
        exported("linear", "safetensors")
    assert [*(tmp_path / "linear" / "export").iterdir()] == []


def test_trees_are_xgboosts_own_file(tmp_path, monkeypatch, capsys):
    xgboost = pytest.importorskip("xgboost")
    import launch
    from engine import Config, Place, fit
    from engine.optim.trees import XGBoost

    monkeypatch.setattr("engine.run.report.write", lambda *_: None)
    device, folder = jax.config.jax_default_device, tmp_path / "run"
    run = fit(Config(dataset="iris", model="xgboost", epochs=2), XGBoost(),
              Place(device="cpu", run_dir=str(folder)), quiet=True)
    words = ["export", "--run_dir", str(folder), "--device", "cpu"]
    assert launch.main([*words, "--format", "onnx"]) == 2
    assert "type --format ubj" in capsys.readouterr().err and not (folder / "export").exists()
    assert launch.main(words) == 0
    jax.config.update("jax_default_device", device)
    x = np.random.default_rng(0).standard_normal((9, *run.input_shape), np.float32)
    booster = xgboost.Booster(model_file=folder / "export" / "model.ubj")
    np.testing.assert_array_equal(booster.predict(xgboost.DMatrix(x)), run.predicted(x))
