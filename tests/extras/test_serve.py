"""A served run: what is answered to what is sent, alone and at once, and the page in a browser."""

import contextlib
import dataclasses
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")

from chromium import CHROMIUM, Browser  # noqa: E402
from exported import SHAPE, made, photographs, table  # noqa: E402
from PIL import Image  # noqa: E402

from engine.config import Config  # noqa: E402
from engine.errors import RequestError  # noqa: E402
from engine.export import card  # noqa: E402
from engine.place import Place  # noqa: E402
from engine.run import fit  # noqa: E402
from engine.serve import app, limits, reading, server  # noqa: E402
from engine.serve.batches import MOST_WAITING, Batches  # noqa: E402
from engine.serve.limits import Rate  # noqa: E402
from engine.serve.model import SIZES, Model  # noqa: E402
from engine.serve.refused import Refused  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


@contextlib.contextmanager
def serving(model: Model, rate: int = 10_000):
    """Its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    made = uvicorn.Server(uvicorn.Config(app.of(model, rate, ["127.0.0.1"]), log_level="error"))
    thread = threading.Thread(target=made.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[1]  # which queues who comes before it is ready
    made.should_exit = True
    thread.join(SECONDS)
    assert not thread.is_alive()
    listening.close()


@pytest.fixture(scope="module")
def pictures():
    model = Model(made("linear"))
    with serving(model) as port:
        yield model, port


@pytest.fixture(scope="module")
def rows():
    model = Model(made("classes"))
    with serving(model) as port:
        yield model, port


def sent(port: int, body: bytes, kind: str, path: str = "/predict", method: str = "POST",
         **headers: str):
    """Status, headers and what the JSON says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request(method, path, body, {"Content-Type": kind} | headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    told = json.loads(content) if "json" in answer.headers["Content-Type"] else content
    return answer.status, answer.headers, told


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_picture_is_answered_as_predict_answers(pictures):
    model, port = pictures
    wanted = model.run.predict(photographs())
    for picture, probabilities in zip(photographs(), wanted, strict=True):
        status, _, told = sent(port, png(picture), "image/png")
        (found,) = told["predictions"]
        assert status == 200 and told["notes"] == []
        np.testing.assert_allclose([*found["probabilities"].values()], probabilities, atol=1e-6)
        assert found["class"] == model.names[probabilities.argmax()]
        assert found["probability"] == max(found["probabilities"].values())
    large = np.asarray(Image.fromarray(photographs()[0]).resize((50, 30)))
    _, _, told = sent(port, png(large), "application/octet-stream")
    small = np.asarray(Image.fromarray(large).resize(SHAPE[:2], Image.Resampling.BILINEAR))
    np.testing.assert_allclose([*told["predictions"][0]["probabilities"].values()],
                               model.run.predict(small[None])[0], atol=1e-6)


def test_rows_are_answered_as_predict_answers(rows):
    model, port = rows
    frame = table()[:40]
    wanted = model.run.predict(frame)
    text = frame.to_csv(index=False)
    records = json.loads(frame.to_json(orient="records", date_format="iso"))
    german = re.sub(r"(\d{4})-(\d\d)-(\d\d)", r"\3.\2.\1", text)
    assert german != text
    commas = german.replace(",", ";")
    commas = re.sub(r"(?<![\d.])(\d+)\.(\d+)(?=;)", r"\1,\2", commas)
    assert commas.count(",") >= len(frame)
    bodies = [(text, "text/csv"), (text.replace(",", ";"), "text/csv"), (german, "text/csv"),
              (commas, "text/csv"), (commas.replace(";", "|"), "text/csv"),
              (text.replace(",", "\t"), "text/csv; charset=utf-8"),
              (json.dumps({"rows": records}), "application/json")]
    for body, kind in bodies:
        status, _, told = sent(port, body.encode(), kind)
        assert status == 200, told
        found = [[*one["probabilities"].values()] for one in told["predictions"]]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert told["notes"] == []


def test_what_training_has_not_seen_is_noted(rows):
    row = {"age": "", "fare": None, "sex": "x", "town": "t1", "born": "1991-02-03"}
    status, _, told = sent(rows[1], json.dumps([row]).encode(), "application/json")
    assert status == 200 and len(told["predictions"]) == 1
    assert sorted(note.partition(":")[0] for note in told["notes"]) == ["fare", "sex"]


@pytest.mark.parametrize("cell", ["NA", " N/A", "nan", "?", "null", "None", "#N/A"])
def test_what_a_table_calls_missing_is_missing(rows, cell):
    names = ["age", "fare", "sex", "town", "born"]
    answers = [sent(rows[1], f"{','.join(names)}\n{','.join([each] * 5)}\n".encode(), "text/csv")
               for each in ("", cell)]
    as_json = sent(rows[1], json.dumps([dict.fromkeys(names, cell)]).encode(), "application/json")
    for status, _, told in (*answers, as_json):
        assert status == 200 and told == answers[0][2]


@pytest.mark.parametrize("row, count", [("1,1,f,t1,1990-01-01,7", 6), ("1,1,f,t1", 4), ("1", 1)])
def test_a_row_of_other_cells_than_the_header_is_refused(rows, row, count):
    text = f"age,fare,sex,town,born\n1,1,f,t1,1990-01-01\n\n{row}\n"
    status, _, told = sent(rows[1], text.encode(), "text/csv")
    assert status == 422 and f"row 2 has {count} cells, and the header 5: send as many" in str(told)


def test_a_word_of_training_is_itself():
    assert reading._cell(" NA ", ("NA", "DE")) == "NA" and reading._cell("NA", ("DE",)) is None


CASES = [
    ("pictures", b"no picture", "image/png", 415), ("pictures", b"{}", "application/json", 415),
    ("pictures", b"", "image/png", 422),
    ("pictures", png(photographs()[0])[:200], "image/png", 422),
    ("pictures", png(np.zeros((5000, 5000), np.uint8)), "image/png", 413),
    ("rows", b"{", "application/json", 422), ("rows", b"[" * 100_000, "application/json", 422),
    ("rows", b'{"rows": [{"age": 3}]}', "application/json", 422),
    ("rows", b'{"rows": []}', "application/json", 422), ("rows", b"\xff", "text/csv", 422),
    ("rows", b"age,fare,sex,town,born\nx,1,f,t1,1990-01-01", "text/csv", 422),
    ("rows", b"age,fare,sex,town,born\n1,1,f,t1,sometime", "text/csv", 422),
    ("rows", b"age,fare,sex,town,born\n1,1e300,f,t1,1990-01-01", "text/csv", 422),
    ("rows", b"age,fare,sex,town,born\n" + b"1,1,f,t1,1990-01-01\n" * 1025, "text/csv", 413),
    ("rows", png(photographs()[0]), "image/png", 415),
]  # fmt: skip


@pytest.mark.parametrize("which, body, kind, status", CASES)
def test_what_can_t_be_meant_has_its_status_and_a_sentence(request, which, body, kind, status):
    _, port = request.getfixturevalue(which)
    found, headers, told = sent(port, body, kind)
    assert found == status, told
    assert [*told] == ["error"] and len(told["error"]) > 20
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_body_that_is_too_large_is_not_read(pictures):
    connection = http.client.HTTPConnection("127.0.0.1", pictures[1], timeout=SECONDS)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(reading.MOST_BYTES + 1))
    connection.endheaders()  # of which nothing is sent
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_of_no_length_is_read_so_far(pictures, monkeypatch):
    """It comes in pieces, and nothing says how many."""
    monkeypatch.setattr(reading, "MOST_BYTES", 1000)
    connection = http.client.HTTPConnection("127.0.0.1", pictures[1], timeout=SECONDS)
    pieces = iter([b"x" * 600] * 2)
    connection.request("POST", "/predict", pieces, {"Content-Type": "image/png"})
    assert connection.getresponse().status == 413
    connection.close()


