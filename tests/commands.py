"""The commands that README and docs/ type: python tests/commands.py README.md prints one page's.

Those of fenced blocks are run, those in `code` of README alone. `<!-- only parsed: REASON -->`
above a block, or in a page's first lines for all of it, is for what needs a GPU, a network or an
hour.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = "<!-- only parsed: "
# What a page writes where a reader puts something of his own, and what a test puts there.
OWN = {"HOST:PORT": "localhost:1234", "I": "0", "S": "0", "$s": "0", "OTHER": "digits",
       "FOLDER": "runs/sweep", "R": "runs/cifar10-cnn-1"}

_SHELL = "for", "done", "find", "eval", "source", "curl"  # which are none of ours
_SHOWN = re.compile(
    r"^```(?P<kind>\w*)\n(?P<block>.*?)^```|`(?P<code>(?:python launch\.py|flaxmill) [^`]*)`",
    re.MULTILINE | re.DOTALL)


class Typed(NamedTuple):
    """A command as its words, the page that types it, and whether it is run too."""

    page: str
    words: list[str]
    run: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


class Line(NamedTuple):
    """A line of a shell as a page has it, why it is only parsed, and whether a block has it."""

    text: str
    reason: str
    block: bool


def lines(page: Path) -> list[Line]:
    """Every line of commands of a page, in its order."""
    text = page.read_text()
    whole = _reason("\n".join(text.partition("```")[0].splitlines()[:4]))
    found = []
    for match in _SHOWN.finditer(text):
        reason = whole or _reason(text[: match.start()].rstrip().rpartition("\n")[2])
        block = match["block"] if match["kind"] in ("bash", "sh") else \
            (match["code"] or "").replace("\n", " ")
        found += [Line(line, reason, match["code"] is None)
                  for line in (block or "").replace("\\\n", " ").splitlines()]
    return found


def _reason(text: str) -> str:
    return text.partition(MARK)[2].partition(" -->")[0]


def typed(page: Path) -> list[Typed]:
    """Every command of a page, in its order; what has an … in it is none."""
    return [Typed(page.name, words, not line.reason and (line.block or page.stem == "README"))
            for line in lines(page) if "…" not in line.text for words in _split(line.text)]


def _split(line: str) -> list[list[str]]:
    """The commands of a line of a shell: without its comment, loops, pipes and variables set."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            commands.append([])
        elif not (commands[-1] == [] and (word == "do" or re.match(r"[A-Z_]+=", word))):
            commands[-1].append(word)
    return [words for words in commands if words and words[0] not in _SHELL]


def blocks(page: str) -> list[str]:
    """The Python that a page shows, each block of it."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def carried_out(page: str, word: str) -> dict:
    """The names that the one block with this `word` in it leaves."""
    (block,) = (one for one in blocks(page) if word in one)
    names: dict = {}
    exec(block, names)
    return names


def belongings(folder: Path) -> None:
    """Puts there what the pages speak of: pets, photos, passengers."""
    rng = np.random.default_rng(0)
    names = [f"{place}/{kind}/{n}.png" for place in ("pets", "others")
             for kind in ("cat", "dog") for n in range(20)]
    for name in (*names, "photos/a.jpg", "more/b.jpg", "cat.jpg", "dog.png", "image.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (32, 32, 3), np.uint8) + np.uint8(127 * ("cat" in name))
        Image.fromarray(pixels).save(path)
    rows = [f"{age},{'fm'[age % 2]},{int(age % 3 > 0)}" for age in range(60)]
    (folder / "passengers.csv").write_text("\n".join(["age,sex,survived", *rows]))
    (folder / "test.csv").write_text("age,sex\n3,f\n4,m\n")


if __name__ == "__main__":
    for command in typed(Path(sys.argv[1])):
        print(shlex.join(command.words))
