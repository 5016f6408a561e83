"""Do the tests notice? Breaks the engine in small ways, one at a time, and runs the tests that
ought to see it: python tests/mutants.py [words that a file or pattern contains].

Each runs in a copy of the working tree, two at once. It ends with status 1 where a mutant survives
that isn't explained, or where a pattern isn't found exactly once: then the code has moved on.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 2
SECONDS = 300


class Mutant(NamedTuple):
    """`was` in `file` becomes `now`; pytest's words name the tests that ought to fail. One that
    `survives` says why no test can tell it."""

    file: str
    was: str
    now: str
    tests: str
    survives: str = ""


MUTANTS = (
    # What a run computes
    Mutant("augmentations/flip", "jnp.where(mirrored_B[", "jnp.where(False & mirrored_B[",
           "test_augment.py"),
    Mutant("augmentations/crop", "0, 2 * padding + 1", "0, 2 * padding", "test_augment.py"),
    Mutant("augmentations/rotation", "[-sine, cosine]", "[sine, cosine]", "test_augment.py"),
    Mutant("augmentations/cutout", "middle_Bx2 - whole // 2", "middle_Bx2", "test_augment.py"),
    Mutant("augmentations/cutmix", "return 1 - box.sides", "return box.sides", "test_augment.py"),
    Mutant("augmentations/mixup", "(valid_B, jax.random", "(valid_B | True, jax.random",
           "test_augment.py"),
    Mutant("augmentations/chain", "chance = jnp.where(alpha > 0, ", "chance = jnp.where(True, ",
           "test_augment.py -mslow -ktwo_ways"),
    Mutant("augmentations/chain", "fold_in(key, OWN)", "fold_in(key, 0)",
           "test_augment.py -mslow -kall_in"),
    Mutant("augmentations/randaugment", "(1 - part) * (LEVELS", "part * (LEVELS",
           "test_augment.py -mslow -kpillow"),
    Mutant("augmentations/views", "append(image_BxHxWxC[:, :, ::-1])",
           "append(image_BxHxWxC[:, ::-1])", "test_views.py"),
    Mutant("augmentations/views", "each.mean(0)", "each[0]", "test_views.py"),
    Mutant("tasks/classification", "targets = jnp.argmax(targets", "targets = jnp.argmin(targets",
           "test_augment.py"),
    Mutant("step", '"augment", state.step', '"augment", 0', "test_augment.py"),
    Mutant("step", '"dropout", state.step', '"dropout", 0', "test_pure.py"),
    Mutant("step", "g / tally.count.astype(g.dtype)", "g", "test_augment.py test_loop.py"),
    Mutant("step", "state.diverged_at < 0", "state.diverged_at < -1", "test_loop.py"),
    Mutant("step", "jnp.where(bad, state.step,", "jnp.where(bad, state.step + 1,", "test_loop.py"),
    Mutant("step", "fold_in(dropout, index)", "fold_in(dropout, 0)", "test_loop.py test_pure.py"),
    Mutant("step", "batch.inputs)\n    return", "batch.inputs) * 2\n    return", "test_loop.py"),
    Mutant("feed", "/ 255.0", "/ 256.0", "test_augment.py"),
    Mutant("feed", 'permutation(keys.stream(key, "shuffle", epoch)',
           'permutation(keys.stream(key, "shuffle", 0)', "test_data.py test_loop.py"),
    Mutant("feed", 'split(keys.stream(key, "shuffle", epoch)',
           'split(keys.stream(key, "shuffle", 0)', "test_weights.py"),
    Mutant("feed", "(rank_N[-1] + 1)", "(rank_N[-1] + 2)", "test_weights.py"),
    Mutant("feed", "drawn_N.shape, first_N, end_N", "drawn_N.shape, first_N, first_N + 1",
           "test_weights.py"),
    Mutant("feed", "slots_B < order_N.shape[0]", "slots_B <= order_N.shape[0]", "test_data.py"),
    Mutant("loop", "state.step // lengths.epoch if", "state.step * 0 if", "test_loop.py"),
    Mutant("loop", "state.step // lengths.epoch if", "(state.step + 1) // lengths.epoch if",
           "test_loop.py test_data.py"),
    Mutant("loop", "order_N[-rest:]", "order_N[:rest]", "test_batch_norm.py"),
    Mutant("loop", "jnp.where(position == 0,", "jnp.where(position < 0,", "test_loop.py"),
    Mutant("keys", "STREAMS.index(name)), step", "STREAMS.index(name)), step * 0", "test_keys.py"),
    Mutant("optim/optimizers", "eps=KERAS_EPSILON, **_given(b1=b1, b2=b2, eps",
           "**_given(b1=b1, b2=b2, eps", "test_optim.py"),
    Mutant("optim/optimizers", "KERAS_EPSILON, **_given(b1=b1, b2=b2,",
           "KERAS_EPSILON, **_given(b2=b2,", "test_optim.py"),
    Mutant("optim/optimizers", "momentum=momentum, nesterov=nesterov)\n\n\ndef rmsprop",
           "momentum=momentum)\n\n\ndef rmsprop", "test_optim.py"),
    Mutant("optim/chain", "course(count + first if first else count)", "course(count + 1)",
           "test_optim.py"),
    Mutant("optim/chain", "p.ndim > 1", "p.ndim > 0", "test_optim.py"),
    Mutant("optim/schedules", "1.0 / (warmup + 1)", "0.0", "test_optim.py"),
    Mutant("optim/chain", "clip = [] if hyper.clip_norm is None", "clip = [] if True",
           "test_optim.py"),
    Mutant("optim/schedules", "count >= ends) if milestones", "count > ends) if milestones",
           "test_course.py -kpytorchs"),
    Mutant("optim/averages", "(1.0 - decay) / past", "1.0 - decay", "test_averages.py -kclosed"),
    Mutant("optim/averages", "updates - durations.average_from",
           "updates + 1 - durations.average_from", "test_averages.py -ktails"),
    Mutant("optim/averages", '{"batch_stats": stats}\n        key', '{}\n        key',
           "test_averages.py -kstatistics"),
    Mutant("optim/patience", "- since) * epoch < patience", "- since) * epoch <= patience",
           "test_course.py -kcounted"),
    Mutant("optim/patience", "watch.since >= patience", "watch.since > patience",
           "test_course.py -kcounted"),
    Mutant("optim/patience", ">= durations.plateau_patience", "> durations.plateau_patience",
           "test_course.py -kplateau"),
    Mutant("step", "state.variables | so_far.kept", "state.variables",
           "test_loop.py -kpytorch"),
    Mutant("tasks/classification", "(1.0 - smoothing) * loss_B + smoothing",
           "(1.0 + smoothing) * loss_B - smoothing", "test_tasks.py"),
    Mutant("tasks/classification", "smoothing / classes", "smoothing", "test_weights.py"),
    Mutant("tasks/classification", "hyper is not None and (focal", "(focal", "test_weights.py"),
    Mutant("tasks/classification", "jnp.maximum(-jnp.expm1(log_p_BxC), LEAST)",
           "-jnp.expm1(log_p_BxC)", "test_weights.py"),
    Mutant("parts/weights", "np.ones(count)", "np.zeros(count)", "test_weights.py"),
    Mutant("optim/chain", "count + first if", "count if", "test_groups.py"),
    Mutant("optim/groups", 'f"{glob}/*"', "glob", "test_groups.py"),
    Mutant("optim/groups", "[_only(starts), *clip]", "[*clip]", "test_groups.py"),
    Mutant("optim/groups", "jnp.full_like(update, -0.0)", "jnp.zeros_like(update)",
           "test_groups.py"),
    Mutant("optim/groups", "now: now >= step", "now: now > step", "test_groups.py"),
    Mutant("optim/groups", "value / rate if", "value if", "test_groups.py"),
    Mutant("doors/network", "fresh if own is None", "fresh if True", "test_transfer.py"),
    Mutant("transfer/begun", "theirs[name].shape == ours[name].shape", "True", "test_transfer.py"),
    Mutant("transfer/source", "leaf(found) != record.leaves[name]", "False",
           "test_transfer.py -mslow -kdamaged"),
    Mutant("transfer/begun", 'before.get("digest") != source.digest', "False",
           "test_transfer.py -mslow -kwithout_it"),
    Mutant("tasks/classification", "(outputs > own_Bx1)", "(outputs >= own_Bx1)", "test_tasks.py"),
    Mutant("tasks/classification", "at[targets, predicted_B]", "at[predicted_B, targets]",
           "test_tasks.py"),
    Mutant("scores/answers", "argsort(-probability_N", "argsort(probability_N",
           "test_tasks.py"),
    Mutant("tasks/regression", "optax.huber_loss(off)", "optax.huber_loss(off, delta=2.0)",
           "test_tasks.py"),
    Mutant("tasks/multilabel", "(~said & there)", "(~said & ~there)", "test_tasks.py"),
    Mutant("task", "jnp.where(mask, values, 0)", "values", "test_tasks.py"),
    Mutant("tasks/classification", "relu(1.0 + jnp.where", "relu(0.9 + jnp.where",
           "test_tasks.py -khinge"),
    Mutant("tasks/classification", "relu(1.0 - sign_BxC", "relu(1.0 + sign_BxC",
           "test_tasks.py -khinge"),
    Mutant("doors/bring", "config.loss or next(iter(own)", "config.loss or (lambda _, x: x)(0",
           "test_tasks.py -ksvm"),
    Mutant("doors/precision", "new.astype(old.dtype) if new.dtype", "new if new.dtype",
           "test_precision.py -kkeeps"),
    Mutant("doors/precision", "_narrowed(inputs), train", "inputs, train",
           "test_precision.py -knarrow"),
    Mutant("doors/precision", "most > EXACT", "most >= EXACT", "test_precision.py -kround"),
    Mutant("doors/network", "isinstance(each, nnx.BatchNorm)", "isinstance(each, nnx.LayerNorm)",
           "test_precision.py -knarrow"),
    Mutant("formulation/patches", "features // x_BxSxC.shape[-1], axis=-1)",
           "features // x_BxSxC.shape[-1], axis=-1)[..., ::-1]",
           "test_formulation.py -kdepthwise"),
    Mutant("formulation/patches", "wide, features = jnp.float32 if half",
           "wide, features = x_BxSxC.dtype if half", "test_formulation.py -kdepthwise"),
    Mutant("formulation/patches", "self.window * self.stride, self.stride", "self.window",
           "test_formulation.py"),
    Mutant("formulation/pooling", "lax.select(b > a,", "lax.select(b >= a,", "test_formulation.py"),
    Mutant("formulation/pooling", "uses[atom] == 1", "uses[atom] >= 1", "test_formulation.py"),
    Mutant("doors/network", '"dropout": key}', '"dropout": jax.random.key(0)}', "test_pure.py"),
    Mutant("doors/network", "jax.random.fold_in(key, at)", "key", "test_network.py"),
    Mutant("doors/bring", "hashlib.sha256(file.read_bytes())", "hashlib.sha256(b'')",
           "test_doors.py test_network.py"),
    # What the host records, saves and tells
    Mutant("training", "rate_at(ready, step - 1,", "rate_at(ready, step,", "test_training.py"),
    Mutant("training", '["val_loss"]) and bool(finite(state))', '["val_loss"])',
           "test_training.py"),
    Mutant("training", "< epoch and bool(finite(state))", "< epoch", "test_training.py"),
    Mutant("training", "if due and position < epoch", "if False and position < epoch",
           "test_training.py"),
    Mutant("run", "mesh.put(state, where), seconds", "mesh.put(state, where), 0.0",
           "test_training.py"),
    Mutant("data", 'and "test" not in trained', 'and "test" in trained',
           "test_splits.py test_data.py test_training.py"),
    Mutant("data", "train._replace(rows=train.rows[out])",
           "train._replace(rows=train.rows[~out])", "test_data.py test_splits.py"),
    Mutant("parts/splits", "order[share.number - 1 :: share.count]",
           "order[: len(order) // share.count]", "test_splits.py test_data.py"),
    Mutant("trained", "inputs.dtype == np.uint8) != (", "inputs.dtype == np.uint8) == (",
           "test_doors.py test_training.py"),
    Mutant("store/digests", "sha256(data)", "sha256(b'')", "test_checkpoint.py"),
    Mutant("store/digests", 'if step != leaf(', 'if False and step != leaf(', "test_checkpoint.py"),
    Mutant("store/checkpoint", "c.step == best", "c.step != best", "test_checkpoint.py"),
    Mutant("store/checkpoint", "max(self._manager.all_steps(),", "min(self._manager.all_steps(),",
           "test_checkpoint.py test_training.py"),
    Mutant("store/checkpoint", "KEPT + 1 -", "KEPT -", "test_checkpoint.py"),
    Mutant("store/files", "flags | os.O_NOFOLLOW", "flags", "test_folder.py"),
    Mutant("store/files", "| os.O_NONBLOCK", "", "test_folder.py"),
    Mutant("store/files", "MOST_BYTES + 1)", "MOST_BYTES)", "test_folder.py"),
    Mutant("store/folder", "    refuse_links(path)\n", "", "test_folder.py"),
    Mutant("store/record", "(*GONE, *ADDRESS)", "GONE", "test_folder.py"),
    Mutant("store/record", "if before.get(name) != found:", "if False:", "test_doors.py"),
    # Trees
    Mutant("learners/boosting", '{"seed": seed + number}', '{"seed": seed}', "test_trees.py"),
    Mutant("learners/boosting", "xgb_model=previous", "xgb_model=None", "test_trees.py"),
    Mutant("store/digests", "length in (-1, saved)", "True", "test_trees.py"),
    Mutant("report/importance", "inputs[order_N][:, features]", "inputs_NxF[order_N][:, features]",
           "test_importances.py"),
    # What is asked, settled and brought
    Mutant("checks", "least <= value < 2**bits", "least < value < 2**bits", "test_config.py"),
    Mutant("errors", "c.isprintable() or c in kept", "True", "test_security.py"),
    Mutant("setup", "config.seed if config.order_seed < 0 else config.order_seed", "config.seed",
           "test_training.py test_sweep.py test_pure.py"),
    Mutant("doors/fitting", "if found != (batch, num_outputs):", "if False:", "test_doors.py"),
    Mutant("formulation/rewriting", "kept or fate", "fate", "test_formulation.py"),
    Mutant("command/flags", "if values[n].present}", "}", "test_config.py"),
    Mutant("command/printing", "visible(name, \"\"), *_fields", "name, *_fields",
           "test_security.py test_predict.py"),
    # Sources and caches
    Mutant("sources/image", "max(picture.size) > MOST_SIDE", "False", "test_security.py"),
    Mutant("sources/cache", "if found.seal != described", "if not described",
           "test_sources.py test_fuzz.py"),
    Mutant("sources/dataset", "if count > most:", "if count > most + 1:",
           "test_sources.py -kmemory_cannot_hold"),
    Mutant("sources/digits", "random_state=0", "random_state=1", "test_sources.py"),
    Mutant("sources/target", "label: -every[label]", "label: every[label]",
           "test_table_columns.py"),
    Mutant("sources/target", "reversed(names)", "names", "test_table_columns.py"),
    Mutant("sources/frames", "sorted(columns.columns)", "columns.columns", "test_table_columns.py"),
    Mutant("sources/stored_table", "place[start:stop][part]", "place[part]",
           "test_stream_table.py"),
    Mutant("sources/sheet", "for name in wanted}", "for name in list(sheet.columns)}",
           "test_table_columns.py"),
    Mutant("sources/sheet", "else kinds(sheet, (*apart, *extra))", "else wanted",
           "test_stream_table.py"),
    Mutant("sources/pixels", "[content(_shaped(values_NxP, self.dtype))", "[content(values_NxP)",
           "test_stream_pixels.py"),
    Mutant("sources/pixels", "key=lambda name: [int(n)", "key=lambda name: [str(n)",
           "test_table.py"),
    Mutant("sources/delimited", 'dialect._replace(encoding="cp1252")', "dialect",
           "test_table_columns.py"),
    Mutant("sources/image", "in _TURNS and picture.format", "in () and picture.format",
           "test_image.py"),
    Mutant("sources/image", "+ 128) // 257", "+ 0) // 257", "test_image.py"),
    Mutant("sources/image_folder", "    files.check_unchanged()\n", "", "test_image_folder.py"),
    Mutant("sources/labels", "members[name][1:] == row[1:]", "True", "test_labels.py"),
    Mutant("sources/layout", "label if slash else", "label if label else", "test_layout.py"),
    Mutant("sources/listing", "numbers[called[label]] for", "0 for", "test_image_folder.py"),
    Mutant("sources/prepare", "os.path.samestat(", "bool(path.stat()) or (", "test_prepare.py"),
    Mutant("sources/tree", "_mixed(name.removeprefix(inside)), name", "name",
           "test_image_folder.py"),
    Mutant("sources/download", "if sha256 == archive.sha256:", "if True:",
           "test_prepare.py test_security.py"),
    Mutant("sources/builders", "transpose(1, 2, 0)", "transpose(2, 1, 0)", "test_prepare.py"),
    Mutant("sources/tfds", "named.extend(value for", "list(value for", "test_security.py"),
    Mutant("sources/values", "if not 2 <= len(shape) <= 5", "if not 1 <= len(shape) <= 5",
           "test_arrays_refused.py"),
    Mutant("store/caches", "0 if each_their_own else", "0 if True else", "test_security.py"),
    Mutant("store/caches", "entry.unlink(missing_ok=True)", "pass", "test_security.py"),
    # Devices, jobs and programs
    Mutant("devices/doctor", "computed = all(", "computed = any(", "test_doctor.py"),
    Mutant("devices/probe", "device.platform, TOLERANCE_ACCELERATOR)", "device.platform, 1e9)",
           "test_doctor.py"),
    Mutant("devices/probe", "if not error <= limit:", "if False:", "test_doctor.py"),
    Mutant("devices/probe", "if output.devices() != {device}:", "if False:", "test_doctor.py"),
    Mutant("devices/diagnosis", '.split(".")[0]) < oldest', '.split(".")[0]) <= oldest',
           "test_devices.py test_nvidia.py"),
    Mutant("devices/mesh", "max(even, key=", "min(even, key=", "test_mesh.py test_plan.py"),
    Mutant("job/processes", "int(count) > 1", "int(count) > 0", "test_config.py test_devices.py"),
    Mutant("job/signals", "if self.status:", "if False:", "test_signals.py"),
    Mutant("programs/memory", " - self.alias", "", "test_memory.py"),
    Mutant("programs/program", "donate_argnames=donate", "donate_argnames=()", "test_program.py"),
    Mutant("programs/profile", "(while|call|", "(call|", "test_profile.py"),
    Mutant("plan/plan", 'devices if kind == "reduce-scatter" else 1', "1", "test_plan.py"),
    Mutant("segments", "round(steps * SECONDS", "round(SECONDS", "test_pace.py test_training.py"),
    # Sweeps
    Mutant("sweep/judge", "which[to.at] = source.at", "which[to.at] = to.at", "test_sweep.py"),
    Mutant("sweep/judge", "count = math.ceil(count / search", "count = count // (search",
           "test_space.py test_results.py test_sweep.py"),
    Mutant("sweep/judge", "rate_at(ready, step - 1,", "rate_at(ready, step,", "test_sweep.py"),
    Mutant("sweep/space", "low * (high / low) ** share if log", "low + (high - low) * share if log",
           "test_space.py"),
    Mutant("sweep/ranking", '"max" if score.higher', '"min" if score.higher',
           "test_results.py test_sweep_report.py"),
    Mutant("sweep/ranking", "[True, not score.higher]", "[True, score.higher]",
           "test_results.py test_sweep_report.py"),
    Mutant("sweep/lr_find", "isfinite(losses), losses, start)", "isfinite(losses), losses, 0)",
           "test_lr_find.py"),
    Mutant("sweep/group", "(fold.train.rows, fold.validation.rows)",
           "(fold.train.rows, fold.train.rows)", "test_sweep.py -mslow -kheld_out"),
    Mutant("sweep/population", "rows[0] if rows.shape[0] == 1 else rows[fold]", "rows[0]",
           "test_population.py -mslow -kfolds_train"),
    Mutant("sweep/events", ' and row["event"] != REFUSED', "", "test_events.py"),
    # Scores
    Mutant("scores/bootstrap", "rng.permutation(count) % UNITS",
           "np.arange(count) * UNITS // count", "test_scores.py"),
    Mutant("scores/bootstrap", "50 * (1 - LEVEL)", "100 * (1 - LEVEL)", "test_scores.py"),
    Mutant("scores/calibration", "np.ceil(confidence_N * bins)", "np.floor(confidence_N * bins)",
           "test_scores.py test_tasks.py"),
    Mutant("scores/classes", "met, there = (true_RxC + said_RxC) > 0,",
           "met, there = true_RxC > 0,", "test_scores.py"),
    Mutant("scores/classes", "(1 - true_R) * (1 - said_R)", "(1 - true_R) ** 2", "test_scores.py"),
    Mutant("scores/values", "squared - np.square(off)", "squared", "test_scores.py"),
    Mutant("scores/threshold", "(recall - alarms)[:0:-1]", "(recall - alarms)[:0:-1] * 0",
           "test_scores.py"),
    Mutant("scores/threshold", "/ np.float32(2)", "/ np.float32(3)", "test_scores.py"),
    Mutant("tasks/classification", "predicted[:, 1] >= self",
           "predicted[:, 0] >= self", "test_scores.py"),
    # The report
    Mutant("report/page", "autoescape=True", "autoescape=False", "test_security.py"),
    Mutant("report/pictures", "imshow(shares_CxC,", "imshow(shares_CxC.T,", "test_report.py"),
    Mutant("report/pictures", "panel.text(column, row, str", "panel.text(row, column, str",
           "test_report.py"),
    Mutant("report/pictures", "vmin=0, vmax=1)", "vmin=0, vmax=1, origin='lower')",
           "test_report.py"),
)


def _place(file: str, tree: Path) -> Path:
    return tree / ("" if file.startswith("models/") else "engine") / f"{file}.py"


def _copy(tree: Path) -> Path:
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def tried(mutant: Mutant, tree: Path) -> str:
    """"killed", "survived", or why it can't be told."""
    file = _place(mutant.file, tree)
    text = file.read_text()
    if (found := text.count(mutant.was)) != 1:
        return f"its pattern is there {found} times"
    file.write_text(text.replace(mutant.was, mutant.now))
    tests = [word if word.startswith("-") else f"tests/{word}" for word in mutant.tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True,
                              errors="replace", timeout=SECONDS)
        return {0: "survived", 1: "killed"}.get(done.returncode, done.stdout[-300:])
    except subprocess.TimeoutExpired:
        return "killed"  # by hanging, which no suite would let pass
    finally:
        file.write_text(text)


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if all(re.search(word, f"{m.file} {m.was}") for word in words)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            trees.put(_copy(Path(folder) / str(number)))

        def one(mutant: Mutant) -> str:
            tree, began = trees.get(), time.monotonic()
            try:
                found = tried(mutant, tree)
            finally:
                trees.put(tree)
            told = f"{found}, as {mutant.survives}" if found == "survived" and mutant.survives \
                else found
            print(f"{told:9} {time.monotonic() - began:4.0f} s  {mutant.file}: "
                  f"{' '.join(mutant.was.split())}", flush=True)
            return found

        found = list(pool.map(one, chosen))
    killed = found.count("killed")
    explained = sum(what == "survived" and bool(m.survives)
                    for m, what in zip(chosen, found, strict=True))
    bad = len(chosen) - killed - explained
    print(f"{len(chosen)} mutants: {killed} killed, {explained} explained, {bad} not noticed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
