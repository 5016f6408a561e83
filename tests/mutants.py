"""Do the tests notice? Breaks the engine in small ways, one at a time, and runs the tests that
ought to see it: python tests/mutants.py [words that a file or pattern contains].

Each runs in a copy of the working tree, two at once, forked from a process that has imported what
isn't flaxmill's. It ends with status 1 where a mutant survives that isn't explained, or where it
can't be told: as its tests were skipped (some need PyTorch, or the extras), or fail without it too.
`--except FILE` leaves out what a run's lines, kept in FILE, say was killed or explained. No pattern
may be found more or less than once, as where the code has moved on: nothing is run then, and
test_house.py fails.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300
# What the tests import besides: half of what most of them cost.
IMPORTED = ("pytest", "hypothesis", "xdist.plugin", "anyio.pytest_plugin", "jax", "flax.linen",
            "flax.nnx", "optax", "orbax.checkpoint", "dm_pix", "pandas", "pyarrow.parquet",
            "scipy.stats", "sklearn.metrics", "sklearn.model_selection", "sklearn.datasets",
            "matplotlib.backends.backend_agg", "rich.console", "PIL.Image", "tensorflow_datasets")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false",
              "JAX_PLATFORMS": "cpu"}


class Mutant(NamedTuple):
    """`was` in `file` becomes `now`; pytest's words name the tests that ought to fail. One that
    `survives` says why no test can tell it."""

    file: str
    was: str
    now: str
    tests: str
    survives: str = ""

    @property
    def place(self) -> Path:
        """Of its file, from the root."""
        file = self.file if Path(self.file).suffix else f"{self.file}.py"
        own = file.startswith(("models/", "deploy/", "launch"))
        return Path(file) if own else Path("engine", file)

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.was.split())} -> {' '.join(self.now.split())}"


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
    Mutant("step", '"augment", state.step', '"augment", 0', "test_augment.py -kdown_the_mean"),
    Mutant("step", '"dropout", state.step', '"dropout", 0', "test_pure.py -kmasks_differ"),
    Mutant("step", "g / jnp.maximum(tally.count, 1).astype(g.dtype)", "g",
           "test_augment.py -kdown_the_mean"),
    Mutant("step", "state.diverged_at < 0", "state.diverged_at < -1",
           "test_loop.py -kfirst_non_finite"),
    Mutant("step", "jnp.where(bad, state.step,", "jnp.where(bad, state.step + 1,",
           "test_loop.py -kfirst_non_finite"),
    Mutant("step", "fold_in(dropout, index)", "fold_in(dropout, 0)",
           "test_pure.py -kby_microbatch"),
    Mutant("step", "task.judge(outputs,", "task.judge(2 * outputs,",
           "test_loop.py -kcounts_every"),
    Mutant("doors/coupled", "if any(end % MANY for end in ends)", "if False",
           "test_coupled.py -kmix_the"),
    Mutant("doors/coupled", "any(map(_mixes, jaxprs_in_params(eqn.params)))", "False",
           "test_coupled.py -kmix_the"),
    Mutant("doors/coupled", "(given, swapped)[turn % 2]", "given", "test_coupled.py -krefused"),
    Mutant("doors/coupled", "task.loss(outputs, targets, hyper)",
           "task.loss(outputs, targets, None)", "test_coupled.py -krefused"),
    Mutant("scores/ranked", "and vars(self) == vars(other)", "", "test_ranked.py -kother_values"),
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
    Mutant("optim/schedules", "jax.device_get(hyper), step)", "jax.device_get(hyper), step + 1)",
           "test_course.py -kmultiple"),
    Mutant("optim/schedules", "count >= ends) if milestones", "count > ends) if milestones",
           "test_course.py -kpytorchs"),
    Mutant("optim/averages", "(1.0 - decay) / past", "1.0 - decay", "test_averages.py -kclosed"),
    Mutant("optim/averages", "updates - durations.average_from",
           "updates + 1 - durations.average_from", "test_averages.py -ktails"),
    Mutant("optim/averages", '= model | {"batch_stats": stats}', "= model",
           "test_averages.py -kstatistics"),
    Mutant("optim/patience", "- since) * epoch < patience", "- since) * epoch <= patience",
           "test_course.py -kcounted"),
    Mutant("optim/patience", "watch.since >= patience", "watch.since > patience",
           "test_course.py -kcounted"),
    Mutant("optim/patience", ">= lengths.plateau_patience", "> lengths.plateau_patience",
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
    Mutant("optim/groups", "keys.get(key, key): own", "key: own", "test_groups.py -kwent_by"),
    Mutant("optim/groups", "_keys(begin.values())", "first", "test_groups.py -kwhatever"),
    Mutant("optim/groups", "value / rate if", "value if", "test_groups.py"),
    Mutant("doors/network", "fresh if own is None", "fresh if True", "test_transfer.py"),
    Mutant("transfer/begun", "theirs[name].shape == ours[name].shape", "True", "test_transfer.py"),
    Mutant("transfer/source", "leaf(found) != record.leaves[name]", "False",
           "test_transfer.py -mslow -kdamaged"),
    Mutant("transfer/begun", 'before.get("digest") != source.digest', "False",
           "test_transfer.py -mslow -kwithout_it"),
    Mutant("scores/classes", "(probability_NxC >= own_N", "(probability_NxC > own_N",
           "test_tasks.py -klikeliest"),
    Mutant("tasks/classification", "confusion(judged.targets, said_N",
           "confusion(said_N, judged.targets",
           "test_tasks.py"),
    Mutant("scores/answers", "argsort(-probability_N", "argsort(probability_N",
           "test_tasks.py"),
    Mutant("tasks/regression", "optax.huber_loss(off)", "optax.huber_loss(off, delta=2.0)",
           "test_tasks.py"),
    Mutant("tasks/multilabel", "(~said & there)", "(~said & ~there)", "test_tasks.py"),
    Mutant("task", "jnp.where(mask, values, 0)", "values", "test_tasks.py"),
    Mutant("tasks/classification", "relu(1.0 + others_BxC", "relu(0.9 + others_BxC",
           "test_tasks.py -khinge"),
    Mutant("tasks/classification", "relu(1.0 - sign_BxC", "relu(1.0 + sign_BxC",
           "test_tasks.py -khinge"),
    Mutant("doors/bring", "config.loss or next(iter(own)", "config.loss or (lambda _, x: x)(0",
           "test_tasks.py -ksvm"),
    Mutant("doors/precision", "new.astype(old.dtype) if new.dtype", "new if new.dtype",
           "test_precision.py -kkeeps"),
    Mutant("doors/precision", "params, inputs = _cast(", "params, _ = _cast(",
           "test_precision.py -knarrow"),
    Mutant("doors/precision", "most > EXACT", "most >= EXACT", "test_precision.py -kround"),
    Mutant("doors/nnx", "isinstance(each, nnx.BatchNorm)", "isinstance(each, nnx.LayerNorm)",
           "test_precision.py -knarrow"),
    Mutant("formulation/patches", "features // x_BxSxC.shape[-1], axis=-1)",
           "features // x_BxSxC.shape[-1], axis=-1)[..., ::-1]",
           "test_formulation.py -kdepthwise"),
    Mutant("formulation/patches", "wide, features = jnp.float32 if half",
           "wide, features = x_BxSxC.dtype if half", "test_formulation.py -kdepthwise"),
    Mutant("formulation/patches", "self.window * self.stride, self.stride", "self.window",
           "test_formulation.py"),
    # A step as a GPU wants it
    Mutant("loop", "update(first + n, state)", "update(n, state)", "test_loop.py -kplain_one"),
    Mutant("loop", "update(whole + n, state)", "update(n, state)", "test_loop.py -kplain_one"),
    Mutant("formulation/size", "if patches <= MOST:", "if patches < 0:", "test_gpu.py"),
    Mutant("formulation/gathered", "MOST_PARTS = 31", "MOST_PARTS = 32", "test_few_kernels.py"),
    Mutant("formulation/gathered", 'mode="fill", fill_value=0', 'mode="clip"',
           "test_few_kernels.py -kgathered"),
    Mutant("formulation/packing", "_replace(step=first + number)", "_replace(step=first)",
           "test_few_kernels.py -ksegment"),
    Mutant("programs/graphs", 'if ready.device.platform != "gpu":', "if False:", "test_gpu.py"),
    Mutant("plan/kernels", " or instruction[3] in NOT_LAUNCHED", "", "test_few_kernels.py -kread"),
    # Repeats
    Mutant("sources/pictures", "> MOST_COMPARED:", "> 2 * MOST_COMPARED:", "test_repeats.py"),
    Mutant("sources/stored", "[hashed[rows] for hashed, rows in found]",
           "[hashed for hashed, rows in found]", "test_repeats.py"),
    Mutant("sources/records", 'content_of(record["image"])', "row", "test_sources.py -khashes"),
    Mutant("sources/frames", "(total ^ hashes) * _MIXED", "hashes * _MIXED",
           "test_repeats.py test_table.py"),
    Mutant("formulation/pooling", "lax.select(b > a,", "lax.select(b >= a,", "test_formulation.py"),
    Mutant("formulation/pooling", "uses[atom] == 1", "uses[atom] >= 1", "test_formulation.py"),
    Mutant("doors/network", 'dict.fromkeys(("params", "dropout"), key)',
           'dict.fromkeys(("params", "dropout"), jax.random.key(0))', "test_pure.py"),
    Mutant("doors/network", "if names <= rngs.keys():", "if True:", "test_network.py"),
    Mutant("doors/network", "zlib.crc32(name.encode())", "7", "test_network.py"),
    Mutant("step", "scaled(inputs), False, None, valid_B)", "scaled(inputs), False)",
           "test_outputs.py"),
    Mutant("doors/fitting", "jnp.issubdtype(loss.dtype, jnp.floating)", "True", "test_outputs.py"),
    Mutant("doors/fitting", "zip(cases, both, targets, strict=True)",
           "zip(cases, both[::-1], targets, strict=True)", "test_outputs.py"),
    Mutant("doors/nnx", "jax.random.fold_in(key, at)", "key", "test_network.py"),
    Mutant("doors/bring", "hashlib.sha256(file.read_bytes())", "hashlib.sha256(b'')",
           "test_doors.py test_network.py"),
    Mutant("augmentations/colour", "0.299, 0.587, 0.114", "0.114, 0.587, 0.299", "test_augment.py"),
    Mutant("augmentations/colour", "grey(images).mean((1, 2), keepdims=True)",
           "grey(images).mean((0, 1, 2), keepdims=True)", "test_augment.py"),
    Mutant("augmentations/erasing", "& fits_BxT.any(1)", "", "test_augment.py -mslow -kerased"),
    Mutant("augmentations/erasing", "size - sides_Bx2 + 1", "size - sides_Bx2",
           "test_augment.py -mslow -kerased"),
    Mutant("augmentations/warp", "a * down_Hx1 + b * right_1xW", "a * down_Hx1 + c * right_1xW",
           "test_augment.py -krotation"),
    Mutant("augmentations/suited", "if low < 0 or high > 1:", "if high > 1:",
           "test_augment.py -kcolours_are"),
    Mutant("models/cnn", 'Conv(64, name="ConvReLU_2")(x))',
           'Conv(64, name="ConvReLU_2", padding="SAME")(x))', "test_models.py -kindependent_one"),
    Mutant("models/convnext", "self.drop_path * number / last", "self.drop_path * stage / last",
           "test_models.py -kgrows"),
    Mutant("models/linear", "kernel_init=nn.initializers.zeros", "kernel_init=nn.initializers.ones",
           "test_models.py -klinear"),
    Mutant("models/mlp", "deterministic=not train", "deterministic=train", "test_models.py -kmlp"),
    Mutant("models/resnet20", "x_BxHxWxC[:, :: self.stride, :: self.stride]",
           "x_BxHxWxC[:, self.stride - 1 :: self.stride, :: self.stride]",
           "test_models.py -kresnet20"),
    Mutant("models/soft_tree", "maximum(1 - spread, 0) / count)", "maximum(1 - spread, 0)) / count",
           "test_soft_tree.py -kentmax"),
    Mutant("models/vit", "query.shape[-1] ** 0.5", "query.shape[-1]",
           "test_models.py -kattention"),
    Mutant("optim/course", "float(value) >= config.epochs", "float(value) > config.epochs",
           "test_course.py"),
    Mutant("optim/lengths", "round(value * epoch)", "int(value * epoch)",
           "test_course.py -kduration"),
    Mutant("pure", "order = key if order is None else order", "order = key",
           "test_pure.py -ka_key_of"),
    Mutant("errors", "count > 1]", "count > 2]", "test_transfer.py -kmap"),
    Mutant("transfer/source", 'found[1][0] == "average"', 'found[1][0] != "average"',
           "test_transfer.py -mslow -kaveraged"),
    Mutant("learners/gradient", "train, key, valid)", "train, key)",
           "test_network.py -khanded"),
    Mutant("learners/chosen", "type(task) is Regression", "isinstance(task, Regression)",
           "test_tasks.py -ksubclass"),
    Mutant("augmentations/box", "(pixel >= first)", "(pixel > first)",
           "test_augment.py -knumpy_makes"),
    Mutant("learners/learner", "or len(history) == self.config.epochs:", "or False:",
           "test_course.py -kat_its_end"),
    Mutant("state", "return self.variables | self.average", "return self.variables",
           "test_averages.py"),
    # What the host records, saves and tells
    Mutant("training", "hyper, step - 1)", "hyper, step)", "test_training.py"),
    Mutant("training", '["val_loss"]) and bool(finite(state))', '["val_loss"])',
           "test_training.py"),
    Mutant("training", "< epoch and bool(finite(state))", "< epoch", "test_training.py"),
    Mutant("training", "if save and position < epoch", "if False and position < epoch",
           "test_training.py"),
    Mutant("training", "position and int(state.step) > self.checkpoints.latest()", "position",
           "test_training.py -kfeed"),
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
    Mutant("store/manager", "c.step == best", "c.step != best", "test_checkpoint.py"),
    Mutant("store/checkpoint", "max((*self._manager.steps(), *self._held), key=",
           "min((*self._manager.steps(), *self._held), key=",
           "test_checkpoint.py test_training.py"),
    Mutant("store/checkpoint", "if at not in (best, step)]", "if at != step]",
           "test_checkpoint.py -kheld"),
    Mutant("store/checkpoint", "        if now:\n", "        if True:\n",
           "test_checkpoint.py -kheld"),
    Mutant("store/checkpoint", "jax.process_count() == 1:", "False:", "test_checkpoint.py -kheld"),
    Mutant("segments", "min(APART, place.save_seconds) if whole", "0 if whole",
           "test_training.py -kshort_epochs"),
    Mutant("segments", "min(APART, place.save_seconds) if", "APART if",
           "test_training.py -kshort_epochs"),
    Mutant("store/checkpoint", "KEPT + 1 -", "KEPT -", "test_checkpoint.py"),
    Mutant("store/checkpoint", "sum(path.name", "sum(not path.name", "test_checkpoint.py"),
    Mutant("scores/ranked", "name in more)", "True)", "test_ranked.py"),
    Mutant("scores/ranked", 'object.__setattr__(self, "score", name)', "pass", "test_ranked.py"),
    Mutant("scores/counts", "both > 0)", "of.there > 0)", "test_ranked.py -kclasses"),
    Mutant("scores/counts", "of.there > 0)", "of.there >= 0)", "test_ranked.py -kclasses"),
    Mutant("scores/counts", "jnp.where(single, 1, spread)", "spread", "test_ranked.py -kclasses"),
    Mutant("command/comparison", 'task.score == "loss":', "False:",
           "test_comparison.py -knot_comp"),
    Mutant("scores/ranked", "f\"loss {next(losses, '')}\".rstrip()", '"loss"',
           "test_comparison.py -knot_comp"),
    Mutant("sweep/group", "if len(losses) > 1:", "if False:", "test_sweep_python.py -kbe_swept"),
    Mutant("doors/bring", "return made.ranked(config.rank_by)", "return made", "test_ranked.py"),
    Mutant("parts/weights", "if len(found) != len(classes):", "if False:",
           "test_weights.py -kcant_be_meant"),
    Mutant("stream/choice", 'if workers and getattr(', 'if False and getattr(',
           "faults/test_streamed.py -mslow -kscript"),
    Mutant("native/choice", "shapes) < 2:", "shapes) < 1:", "test_gpu.py"),
    Mutant("native/choice", "min(shape[:3]) > 2", "min(shape[:3]) > 0", "test_gpu.py"),
    Mutant("store/files", "flags | os.O_NOFOLLOW", "flags", "test_folder.py"),
    Mutant("store/files", "| os.O_NONBLOCK", "", "test_folder.py"),
    Mutant("store/files", "MOST_BYTES + 1)", "MOST_BYTES)", "test_folder.py"),
    Mutant("store/folder", "    refuse_links(path)\n", "", "test_folder.py"),
    Mutant("store/record", "(*GONE, *ADDRESS)", "GONE", "test_folder.py"),
    Mutant("store/record", "if before.get(name) != found:", "if False:", "test_doors.py"),
    Mutant("evaluation", "inputs[np.asarray(subset.rows)[which]]", "inputs[which]",
           "test_stream.py -kin_chunks_as_in_one"),
    Mutant("parts/inventory", "np.isin(validation, seen)", "np.isin(seen, validation)",
           "test_splits.py -kinventory"),
    Mutant("parts/other", "numbers.get(classes[name], -1)", "numbers.get(classes[name], 0)",
           "test_predict.py -kanother_set_is"),
    Mutant("parts/other", "[theirs.index(name) for name in ours]",
           "[ours.index(name) for name in ours]", "test_predict.py -kfound_by_their"),
    Mutant("parts/reading", "np.full(count, np.nan)]", "np.zeros(count)]",
           "test_splits.py -klabel"),
    Mutant("parts/weights", "[float(found[name]) for name in classes]",
           "[float(found[name]) for name in found]", "test_weights.py -kfile"),
    Mutant("parts/splits", "round(count * value / 100)", "int(count * value / 100)",
           "test_splits.py test_data.py -kslice"),
    Mutant("parts/splits", "least_C = (counts_C > 1)", "least_C = (counts_C > 0)",
           "test_splits.py -kshare"),
    # Trees
    Mutant("learners/boosting", '{"seed": seed + number}', '{"seed": seed}', "test_trees.py"),
    Mutant("learners/boosting", "xgb_model=booster and booster.save_raw", "xgb_model=None and int",
           "test_trees.py"),
    Mutant("store/digests", "length in (-1, saved)", "True", "test_trees.py"),
    Mutant("report/importance", "inputs[order_N][:, features]", "inputs_NxF[order_N][:, features]",
           "test_importances.py"),
    Mutant("learners/boosting", "weight=weights)", "weight=None)", "test_trees.py -kclass_weights"),
    Mutant("learners/boosting", "id(subset.split.inputs), id(subset.rows)",
           "id(subset.split.inputs), 0", "test_trees.py -kclass_weights"),
    Mutant("learners/boosting", 'own["learning_rate"] = 1.0', 'own["learning_rate"] = 0.3',
           "test_trees.py -kforest"),
    Mutant("learners/trees", "if value % 1:", "if False:", "test_trees.py -kother_values"),
    # What is asked, settled and brought
    Mutant("checks", "least <= value < 2**bits", "least < value < 2**bits", "test_config.py"),
    Mutant("errors", "c.isprintable() or c in kept", "True", "test_security.py"),
    Mutant("setup", "config.seed if config.order_seed < 0 else config.order_seed", "config.seed",
           "test_training.py test_sweep.py test_pure.py"),
    Mutant("doors/fitting", "if found != (batch, num_outputs) and not", "if False and not",
           "test_doors.py"),
    Mutant("formulation/rewriting", "kept or fate", "fate", "test_formulation.py"),
    Mutant("command/flags", "if values[n].present}", "}", "test_config.py"),
    Mutant("command/printing", "visible(name, \"\"), *_fields", "name, *_fields",
           "test_security.py test_predict.py"),
    Mutant("config", "least=-1, traced=False)", "least=-1)", "test_pure.py -kenters_no_program"),
    Mutant("command/output", 'unicodedata.normalize("NFKC", text[:1])', "text[:1]",
           "test_predict_table.py -kformula"),
    Mutant("command/rows", "at = first + start", "at = start", "test_predict_table.py"),
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
    Mutant("sources/target", "_TRUTHS.get(one.casefold(), one)", "{}.get(one, one)",
           "test_table_targets.py -keach"),
    Mutant("sources/target", "(asked,) if asked in names else ", "", "test_table_targets.py"),
    Mutant("sources/dialect", "for name in asked):\n        return False", "for name in [target]):"
           "\n        return False", "test_table_targets.py -kcomma"),
    Mutant("parts/reading", 'kind == "labels" and not values.are_labels(first)', "False",
           "test_table_targets.py"),
    Mutant("sources/labels", "row.labels[at] for", "row.labels[0] for", "test_labels.py"),
    Mutant("trained", "np.count_nonzero(~np.isfinite(made))", "0", "test_python.py -kbfloat16"),
    Mutant("sources/frames", "sorted(columns.columns)", "columns.columns", "test_table_columns.py"),
    Mutant("sources/stored_table", "place[start:stop][part]", "place[part]",
           "test_stream_table.py"),
    Mutant("sources/sheet", "for name in wanted}", "for name in list(sheet.columns)}",
           "test_table_columns.py"),
    Mutant("sources/pixels", "[content(_shaped(values_NxP, self.dtype))", "[content(values_NxP)",
           "test_stream_pixels.py"),
    Mutant("sources/pixels", "key=lambda name: [int(n)", "key=lambda name: [str(n)",
           "test_table.py"),
    Mutant("sources/arrow_file", 'pa.OSFile(f"/dev/fd/{file.fileno()}")', "pa.PythonFile(file)",
           "test_table_refused.py -mslow -kthat_refuse"),
    Mutant("sources/delimited", 'dialect._replace(encoding=WINDOWS)', "dialect",
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
    Mutant("sources/values", "(not 2 <= len(shape) <= 5", "(not 1 <= len(shape) <= 5",
           "test_arrays_refused.py"),
    Mutant("store/caches", "0 if each_their_own else", "0 if True else", "test_security.py"),
    Mutant("store/caches", "entry.unlink(missing_ok=True)", "pass", "test_security.py"),
    # Positions, whole numbers, several inputs
    Mutant("tasks/positions", "jnp.where(targets < 0, 0, loss.reshape",
           "jnp.where(False, 0, loss.reshape", "test_positions.py"),
    Mutant("tasks/positions", "valid_B, (*range(1, targets.ndim),)) & (targets >= 0)",
           "valid_B, (*range(1, targets.ndim),)) & (targets > -9)", "test_positions.py"),
    Mutant("tasks/positions", "tally.said + tally.there - tally.hits", "tally.said + tally.there",
           "test_positions.py"),
    Mutant("tasks/positions", "jnp.float32((union > 0).sum())", "len(union)", "test_positions.py"),
    Mutant("augmentations/chain", "targets[..., None] + 1, drawn, padding)[..., 0] - 1",
           "targets[..., None], drawn, padding)[..., 0]", "test_positions.py -kflips"),
    Mutant("augmentations/chain", "flip.apply(targets[..., None], drawn)[..., 0]", "targets",
           "test_positions.py -kflips"),
    Mutant("data", "(flat == UNLABELLED).all(axis=1)", "(flat == UNLABELLED).any(axis=1)",
           "test_positions.py"),
    Mutant("parts/other", "[*own, -1], np.int32", "[*own, 0], np.int32",
           "test_positions.py -kjudged_by_names"),
    Mutant("parts/weights", "targets[targets >= 0]", "np.maximum(targets, 0)",
           "test_positions.py -kbalanced"),
    Mutant("sweep/ensembles", 'first.dtype.kind in "bui"', "False",
           "test_positions.py -kprobabilities"),
    Mutant("optim/patience", "score in task.gains or ", "", "test_positions.py -kgains"),
    Mutant("doors/handed", "if not (of_floats := _fault(network, shape, jnp.float32)):",
           "if not (of_floats := 'a fault'):", "test_handed.py"),
    Mutant("doors/handed", "if not isinstance(unwrapped(network), Linen):", "if False:",
           "test_handed.py"),
    Mutant("doors/handed", "if (found := looked[looked != np.floor(looked)]).size:", "if False:",
           "test_handed.py -kfractions"),
    Mutant("doors/handed", "self.embeds(inputs) == whole", "self.embeds(inputs) or not whole",
           "test_handed.py -kbf16"),
    Mutant("doors/nnx", "return cls(graph, state, found.hexdigest())",
           "return cls(graph, state, '')", "test_network.py -kchanged_in_place"),
    Mutant("doors/handed", 'not getattr(inputs, "whole", True)', "False",
           "test_handed.py -kfractions"),
    Mutant("doors/handed", "raise _Neither(of_floats != of_codes)", "return False",
           "test_handed.py -kanother_fault"),
    Mutant("augmentations/suited", "of_codes and has_codes(", "False and has_codes(",
           "test_bundle.py -kaugmentation"),
    Mutant("doors/fitting", "if task.score in task.gains and not task.higher:", "if False:",
           "test_positions.py -kgains"),
    Mutant("sources/bundle", "packed[:, place] /= 255", "pass", "test_bundle.py"),
    Mutant("sources/bundle", '"int32" if field.whole else inputs.dtype', "inputs.dtype",
           "test_bundle.py"),
    Mutant("sources/bundle", "whole and bool((array != np.floor(array)).any())", "False",
           "test_bundle.py -kother_inputs"),
    Mutant("scores/judge", "if dataset.bundle != bundle:", "if False:",
           "test_bundle.py -kother_inputs"),
    Mutant("sources/masks", "table[VOID] = UNLABELLED", "pass",
           "test_masks.py -kfound_by_their_names"),
    Mutant("sources/masks", "Image.Resampling.NEAREST", "Image.Resampling.BILINEAR",
           "test_masks.py -knearest"),
    Mutant("sources/masks", "if words - MASKS - PICTURES:", "if False:",
           "test_masks.py -kcalled_so"),
    Mutant("sources/masks", "if found.size != (width, height):", "if False:",
           "test_masks.py -krefused"),
    Mutant("sources/layout", "left |= {word.removeprefix(begins)} - {\"\"}", "left |= {word}",
           "test_masks.py -kfound_by_their_names"),
    Mutant("sources/image_folder", "for row in found.targets])",
           "for row in sorted(found.targets)][::-1])",
           "test_masks.py -kfound_by_their_names"),
    Mutant("command/masks", "Image.fromarray(mask.astype(np.uint8))",
           "Image.fromarray(mask.astype(np.uint8) + 1)", "test_masks.py -kcommand_line"),
    Mutant("step", "loss_B *= batch.weights", "pass", "test_example_weights.py"),
    Mutant("feed", "x[rows_B], split[1:])", "x[slots_B], split[1:])", "test_example_weights.py"),
    Mutant("sources/cache", "*([] if split.weights is None else [split.weights])]", "]",
           "test_example_weights.py -kobjects"),
    Mutant("sources/stored", "split.weights[rows] for", "split.weights[:len(rows)] for",
           "test_example_weights.py -kobjects"),
    Mutant("sources/table", "*(x[order[split]] for x in own)",
           "own[0][order[split]], *own[1:]",
           "test_example_weights.py -kcolumn"),
    Mutant("sources/table", "(*learned, reading.group, reading.weight)",
           "(*learned, reading.group)", "test_example_weights.py -kcolumn"),
    Mutant("sources/values", "| (found < 0)", "", "test_example_weights.py -krefused"),
    Mutant("learners/boosting", "weights = of_examples(subset)", "weights = None",
           "test_example_weights.py -ktrees"),
    Mutant("augmentations/suited", "name and train.split.weights is not None", "False",
           "test_example_weights.py -kmixing"),
    Mutant("stream/choice", "mesh.put(split[1:], where)", "mesh.put(split[1:2], where)",
           "test_example_weights.py -kstreamed_table -mslow"),
    Mutant("sources/sequence", "targets.append(y.copy())", "targets.append(y)",
           "test_arrays.py -kshared"),
    Mutant("sources/columns", "np.where(scale > 0, scale, 1.0)", "scale",
           "test_columns.py test_columns_run.py"),
    Mutant("sources/dialect", "and commas and not points", "and commas",
           "test_table_columns.py -khead_ends"),
    Mutant("sources/dialect", 'head.rfind(b"\\r")) + 1] or head',
           'head.rfind(b"\\r")) + 2] or head',
           "test_table_columns.py -khead_ends"),
    Mutant("sources/dialect", 'or any(f"{name}.1" in names for name in names)', "",
           "test_table_columns.py -khead_ends"),
    Mutant("sources/features", 'np.timedelta64(1, "D")', 'np.timedelta64(1, "h")',
           "test_columns.py -kknown"),
    Mutant("sources/features", "tuple(sorted(words))", "tuple(words)", "test_columns.py"),
    Mutant("sources/features", "np.where(absent_N, self.median, found_N)",
           "np.where(absent_N, self.mean, found_N)", "test_columns.py"),
    Mutant("sources/parquet", "yield group, batch.select(names)", "yield group, batch",
           "test_stream_table.py -kasked_for",
           "pyarrow 26 picks and orders the columns so itself"),
    Mutant("sources/pictures", "        check_unchanged(path, self.stamps[row])\n", "",
           "test_stream.py -kvanishes"),
    Mutant("sources/records", "if found != sides:", "if False:",
           "test_stream.py -kseveral_sizes"),
    Mutant("sources/stored", "(rows >= start) & (rows < start + len(own))", "rows >= start",
           "test_stream.py -kseveral_inputs"),
    Mutant("sources/table", "groups[split][order[split]] for", "groups[split] for",
           "test_table_columns.py -kgroups"),
    Mutant("sources/scikit", "Split(frames.taken(held.data, order), targets[order])",
           "Split(frames.taken(held.data, order), targets)", "test_table_columns.py -kscikit"),
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
    Mutant("programs/program", "donate_argnames=donate", "donate_argnames=()",
           "test_program.py -kanother_type"),
    Mutant("programs/program", '_level": 1}', '_level": 0}', "test_program.py -mslow -kresnet20"),
    Mutant("launch", "atexit.register(_leave)", "pass", "test_program.py -kat_once"),
    Mutant("launch", "gc.set_threshold(500_000)", "pass", "test_program.py -kat_once"),
    Mutant("programs/profile", "(while|call|", "(call|", "test_profile.py"),
    Mutant("plan/plan", 'devices if kind == "reduce-scatter" else 1', "1", "test_plan.py"),
    Mutant("sweep/population", "before[0] + steps, before[1] + seconds", "steps, seconds",
           "test_pace.py"),
    Mutant("segments", "> apart", "> apart and False",
           "test_sweep.py -mslow -kwithin_an_epoch"),
    Mutant("evaluation", "with watched(ready.request.place):", "if True:",
           "test_training.py -kwatched"),
    Mutant("segments", "round(steps * SECONDS", "round(SECONDS", "test_pace.py test_training.py"),
    Mutant("devices/choose", 'for name in ("tpu", "gpu"):', 'for name in ("gpu", "tpu"):',
           "test_devices.py"),
    Mutant("devices/choose", "min(free, limit[1])", "free", "test_memory.py"),
    Mutant("devices/nvidia", "memory.free < memory.total / 10", "memory.free > memory.total / 10",
           "test_nvidia.py"),
    Mutant("native/convolution.cc", "row > 0 || n > cut.image(part)", "n > cut.image(part)",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/convolution",
           'if given["feature_group_count"] != 1 or given["batch_group_count"] != 1:',
           'if given["feature_group_count"] != 1:', "extras/test_native.py -mextras -kit_cannot"),
    Mutant("native/product.h", "each + (i < more)", "each",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/winograd.h", "begin > first", "false",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/winograd.h", " && x + side <= image.width", "",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/winograd.h", "2 - a.low", "a.low",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/winograd.h", "part < parts; ++part", "part < 1; ++part",
           "extras/test_native.py -mextras -kare_laxs"),
    Mutant("native/convolution", '["window_strides"]) == 1', '["window_strides"]) >= 1',
           "extras/test_native.py -mextras -kit_cannot"),
    Mutant("native/convolution", "* kernel.dtype.itemsize > most", "> most",
           "extras/test_native.py -mextras -kit_cannot"),
    Mutant("native/library", "_processor(), *sources", "*sources",
           "extras/test_native.py -mextras -klibrary"),
    Mutant("native/library", "if problem := caches.cache_problem(folder):", 'if problem := "":',
           "extras/test_native.py -mextras -klibrary"),
    Mutant("native/choice", "return NATIVE if shares == 1 and _compiled()",
           "return NATIVE if _compiled()", "extras/test_native.py -mextras -kit_cannot"),
    Mutant("programs/compile", "if room is not None and need > room:", "if False:",
           "test_memory.py -mslow"),
    Mutant("programs/memory", "need_of(share * shares).beyond", "need_of(share).beyond",
           "test_memory.py"),
    Mutant("stream/ahead", "source(pieces)[first:]", "source(pieces)[0:]",
           "test_stream.py -kwhatever_their_size"),
    Mutant("stream/choice", "if room is not None and need > room / 1e9:",
           "if room is not None and need > room:", "test_stream.py -kno_memory"),
    Mutant("stream/choice", "free // 8)", "free)", "test_stream.py -kas_large_as"),
    Mutant("stream/choice", "memory[1] // 4 // (2 * workers + 4)", "memory[1] // 4",
           "test_stream.py -kas_large_as"),
    Mutant("loop", "return add(found[0], sums), told", "return sums, told", "test_loop.py"),
    Mutant("loop", "spread.whole(told), (number - first) * size",
           "spread.whole(told), number * size", "test_stream.py -kin_chunks_as_in_one"),
    Mutant("stream/restated", "at * part.shape[0])", "0)",
           "test_averages.py -konce_more"),
    Mutant("sweep/restated", "_statistics(*given, population, group.order, train, found)",
           "_statistics(*given, population, group.order, train, None)",
           "test_averages.py -konce_more_for_all -mslow"),
    Mutant("stream/pieces", "out[len(rows) :] = out[len(rows) - 1]", "out[len(rows) :] = 0",
           "test_stream.py -kchunk"),
    Mutant("stream/streamed", 'if self._ready.config.shuffle == "every_epoch" else 0', "",
           "test_stream.py::test_a_streamed_run_equals_the_resident_one[Tiny-2/5-once] -mslow"),
    Mutant("stream/streamed", "min(length, (position // batches + 1) * batches)",
           "(position // batches + 1) * batches", "test_stream.py -kwith_its_chunk"),
    Mutant("devices/child", 'now = finding.get("now", now)', 'now = "starting"',
           "test_doctor.py test_devices.py"),
    Mutant("deploy/begin.sh", '-e "$run/config.json"', '-e "$run"',
           "extras/test_deploy.py -mextras -kbegun"),
    Mutant("deploy/jobset.yaml", "completions: 2", "completions: 1",
           "extras/test_deploy.py -mextras -kas_many"),
    # Sweeps
    Mutant("sweep/judge", "which[to.at] = source.at", "which[to.at] = to.at", "test_sweep.py"),
    Mutant("sweep/judge", "count = math.ceil(count / search", "count = count // (search",
           "test_space.py test_results.py test_sweep.py"),
    Mutant("sweep/judge", "at)), step - 1)", "at)), step)", "test_sweep.py"),
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
    Mutant("sweep/ensembles", "sorted(done, key=lambda n: sign * done[n])",
           "sorted(done, key=lambda n: done[n])", "test_sweep.py -kone_model"),
    Mutant("sweep/ensembles", "run.columns.digest != first.columns.digest", "False",
           "test_sweep.py -kof_their_own"),
    Mutant("sweep/hosted", "_replace(step=runs.step)", "_replace(step=np.int32(0))",
           "test_trees.py -mslow -keach_run"),
    Mutant("sweep/hosted", "(variables, ready.data.validation)", "(variables, ready.data.train)",
           "test_trees.py -mslow -keach_run"),
    Mutant("sweep/programs", "count = min(steps, fed.most(step))", "count = steps",
           "test_stream.py -mslow -kone_order"),
    Mutant("sweep/programs", "programs.need <= room", "programs.need > room",
           "test_sweep.py -ktoo_large"),
    Mutant("sweep/results", "{name: last.get(name) for name in names}\n",
           '{name: last.get(name) for name in names} | {"seed": 0}\n', "test_sweep.py -kpromises"),
    Mutant("sweep/space", "if self.fold else self.config", "if False else self.config",
           "test_results.py"),
    Mutant("sweep/asked", 'str(whereabouts.given(resume, "resume"))', "str(resume)",
           "test_sweep_python.py -mslow"),
    Mutant("sweep/asked", 'or "," in str(value)', "", "test_sweep_python.py"),
    Mutant("sweep/judge", "math.inf)[:keep]", "math.inf)[-keep:]", "test_sweep.py -khalved"),
    Mutant("sweep/judge", "[one.row[ready.score]] * one.whole", "[one.row[ready.score]]",
           "test_sweep.py -khalved"),
    Mutant("sweep/judge", "np.mean(scores[s]) if", "max(scores[s]) if",
           "test_sweep.py -khalved"),
    Mutant("study/handout", "if before != mark:", "if before is None:",
           "extras/test_study.py -mextras -kheard_of"),
    Mutant("study/handout", "[firsts.index(first(trial))]", "[trial.number]",
           "extras/test_study.py -mextras -ksilent"),
    Mutant("study/handout", "{AGAIN: first(frozen)}", "{AGAIN: frozen.number}",
           "extras/test_study.py -mextras -kmiss_a_third"),
    Mutant("study/population", "while size // 2 >= count", "while size // 2 > count",
           "extras/test_study.py -mextras -ksizes"),
    Mutant("study/population", ' if row["status"] in FINISHED]', "]",
           "extras/test_study.py -mextras -kstudy_finds"),
    Mutant("study/pruning", "math.ceil(len(ranked)", "math.floor(len(ranked)",
           "extras/test_study.py -mextras -khalving_keeps"),
    Mutant("study/pruning", "math.log(epochs, halving) + 1e-9", "math.log(epochs, halving)",
           "extras/test_study.py -mextras -khalving_keeps"),
    Mutant("study/storage", "if before.get(name) != value]", "if False]",
           "extras/test_study.py -mextras -kcannot_be"),
    Mutant("study/worker", "number=number * len(found) + trial.number",
           "number=number + trial.number", "extras/test_study.py -mextras -kevery_run_of"),
    Mutant("sweep/member", "_replace(step=np.int32(step))", "_replace(step=np.int32(0))",
           "test_sweep.py -kone_model"),
    Mutant("sweep/charts", 'speaking = runs[runs["value"].notna()]', "speaking = runs",
           "test_sweep_report.py -kmedians_with"),
    Mutant("sweep/charts", "0.5 - share / 2,", "0.5 - share / 4,",
           "test_sweep_report.py -kmedians_with"),
    Mutant("sweep/charts", "if name not in axes:", "if False:",
           "test_sweep_report.py -kover_its_seeds"),
    Mutant("sweep/charts", "down, across = _sides(over)\n    return",
           "across, down = _sides(over)\n    return",
           "test_sweep_report.py -kheat_map_has"),
    Mutant("scores/bootstrap", "rng.permutation(count) % UNITS",
           "np.arange(count) * UNITS // count", "test_scores.py"),
    Mutant("scores/bootstrap", ".mean() > 2 / 3", ".any()", "test_scores.py -kequal"),
    Mutant("scores/values", "variance > ROUNDED * true_squared", "variance > 0",
           "test_scores.py -kequal"),
    Mutant("scores/bootstrap", "50 * (1 - LEVEL)", "100 * (1 - LEVEL)", "test_scores.py"),
    Mutant("scores/calibration", "np.ceil(confidence_N * bins)", "np.floor(confidence_N * bins)",
           "test_scores.py test_tasks.py"),
    Mutant("scores/answers", "met, there = (true + said) > 0,", "met, there = true > 0,",
           "test_scores.py"),
    Mutant("scores/answers", "(whole - both_true) * (whole - both_said)",
           "(whole - both_true) ** 2", "test_scores.py"),
    Mutant("scores/values", "squared - np.square(off)", "squared", "test_scores.py"),
    Mutant("scores/threshold", "(recall - alarms)[:0:-1]", "(recall - alarms)[:0:-1] * 0",
           "test_scores.py"),
    Mutant("scores/threshold", "max(below, LEAST)", "below", "test_scores.py -kwithin"),
    Mutant("scores/threshold", "np.minimum(probability_N, MOST)", "probability_N",
           "test_scores.py -kwithin"),
    Mutant("scores/threshold", "/ np.float32(2)", "/ np.float32(3)", "test_scores.py"),
    Mutant("tasks/classification", "predicted[:, 1] >= self",
           "predicted[:, 0] >= self", "test_scores.py"),
    Mutant("scores/labels", "there_NxL.any(axis=0) & ~there_NxL.all(axis=0)",
           "there_NxL.any(axis=0)", "test_scores.py -klabels"),
    Mutant("scores/judge", "splits.named(before.train_split,", "splits.named('',",
           "test_predict.py -kjudge"),
    # The report
    Mutant("report/page", "autoescape=True", "autoescape=False", "test_security.py"),
    Mutant("report/pictures", "FigureCanvasAgg(drawn).print_png(buffer)",
           'drawn.savefig(buffer, format="png")', "test_report.py -kdrawn_once"),
    Mutant("report/matrix", "float(opacity[r, c])", "float(opacity[c, r])",
           "test_report.py test_charts.py"),
    Mutant("report/matrix", "texts(r, c), said(r, c))", "texts(c, r), said(r, c))",
           "test_report.py test_charts.py"),
    Mutant("report/pictures", "ylim=(foot, chart.top)", "ylim=(chart.top, foot)",
           "test_report.py -kconfusion_has"),
    Mutant("report/pictures", "ylim=(FOOT, TOP)", "ylim=(TOP, FOOT)",
           "test_report.py -kcurves_are"),
    Mutant("report/pictures", "numbers.get(whole, name)", "name",
           "test_fonts.py -kkeeps_its_number"),
    Mutant("report/pictures", "(2 * dot.size * POINT) ** 2", "2 * dot.size * POINT",
           "test_scores.py -kcalibration_curve"),
    Mutant("sweep/charts", "if fine else foot, said", "if fine else known.max(), said",
           "test_sweep_report.py -kalong_an_axis"),
    Mutant("report/answers", '9 * math.sqrt(row["count"] / most)', '9 * row["count"] / most',
           "test_charts.py"),
    Mutant("report/answers", "low - (j + 1) * tall", "low - j * tall",
           "test_charts.py -kmany_points"),
    Mutant("report/charts", "for at, _, high in there[::-1]]", "for at, _, high in there]",
           "test_charts.py -kthere_and_back"),
    Mutant("report/charts", "100 * max(0.0, value)", "100 * value", "test_charts.py -kbar"),
    Mutant("report/comparison", "(numbers[1] > numbers[0])", "(numbers[1] >= numbers[0])",
           "test_comparison.py -kmcnemar"),
    Mutant("report/comparison", "0 <= self.interval[1]:", "0:", "test_comparison.py -kerrors"),
    Mutant("report/comparison", "not np.array_equal(a.judged.targets, b.judged.targets)", "False",
           "test_comparison.py -kother_examples"),
    Mutant("report/comparison", "reverse=task.higher)", "reverse=True)", "test_comparison.py"),
    Mutant("report/importance", "value if task.higher else -value", "value",
           "test_importances.py -mslow -kscikit"),
    Mutant("report/settings", ' | {"task": CLASSIFICATION}', "", "test_charts.py -kcommand_of"),
    Mutant("report/settings", 'values_of(saved["config"].get("model")) or Hyper',
           "values_of(None) or Hyper", "test_charts.py -kcommand_of"),
    # What others read: exports, a server, scikit-learn, trackers
    Mutant("export/beside/inputs", "+ 128) // 257", "+ 0) // 257",
           "extras/test_export.py -mextras -kreads_pictures"),
    Mutant("export/beside/inputs", "else 0 * filled", "else filled",
           "extras/test_export.py -mextras -kencodes_rows"),
    Mutant("export/beside/inputs", "time if time.tzinfo else time.replace(tzinfo=datetime.UTC)",
           "time", "extras/test_export.py -mextras -kencodes_rows"),
    Mutant("export/card", '"names": run.classes', '"names": run.classes[::-1]',
           "extras/test_export.py -mextras -kits_card"),
    Mutant("export/card", '"background": run.learner.config.background', '"background": "white"',
           "extras/test_export.py -mextras -kreads_pictures"),
    Mutant("export/exporting", "if not apart <= CLOSE", "if not 0 <= CLOSE",
           "extras/test_export.py -mextras -ksomething_else"),
    Mutant("export/program", "scaled(inputs), False", "inputs, False",
           "extras/test_export.py -mextras -kruns_predictions"),
    Mutant("export/safetensors", "program.named(run.state.model)",
           'program.named({"params": run.state.model["params"]})',
           "extras/test_export.py -mextras -karrays"),
    Mutant("export/stablehlo", '"cpu", "cuda"', '("cpu",)',
           "extras/test_export.py -mextras -kstablehlo"),
    Mutant("export/ubj", "reshape(len(inputs), -1).astype",
           "reshape(len(inputs), -1)[:, ::-1].astype", "extras/test_export.py -mextras -ktrees"),
    Mutant("serve/app", "if len(body) > reading.MOST_BYTES:", "if False:",
           "extras/test_serve.py -mextras -kbody"),
    Mutant("serve/app", "if status == 429", "if status == 408",
           "extras/test_serve.py -mextras -kone_address"),
    Mutant("serve/batches", "count + len(self._waiting[0][0]) <= self._most",
           "count + len(self._waiting[0][0]) < self._most",
           "extras/test_serve.py -mextras -kwait_together"),
    Mutant("serve/batches", "> MOST_WAITING:", "> 100 * MOST_WAITING:",
           "extras/test_serve.py -mextras -kmore_wait"),
    Mutant("serve/limits", "(now - before) * self._most", "(now - before)",
           "extras/test_serve.py -mextras -kone_address"),
    Mutant("serve/limits", "popitem(last=False)", "popitem()",
           "extras/test_serve.py -mextras -kone_address"),
    Mutant("trained", "if learner.mixes else sizes", "if False else sizes",
           "test_coupled.py -kfills_a_batch_up"),
    Mutant("serve/model", "predicted_NxK[row] >= getattr", "predicted_NxK[row] > getattr",
           "extras/test_serve.py -mextras -kfrom_the_threshold"),
    Mutant("serve/model", "if not np.isfinite(predicted_NxK).all():", "if False:",
           "extras/test_serve.py -mextras -kfrom_the_threshold"),
    Mutant("serve/openapi", '"required": [*said]', '"required": []',
           "extras/test_serve.py -mextras -kdescribed"),
    Mutant("serve/reading", "if math.prod(sides) > MOST_PIXELS:", "if False:",
           "extras/test_serve.py -mextras -kcan_t_be_meant"),
    Mutant("serve/reading", "(made != found).any()", "False",
           "extras/test_serve.py -mextras -kof_a_byte"),
    Mutant("sources/features", "isinstance(value, float | np.floating) and value.is_integer()",
           "False", "test_columns.py -kwords_they_were"),
    Mutant("serve/server", 'host] if own else ["*"]', 'host] if not own else ["*"]',
           "extras/test_serve.py -mextras -kcommand_serves"),
    Mutant("sklearn/classifier", "self.classes_[found]", "found",
           "test_sklearn.py -krepeats_itself"),
    Mutant("sklearn/estimator", "(inputs.shape[1:], inputs.dtype) != (self._shape, self._dtype)",
           "False", "test_sklearn.py -kanother_kind"),
    Mutant("sklearn/learned", "if int(state.diverged_at) >= 0:", "if False:",
           "test_sklearn.py -kcannot_be"),
    Mutant("sklearn/parameters", "min(config.batch_size, examples)", "config.batch_size",
           "test_sklearn.py -kestimator_asks"),
    Mutant("sklearn/parameters", '"0.1" if config.watches else config.train_split', '"0.1"',
           "test_sklearn.py -kestimator_asks"),
    Mutant("sklearn/regressor", "* self._scale + self._mean", "* self._scale",
           "test_sklearn.py -mslow -kregressor"),
    Mutant("loggers/tracking", 'row["epoch"] <= self._kept[name]["epoch"]',
           'row["epoch"] < self._kept[name]["epoch"]', "extras/test_trackers.py -mextras -kcsv"),
    Mutant("loggers/tracking", 'if epoch > self._kept[name]["scored"]:', "if True:",
           "extras/test_trackers.py -mextras -ktold_once"),
    Mutant("loggers/csv", '[row.get(name, "") for name in self._columns]', "[*row.values()]",
           "extras/test_trackers.py -mextras -kcsv"),
    Mutant("loggers/tensorboard", "Event(step=epoch,", "Event(step=epoch - 1,",
           "extras/test_trackers.py -mextras -ktensorboard"),
    Mutant("loggers/mlflow", '"FINISHED" if done else "FAILED"', '"FINISHED"',
           "extras/test_trackers.py -mextras -kmlflow"),
    Mutant("loggers/wandb", "0 if done else 1", "0", "extras/test_trackers.py -mextras -kwandb"),
    Mutant("job/extras", "if found is None or found.origin is None:", "if found is None:",
           "extras/test_trackers.py -mextras -knot_installed"),
    Mutant("command/inputs", "found = sorted(glob.glob(word, recursive=True))",
           "found = sorted(glob.glob(word, recursive=True))[::-1]", "test_predict.py -kis_sorted"),
    Mutant("loggers/width", 'cell_len(f"{row} {word}") > width',
           'cell_len(f"{row} {word}") >= width', "test_bar.py -kbroken"),
)


def misplaced() -> list[str]:
    """The mutants whose pattern isn't found exactly once, and how often it is."""
    counts = {m: (ROOT / m.place).read_text().count(m.was) for m in MUTANTS}
    return [f"{count} times {mutant}" for mutant, count in counts.items() if count != 1]