def test_another_name_of_the_machine_is_refused(pictures):
    assert sent(pictures[1], b"", "", "/health", "GET")[0] == 200
    assert sent(pictures[1], b"", "", "/health", "GET", Host="evil.example")[0] == 400
    assert sent(pictures[1], b"", "", "/nothing", "GET")[0] == 404
    assert sent(pictures[1], b"", "", "/predict", "GET")[0] == 405


def test_one_address_asks_so_often_a_second(monkeypatch):
    rate = Rate(3)
    for _ in range(3):
        rate.take("a", 10.0)
    with pytest.raises(Refused) as refused:
        rate.take("a", 10.2)
    assert refused.value.status == 429
    rate.take("b", 10.2)
    rate.take("a", 10.4)  # one more, a third of a second after
    with pytest.raises(Refused):
        rate.take("a", 10.5)
    monkeypatch.setattr(limits, "_MOST_ADDRESSES", 2)
    for address in "acd":  # of three the one that asked longest ago is forgotten
        rate.take(address, 20.0)
    assert [*rate._left] == ["c", "d"]
    model = Model(made("linear"))
    with serving(model, rate=2) as port:
        found = [sent(port, b"x", "image/png") for _ in range(8)]
    assert {status for status, *_ in found[:2]} == {415}
    late = [headers["Retry-After"] for status, headers, _ in found if status == 429]
    assert late and {*late} == {"1"}


