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


def typed(page: Path) -> list[Typed]:
    """Every command of a page, in its order; what has an … in it is none."""
    text = page.read_text()
    head = text.split("\n## ")[0]
    whole = MARK in head.partition("```")[0] and MARK in "\n".join(head.splitlines()[:4])
    found = []
    for match in _SHOWN.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        block = match["block"] if match["kind"] in ("bash", "sh") else \
            (match["code"] or "").replace("\n", " ")
        for line in (block or "").replace("\\\n", " ").splitlines():
            run = not (whole or before.startswith(MARK)) and (
                match["code"] is None or page.stem == "README")
            found += [Typed(page.name, words, run) for words in _split(line) if "…" not in line]
    return found


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


if __name__ == "__main__":
    for command in typed(Path(sys.argv[1])):
        print(shlex.join(command.words))