def _copy(tree: Path) -> Path:
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def _test(tree: Path, words: list[str], printed: Path) -> None:
    """In a process of its own: pytest in a tree."""
    import pytest

    os.setsid()
    with open(printed, "wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.chdir(tree)
    sys.path[0], sys.dont_write_bytecode = str(tree), True
    status = pytest.main(["-x", "-n", "0", "-p", "no:cacheprovider", *words])
    print(f"{sum(os.times()[:4]):.0f} s of processors", flush=True)
    os._exit(status)


def tried(mutant: Mutant, tree: Path) -> tuple[str, str, int]:
    """"killed", and by which test; "survived"; or why it can't be told; the processors' seconds.
    A test that fails without the mutant too has killed nothing."""
    file = tree / mutant.place
    text = file.read_text()
    tests = [word if word.startswith("-") else f"tests/{word}" for word in mutant.tests.split()]
    if " -m" not in mutant.tests:
        tests.append("-mnot extras")
    file.write_text(text.replace(mutant.was, mutant.now))
    found, why, took = _ran(tests, tree)
    file.write_text(text)
    by = why or " ".join(tests)
    if found == "killed" and by not in _SOUND:
        marks = [word for word in tests if word.startswith("-m")]
        sound, _, more = _ran([why, *marks] if why else tests, tree)
        if sound != "survived":
            return "untold", f"{by} fails, or hangs, without it too", took + more
        _SOUND.add(by)
        took += more
    return found, by, took


_SOUND = set[str]()  # the tests that have passed without a mutant


def _ran(tests: list[str], tree: Path) -> tuple[str, str, int]:
    """What `tried` tells, of a tree as it is."""
    printed = tree / "printed"
    process = multiprocessing.get_context("forkserver").Process(target=_test, args=(
        tree, tests, printed))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return "killed", "", SECONDS  # no suite would let it pass
    said = printed.read_text(errors="replace")
    took = int("".join(re.findall(r"^(\d+) s of processors$", said, re.M)[-1:]) or 0)
    if process.exitcode == 1:
        by = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.M)
        return "killed", "".join(by[:1]), took
    if process.exitcode == 0 and re.search(r"\d passed", said):
        return "survived", "", took
    return "untold", said[-300:], took