def test_requests_that_wait_together_are_one_batch(pictures):
    """While the first is computed, others come; they are computed at once, in one of few sizes."""
    import asyncio

    begun, go, sizes = threading.Event(), threading.Event(), []

    def compute(inputs: np.ndarray) -> np.ndarray:
        sizes.append(len(inputs))
        begun.set()
        assert go.wait(SECONDS)
        if (inputs < 0).any():
            raise ValueError("as asked")
        return inputs * 2

    async def several():
        batches = Batches(compute, 8)
        work = asyncio.create_task(batches.work())
        each = [asyncio.create_task(batches.predict(np.full((2, 1), at))) for at in range(1)]
        await asyncio.to_thread(begun.wait, SECONDS)
        each += [asyncio.create_task(batches.predict(np.full((2, 1), at))) for at in range(1, 7)]
        await asyncio.sleep(0)
        go.set()
        found = await asyncio.gather(*each)
        with pytest.raises(ValueError, match="as asked"):
            await batches.predict(np.full((1, 1), -1))
        assert (await batches.predict(np.full((1, 1), 4))).tolist() == [[8]]
        work.cancel()
        return found

    for at, part in enumerate(asyncio.run(several())):
        np.testing.assert_array_equal(part, np.full((2, 1), 2 * at))
    assert sizes == [2, 8, 4, 1, 1]
    run, seen = pictures[0].run, []
    model = Model(run)
    model.run = type("Run", (), {
        "learner": run.learner,
        "predicted": lambda _, x: seen.append(len(x)) or run.predicted(x)})()
    many = np.repeat(photographs(), 7, axis=0)[:41]
    np.testing.assert_allclose(model.predict(many), run.predict(many), atol=1e-6)
    assert seen == [32, 32] and {*seen} <= {*SIZES}


def test_no_more_wait_than_the_memory_holds():
    import asyncio

    many = np.zeros((MOST_WAITING + 1, 1))
    with pytest.raises(Refused) as refused:
        asyncio.run(asyncio.wait_for(Batches(np.asarray, 8).predict(many), 10))
    assert refused.value.status == 429


