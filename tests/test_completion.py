"""The completing scripts, run by the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from engine.command import completion, flags, names
from engine.command.options import COMMANDS
from engine.config import MODELS, Config
from engine.errors import RequestError
from engine.export.formats import FORMATS
from engine.optim.schedules import SCHEDULES

ASKED = [  # what is typed, and what the shell offers
    ("flaxmill sw", {"sweep"}),
    ("flaxmill --model ", set(MODELS)),
    ("flaxmill --schedule=warm", {"warmup_cosine"}),
    ("flaxmill sweep --schedule ", set(SCHEDULES)),
    ("flaxmill list ", set(names.KINDS)),
    ("flaxmill export --format ", set(FORMATS)),
    ("flaxmill --log tensor", {"tensorboard"}),
    ("flaxmill completion z", {"zsh"}),
    ("flaxmill sweep --weight_", {"--weight_decay"}),
    ("flaxmill --nocomp", {"--nocompile_cache"}),
    ("flaxmill --model my_n", {"my_net.py"}),
]


def script(shell: str) -> str:
    return completion.script([shell], flags.definitions())


def needs(shell: str):
    return pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} isn't installed here")


def said(shell: str, here, text: str) -> str:
    (here / ".script").write_text(script(shell))
    (here / "my_net.py").touch()
    done = subprocess.run([shell, "-c", text], cwd=here, text=True, capture_output=True,
                          timeout=60, env=os.environ | {"HOME": str(here)})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


@needs("bash")
def test_bash_completes_commands_flags_and_words(here):
    text = "source ./.script; complete -p flaxmill\n"
    for typed, _ in ASKED[:-1]:
        words = typed.replace("=", " = ").split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        text += (f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _flaxmill; "
                 'echo "${COMPREPLY[@]}"\n')
    first, *lines = said("bash", here, text).splitlines()
    assert first == "complete -o default -F _flaxmill flaxmill"  # a file where there are no words
    for (typed, offered), line in zip(ASKED, lines, strict=False):
        assert set(line.split()) == offered, typed


@needs("fish")
def test_fish_completes_commands_flags_and_words(here):
    asked = "".join(f"complete -C '{typed}'; echo ---\n" for typed, _ in ASKED)
    text = f"source ./.script\n{asked}"
    found = said("fish", here, text).split("---\n")
    for (typed, offered), lines in zip(ASKED, found, strict=False):
        words = {line.partition("\t")[0].rpartition("=")[2] for line in lines.splitlines()}
        assert words - {"my_net.py"} == offered - {"my_net.py"} and offered <= words, typed


@needs("zsh")
def test_zsh_completes_what_is_typed(here):
    """In a terminal of its own: a tab completes what is unique; the command prints its words."""
    (here / ".script").write_text(script("zsh"))
    (here / "my_net.py").touch()
    (here / ".zshrc").write_text(
        "PS1=; autoload -Uz compinit; compinit -u -d .dump; source ./.script\n"
        'flaxmill() { print -r -- "GOT<$*>" }\nprint READY\n')
    terminal, inner = pty.openpty()
    child = subprocess.Popen(
        ["zsh", "-i"], cwd=here, env=os.environ | {"ZDOTDIR": str(here), "TERM": "dumb"},
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    try:
        _until(terminal, "READY")
        for typed, offered in ASKED:
            if len(offered) == 1:
                os.write(terminal, f"{typed}\t\n".encode())
                whole = typed[: len(typed) - len(typed.replace("=", " ").split(" ")[-1])]
                wanted = (whole + min(offered)).removeprefix("flaxmill ")
                assert f"GOT<{wanted}>" in _until(terminal, "GOT<", ">")
    finally:
        child.kill()
        child.wait(60)
        os.close(terminal)
        os.close(inner)


def _until(terminal: int, *words: str) -> str:
    """What a terminal shows until it has shown the words, one after another."""
    shown, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
        rest = shown
        if all(word in rest and (rest := rest.partition(word)[2]) is not None for word in words):
            return shown
    raise AssertionError(f"it never showed {words}: {shown!r}")


def test_every_flag_and_command_is_in_every_script():
    for shell in completion.SHELLS:
        text = script(shell)
        assert all(name in text for name in (*COMMANDS, *Config.__dataclass_fields__))


def test_another_shell_is_refused():
    for words in ([], ["bash", "zsh"]):
        with pytest.raises(RequestError, match="completion takes one shell"):
            completion.script(words, flags.definitions())
    with pytest.raises(RequestError, match="unknown shell 'bsh': did you mean bash"):
        completion.script(["bsh"], flags.definitions())


def test_a_script_comes_without_jax(launch):
    done = launch("completion", "bash", env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0 and done.stdout == script("bash")
    assert "jax" not in [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