def _chosen(words: list[str], told: str) -> list[Mutant]:
    """Those of the words, without those that a run `told` of."""
    known = {line.partition(" s  ")[2] for line in told.splitlines()
             if line.startswith(("killed", "explained"))}
    return [m for m in MUTANTS if str(m) not in known
            and all(re.search(word, f"{m.file} {m.was}") for word in words)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--except", type=Path, dest="known", metavar="FILE")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    if moved := misplaced():
        print(*moved, sep="\n")
        return 1
    os.environ |= ONE_THREAD
    multiprocessing.set_forkserver_preload([*IMPORTED])
    chosen = _chosen(asked.words, asked.known.read_text() if asked.known else "")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.at_once) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(asked.at_once):
            trees.put(_copy(Path(folder) / str(number)))

        def one(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                found, why, took = tried(mutant, tree)
            finally:
                trees.put(tree)
            if found == "survived" and mutant.survives:
                found, why = "explained", mutant.survives
            print(f"{found:9} {took:4} s  {mutant}\n    {why}", flush=True)
            return found

        found = list(pool.map(one, chosen))
    counts = {word: found.count(word) for word in ("killed", "explained", "survived", "untold")}
    print(f"{len(chosen)} mutants: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return 1 if counts["survived"] or counts["untold"] else 0


if __name__ == "__main__":
    sys.exit(main())
