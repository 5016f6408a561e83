"""`--help`: the common flags, in groups; `--helpfull` has all of them."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

GROUPS = {  # what a newcomer looks for, in this order; another flag is in --helpfull alone
    "data": ("dataset", "target", "image_size", "train_split", "validation_split", "data_dir"),
    "what learns": ("model", "task", "loss", "precision"),
    "training": ("optimizer", "learning_rate", "weight_decay", "momentum", "schedule", "epochs",
                 "batch_size", "label_smoothing", "seed"),
    "augmentation": ("flip", "crop_padding", "augment"),
    "the run": ("config", "device", "run_dir", "resume", "checkpoint", "json"),
    "sweep and lr-find": ("sweep", "seeds", "samples", "folds"),
    "help": ("help", "helpfull"),
}
COLUMN, WIDTH = 22, 100  # where texts begin, and end at most


def listed(words: Sequence[str], joined: str = "and") -> str:
    """As people list them: a, b and c."""
    return ", ".join((*words[:-2], f" {joined} ".join(words[-2:])))


def usage(commands: Mapping[str, str], flags: Mapping[str, str], full: bool) -> str:
    """The page, of each flag's text by name: the common ones, or with `full` all of them."""
    parts = {"commands": [_row(name, text) for name, text in commands.items()]}
    parts |= {title: _rows(names, flags) for title, names in GROUPS.items()}
    common = {name for names in GROUPS.values() for name in names}
    rest = [name for name in flags if name not in common]
    if full:
        parts["more"] = _rows(rest, flags)
    end = "" if full else (f"\n\n{len(rest)} more flags: --helpfull. What there is by name: "
                           "python launch.py list models")
    told = "\n\n".join("\n".join((f"{title}:", *rows)) for title, rows in parts.items())
    return f"python launch.py [command] [flags]\n\n{told}{end}"


def _rows(names: Iterable[str], flags: Mapping[str, str]) -> list[str]:
    return [_row(f"--{name}", flags[name]) for name in names]


def _row(name: str, text: str) -> str:
    first = f"  {name:{COLUMN - 3}} "
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    return textwrap.fill(" ".join(text.split()), min(WIDTH, width), initial_indent=first,
                         subsequent_indent=" " * COLUMN, break_long_words=False,
                         break_on_hyphens=False)
