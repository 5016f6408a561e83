"""Optuna's storage of a study: a journal file on a disk that all processes see, or a database."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from engine.errors import RequestError, one_line
from engine.store import generator

FILES_STUDY = "flaxmill"  # of a journal, which holds one


def is_url(text: str) -> bool:
    return "://" in text


def shown(text: str) -> str:
    """As it may be told and written: a URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", text)


def absolute(text: str) -> str:
    return text if is_url(text) else str(Path(text).absolute())


def place(text: str, run_dir: str) -> tuple[str, Path]:
    """The study's name in its storage, and the folder of its runs: --run_dir, or for a journal
    FILE.runs beside it. Raises RequestError where a database gets no --run_dir."""
    if not is_url(text):
        return FILES_STUDY, Path(run_dir or f"{text}.runs").absolute()
    if not run_dir:
        raise RequestError(f"--study {shown(text)}: a database holds many studies: type --run_dir "
                           "too, whose last name is the study's.")
    return Path(run_dir).absolute().name, Path(run_dir).absolute()


def opened(text: str, name: str, higher: bool) -> optuna.Study:
    """Its study, made where there is none; `higher` is whether more of the score is better. Raises
    RequestError where the storage can't be opened."""
    try:
        kept: BaseStorage = RDBStorage(text) if is_url(text) else JournalStorage(
            JournalFileBackend(text))
        return optuna.create_study(storage=kept, study_name=name, load_if_exists=True,
                                   direction="maximize" if higher else "minimize")
    except Exception as error:  # Optuna's, SQLAlchemy's, a driver's or the disk's
        reason = shown(one_line(error))
        raise RequestError(f"--study {shown(text)}: Optuna can't open it ({reason}): type a file "
                           "in a folder that all processes see, or a URL such as "
                           "postgresql://HOST/DATABASE.") from None


def join(study: optuna.Study, asked: dict[str, Any], text: str) -> None:
    """Raise RequestError where the study is of another sweep than `asked`, flat; the first process
    says what it is of."""
    asked = json.loads(json.dumps(asked))
    if "asked" not in study.user_attrs:
        study.set_user_attr("asked", asked)
    before = generator.facts() | study.user_attrs["asked"]  # of a study of before nobody knows
    differing = [f"{name} is {before.get(name)!r} there and {value!r} here"
                 for name, value in asked.items() if before.get(name) != value]
    if differing:
        raise RequestError(f"--study {shown(text)} is of another sweep: {'; '.join(differing)}. "
                           "Type what its other processes typed, or name another study.")