def test_a_label_is_said_from_the_threshold_on_and_what_is_no_number_never():
    model = Model(made("labels"))
    (found,) = model.told(np.array([[0.5, 0.49, 0.7]]))
    assert found["labels"] == [model.names[0], model.names[2]]
    model.task = dataclasses.replace(model.task, threshold=0.7)  # more than float32's nearest
    (found,) = model.told(np.array([[0.5, 0.69, 0.7]], np.float32))
    assert found["labels"] == [model.names[2]] == model.task.told(
        np.float32([0.5, 0.69, 0.7]), model.names).split("\t")[:1]
    with pytest.raises(Refused, match="is no number"):
        model.told(np.array([[0.5, np.nan, 0.7]]))


def test_numbers_of_a_byte_are_whole():
    taken = types.SimpleNamespace(input_shape=(2,), input_dtype="uint8",
                                  learner=types.SimpleNamespace(traced=False))
    model = types.SimpleNamespace(kind="numbers", run=taken)

    def read(content):
        return reading.read(model, "application/json", json.dumps({"inputs": content}).encode())[0]

    assert read([[0, 255.0]]).tolist() == [[0, 255]]
    for wrong in ([[0.5, 1]], [[256, 1]], [[-1, 1]], [[1, 2, 3]], []):
        with pytest.raises(Refused) as refused:
            read(wrong)
        assert refused.value.status == 422


class Both(nn.Module):
    @nn.compact
    def __call__(self, x):
        words = nn.Embed(50, 4)(x["words"]).mean(1)
        return nn.Dense(2)(jnp.concatenate([words, x["picture"].reshape(len(words), -1)], -1))


class Words(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Embed(50, 4)(x).mean(1))


def test_inputs_by_their_names_and_codes_are_taken_as_predict_takes_them(tmp_path):
    rng = np.random.default_rng(0)
    given = {"words": rng.integers(0, 50, (40, 3)),
             "picture": rng.integers(0, 256, (40, 2, 2)).astype(np.uint8)}
    y = given["words"][:, 0] % 2

    def run(model, x):
        place = Place(device="cpu", report=False, run_dir=str(tmp_path / type(model).__name__))
        return fit(Config(model=model, epochs=1), place=place, data=(x, y), quiet=True)

    named, codes = run(Both(), given), run(Words(), given["words"])
    with serving(Model(named)) as port:
        some = {name: x[:3].tolist() for name, x in given.items()}
        status, _, told = sent(port, json.dumps({"inputs": some}).encode(), "application/json")
        assert status == 200
        np.testing.assert_allclose([each["probabilities"]["1"] for each in told["predictions"]],
                                   named.predict(given)[:3, 1], rtol=1e-5)
        for wrong, said in ((some | {"words": [[0.5, 1, 2]] * 3}, "words aren't all int32"),
                            (some | {"picture": [[[256, 0], [0, 0]]] * 3}, "picture aren't all"),
                            ({"words": some["words"]}, "arrays of picture"),
                            (some | {"words": some["words"][:1]}, "of 1 examples"),
                            ([[1.0] * 7], "arrays of picture")):
            status, _, told = sent(port, json.dumps({"inputs": wrong}).encode(), "application/json")
            assert status == 422 and said in told["error"], told
        api = sent(port, b"", "", "/openapi.json", "GET")[2]
        schema = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        assert [*schema["schema"]["properties"]["inputs"]["properties"]] == ["picture", "words"]
        fields = sent(port, b"", "", "/model", "GET")[2]["inputs"]["fields"]
        assert [field["name"] for field in fields] == ["picture", "words"]
    with serving(Model(codes)) as port:
        for wrong in ([[1, 2, 1.5]], [["a", 1, 2]]):
            status, _, told = sent(port, json.dumps({"inputs": wrong}).encode(), "application/json")
            assert status == 422
        status, _, told = sent(port, b'{"inputs": [[1, 2, 3]]}', "application/json")
        assert status == 200
    told = card.page(card.content(named, "stablehlo", "model.bin", "best"))
    assert "`picture` uint8 [2, 2] from number 0 on, `words` int32 [3] from number 4 on" in told


