"""`completion SHELL`: a script that completes commands, flags and the words of closed choices.

It holds all of them, so that completing starts no Python. Made of the flags themselves.
"""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from engine.augmentations import VIEWS
from engine.command import names
from engine.command.options import COMMANDS
from engine.config import BROUGHT, Config
from engine.doors.trackers import TRACKERS
from engine.errors import RequestError, unknown
from engine.export.formats import FORMATS
from engine.place import Place


class Flag(NamedTuple):
    """A flag as it is typed; its words, where there are some; whether files are values too."""

    name: str
    told: str
    boolean: bool
    words: tuple[str, ...]
    files: bool


def script(words: Sequence[str], defined: flags.FlagValues) -> str:
    """For the one shell that `words` name. Raises RequestError for another."""
    if len(words) != 1:
        raise RequestError(f"completion takes one shell: type completion {' or '.join(SHELLS)}.")
    if words[0] not in SHELLS:
        raise unknown("shell", words[0], SHELLS)
    return SHELLS[words[0]](_flags(defined))


def _flags(defined: flags.FlagValues) -> list[Flag]:
    closed = {"checkpoint": ("best", "last"), "tta": (*VIEWS, ",".join(VIEWS)),
              "format": FORMATS, "log": tuple(TRACKERS),
              "dataset": tuple(name for name in names.SETS if ":" not in name)}
    for field in (*dataclasses.fields(Config), *dataclasses.fields(Place)):
        if field.metadata["choices"]:
            closed[field.name] = field.metadata["choices"]
    found = []
    for name in sorted(name for name in defined if len(name) > 1):
        flag, words = defined[name], closed.get(name, ())
        told = re.split(r"[;(]", flag.help)[0].strip()
        found.append(Flag(name, told, flag.boolean, words, not words or name in BROUGHT))
        if flag.boolean and getattr(Place, name, getattr(Config, name, False)) is True:
            found.append(Flag(f"no{name}", "without that", True, (), False))
    return found


def _bash(known: list[Flag]) -> str:
    closed = _ARGUMENTS | {f"--{flag.name}": flag.words for flag in known if flag.words}
    cases = [f'    {name}) words="{" ".join(words)}" ;;' for name, words in closed.items()]
    free = "|".join(f"--{flag.name}" for flag in known if not flag.words and not flag.boolean)
    return "\n".join([
        "# flaxmill's completion for bash: eval \"$(flaxmill completion bash)\"",
        "_flaxmill() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        '  if [ "$word" = "=" ]; then word=""',
        '  elif [ "$before" = "=" ]; then before="${COMP_WORDS[COMP_CWORD-2]}"; fi',
        '  case "$before" in',
        *cases,
        f"    {free}) ;;",
        '    *) case "$word" in',
        f'      -*) words="{" ".join(f"--{flag.name}" for flag in known)}" ;;',
        f'      *) [ "$COMP_CWORD" -gt 1 ] || words="{" ".join(COMMANDS)}" ;;',
        "    esac ;;",
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _flaxmill flaxmill\n",
    ])


def _zsh(known: list[Flag]) -> str:
    lines = []
    for name, told, boolean, words, files in known:
        said = re.sub(r"([\[\]:\\])", r"\\\1", told)
        many = "*" if name == "sweep" else ""
        spec = f"{many}--{name}{'' if boolean else '='}[{said}]"
        if words and files:
            spec += f":{name}: _flaxmill_words_or_files {' '.join(words)}"
        elif not boolean:
            spec += f":{name}:({' '.join(words)})" if words else f":{name}:_files"
        lines.append(f"    {shlex.quote(spec)} \\")
    cases = [f"    {name}) compadd -- {' '.join(words)} ;;" for name, words in _ARGUMENTS.items()]
    commands = " ".join(shlex.quote(f"{name}:{told.partition(':')[0]}")
                        for name, told in COMMANDS.items())
    return "\n".join([
        "#compdef flaxmill",
        "# flaxmill's completion for zsh: eval \"$(flaxmill completion zsh)\" after compinit",
        "_flaxmill_words() {",
        f"  local -a commands=({commands})",
        '  case "${words[2]}" in',
        *cases,
        "    *) if (( CURRENT == 2 )); then _describe command commands; else _files; fi ;;",
        "  esac",
        "}",
        '_flaxmill_words_or_files() { compadd -- "$@"; _files }',
        "_flaxmill() {",
        "  _arguments \\",
        *lines,
        "    '*: :_flaxmill_words'",
        "}",
        'if [ "$funcstack[1]" = "_flaxmill" ]; then _flaxmill "$@"; else compdef _flaxmill '
        "flaxmill; fi\n",
    ])


def _fish(known: list[Flag]) -> str:
    lines = ["# flaxmill's completion for fish: flaxmill completion fish | source"]
    lines += [f"complete -c flaxmill -n __fish_use_subcommand -f -a {name} -d {shlex.quote(told)}"
              for name, told in COMMANDS.items()]
    lines += [f"complete -c flaxmill -n '__fish_seen_subcommand_from {name}' -f -a "
              f"'{' '.join(words)}'" for name, words in _ARGUMENTS.items()]
    for name, told, boolean, words, files in known:
        takes = "" if boolean else " -r -F" if files else " -x"
        offered = f" -a '{' '.join(words)}'" if words else ""
        lines.append(f"complete -c flaxmill -l {name}{takes}{offered} -d {shlex.quote(told)}")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
_ARGUMENTS = {"list": names.KINDS, "completion": tuple(SHELLS)}