def test_a_class_of_each_position_is_not_served():
    with pytest.raises(RequestError, match="a class of each position, which isn't served"):
        Model(made("unet")).compile()


def test_a_thousand_requests_of_eight_clients(pictures):
    model, port = pictures
    bodies, wanted = [png(p) for p in photographs()], model.run.predict(photographs())
    wrong = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        for at in range(125):
            which = (number + at) % len(bodies)
            connection.request("POST", "/predict", bodies[which], {"Content-Type": "image/png"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status != 200 or not np.allclose(
                    [*told["predictions"][0]["probabilities"].values()], wanted[which], atol=1e-6):
                wrong.append(told)
        connection.close()

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert wrong == []


@pytest.mark.parametrize("name", ["pictures", "rows", "numbers", "labels"])
def test_what_is_described_is_what_is_answered(request, name):
    """OpenAPI's schema of the answer has the answer's own keys, and that of the request its
    columns."""
    with contextlib.ExitStack() as held:
        if name in ("pictures", "rows"):
            model, port = request.getfixturevalue(name)
        else:
            model = Model(made(name))
            port = held.enter_context(serving(model))
        _, _, api = sent(port, b"", "", "/openapi.json", "GET")
        _, _, described = sent(port, b"", "", "/model", "GET")
        body, kind = (png(photographs()[0]), "image/png") if name == "pictures" else \
            (table()[:1].to_csv(index=False).encode(), "text/csv")
        status, _, told = sent(port, body, kind)
    assert status == 200, told
    post = api["paths"]["/predict"]["post"]
    schema = post["responses"]["200"]["content"]["application/json"]["schema"]
    one = schema["properties"]["predictions"]["items"]
    assert {*told} == {*schema["required"]} and {*told["predictions"][0]} == {*one["required"]}
    assert described["outputs"]["names"] == [*model.names]
    assert {*described} >= {"run", "model", "task", "kind", "inputs", "scores"}
    taken = post["requestBody"]["content"]
    if name == "pictures":
        assert "image/*" in taken
    else:
        row = taken["application/json"]["schema"]["properties"]["rows"]["items"]
        assert {*row["required"]} == {*table().columns}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run's folder."""
    from engine import Config, Place, fit

    folder = tmp_path_factory.mktemp("saved") / "run"
    device = jax.config.jax_default_device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.run.report.write", lambda *_: None)
        fit(Config(dataset="iris", model="linear", epochs=1),
            place=Place(device="cpu", run_dir=str(folder)), quiet=True)
    jax.config.update("jax_default_device", device)
    return folder


@pytest.mark.parametrize("number, twice", [
    (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True),
])
def test_the_command_serves_until_a_signal(saved, number, twice):
    """A second one cuts short what is still being answered, and says nothing more."""
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), "serve", str(saved), "--port", "0", "--device",
         "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    late = threading.Timer(300, child.kill)
    late.start()
    try:
        line = child.stdout.readline()
        port = int(re.fullmatch(r"serving at http://127.0.0.1:(\d+) \(Ctrl-C ends it\)\n", line)[1])
        assert sent(port, b"", "", "/health", "GET")[2] == {"status": "ok"}
        assert sent(port, b"", "", "/health", "GET", Host="evil.example")[0] == 400
        with pytest.raises(RequestError, match="Address already in use; type another, or --port 0"):
            server.run(None, "best", "127.0.0.1", port, 1)
        with socket.create_connection(("127.0.0.1", port)) as unfinished:
            if twice:
                unfinished.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Content-Length: 9\r\n\r\n[")
                time.sleep(0.1)
            for _ in range(1 + twice):
                child.send_signal(number)
                time.sleep(0.02)
            _, error = child.communicate(timeout=300)
        assert child.returncode == 0 and "Traceback" not in error, error
    finally:
        late.cancel()
        child.kill()
        child.communicate(timeout=SECONDS)


@pytest.mark.parametrize("host, port, rate, said", [
    ("127.0.0.1", 70_000, 1, "--port 70000: type 0 to 65535"),
    ("no.such.name.invalid", 0, 1, "--host no.such.name.invalid --port 0: "),
    ("127.0.0.1", 0, 0, "--request_rate 0: type 1 or more"),
])
def test_an_address_that_can_t_be_had_is_refused(host, port, rate, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        server.run(None, "best", host, port, rate)


@pytest.fixture
def browser(tmp_path):
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    made = Browser(tmp_path)
    yield made
    made.close()


CONTRAST = """(() => {
  const light = (c) => c.map((x) => (x /= 255) <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
  const parts = (c) => c.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3]) return c.slice(0, 3); } return [255, 255, 255]; };
  return Math.min(...[...document.querySelectorAll("body *")]
    .filter((e) => e.getClientRects().length && [...e.childNodes].some((n) => n.nodeType == 3 &&
      n.data.trim()))
    .map((e) => { const [a, b] = [parts(getComputedStyle(e).color), behind(e)].map(
      (c) => light(c.slice(0, 3))); return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
})()"""
READY = "document.getElementById('run').textContent != '…'"
TOLD = "document.querySelectorAll('#bars li').length > 0"


def test_the_page_in_a_browser(browser, pictures, rows, tmp_path):
    """Light and dark, wide and of 360 pixels: what is chosen or pasted is answered by bars."""
    (tmp_path / "china.png").write_bytes(png(photographs()[0]))
    (tmp_path / "text.png").write_text("no picture")
    row = table()[["age", "fare", "sex", "born", "town"]][1:2].to_csv(index=False, header=False)
    for scheme, width in (("light", 1000), ("dark", 1000), ("light", 360), ("dark", 360)):
        model, port = pictures
        here = f"http://127.0.0.1:{port}/"
        browser.open(here, width, scheme=scheme)
        browser.wait(READY)
        browser.choose("#file", tmp_path / "china.png")
        browser.wait(TOLD)
        probabilities = model.run.predict(photographs()[:1])[0]
        assert browser.run("at('answer').textContent") == model.names[probabilities.argmax()]
        shares = browser.run("[...document.querySelectorAll('#bars div')].map(x => x.textContent)")
        assert shares == [f"{model.names[at]}{100 * probabilities[at]:.1f} %"
                          for at in np.argsort(-probabilities)]
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(CONTRAST) >= 4.5
        browser.choose("#file", tmp_path / "text.png")
        browser.wait("at('error').textContent.includes('no picture')")
        browser.said.clear()  # that the server refused it, and that it can't be shown
        model, port = rows
        here = f"http://127.0.0.1:{port}/"
        browser.open(here, width, scheme=scheme)
        browser.wait(READY)
        browser.run(f"at('pasted').value = {row!r}; at('pasted').dispatchEvent(new Event('input'))")
        browser.wait(TOLD)
        assert browser.run("document.querySelector('[name=fare]').value") == str(
            table()["fare"][1])
        assert browser.run("at('answer').textContent") == model.names[
            model.run.predict(table()[1:2])[0].argmax()]
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(CONTRAST) >= 4.5
        assert browser.said == []
    assert all(re.match(r"http://127\.0\.0\.1:|blob:http://127\.0\.0\.1:|data:", address)
               for address in browser.asked), browser.asked


def test_a_score_that_is_no_number_is_left_out(rows):
    model, _ = rows
    run = dataclasses.replace(model.run, metrics={"accuracy": 0.5, "ratio": float("inf")})
    with serving(Model(run)) as port:
        status, _, described = sent(port, b"", "", "/model", "GET")
    assert (status, described["scores"]) == (200, {"accuracy": 0.5})
