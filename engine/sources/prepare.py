"""A set that isn't prepared yet → tfds's standard folder, with or without TensorFlow.

tfds's own builders of CIFAR and MNIST call TensorFlow; ours (builders.py) don't. TensorFlow never
enters this process: it and jax disagree about devices, memory and protobuf.
"""

import contextlib
import difflib
import fcntl
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from engine import errors
from engine.sources import download
from engine.sources.download import Archive

_CIFAR = "https://www.cs.toronto.edu/~kriz"
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# Addresses, sizes and checksums are those that tfds pins in its url_checksums/.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "cifar10": (
        Archive(
            f"{_CIFAR}/cifar-10-binary.tar.gz",
            "cifar-10-binary.tar.gz",
            170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "cifar100": (
        Archive(
            f"{_CIFAR}/cifar-100-binary.tar.gz",
            "cifar-100-binary.tar.gz",
            168513733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    "mnist": (
        Archive(
            f"{_MNIST}/train-images-idx3-ubyte.gz",
            "mnist/train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Archive(
            f"{_MNIST}/train-labels-idx1-ubyte.gz",
            "mnist/train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Archive(
            f"{_MNIST}/t10k-images-idx3-ubyte.gz",
            "mnist/t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Archive(
            f"{_MNIST}/t10k-labels-idx1-ubyte.gz",
            "mnist/t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion_mnist": (
        Archive(
            f"{_FASHION}/train-images-idx3-ubyte.gz",
            "fashion_mnist/train-images-idx3-ubyte.gz",
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Archive(
            f"{_FASHION}/train-labels-idx1-ubyte.gz",
            "fashion_mnist/train-labels-idx1-ubyte.gz",
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Archive(
            f"{_FASHION}/t10k-images-idx3-ubyte.gz",
            "fashion_mnist/t10k-images-idx3-ubyte.gz",
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Archive(
            f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
            "fashion_mnist/t10k-labels-idx1-ubyte.gz",
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
}
_CHILD = "engine.sources.tensorflow_child"


def prepare(name: str, root: Path) -> None:
    """Writes the set `name` into `root`; one process at a time, and the second finds it done.

    Archives stay in root/downloads/flaxmill/. Raises RequestError for an unknown name, a missing
    TensorFlow or a folder that can't be written; RunError for a failed download or preparation.
    """
    if name in ARCHIVES:
        with _alone(name, root):
            _from_archives(name, root)
    else:
        _with_tensorflow(name, root)


def _from_archives(name: str, root: Path) -> None:
    paths = [download.fetch(archive, _downloads(root)) for archive in ARCHIVES[name]]
    # Imported late: tfds takes seconds, and a download may fail before it is needed.
    from engine.sources import builders

    builders.write(name, paths, root)


def _with_tensorflow(name: str, root: Path) -> None:
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if name.split("/")[0].split(":")[0] not in known:
        near = difflib.get_close_matches(name.lower(), [*known, "digits"], cutoff=0.5)
        raise errors.unknown("data set", name, near or [*ARCHIVES, "digits"])
    if importlib.util.find_spec("tensorflow") is None:
        raise errors.RequestError(
            f"data set {name} isn't in {root}, and needs TensorFlow to be prepared: "
            'pip install -e ".[tensorflow]", or pass --data_dir FOLDER with it prepared'
        )
    child = [sys.executable, "-m", _CHILD, name, str(root.absolute())]
    # tfds prints, and stdout is the caller's; the child must find this package wherever we are.
    status = subprocess.run(child, stdout=2, cwd=Path(__file__).parents[2]).returncode
    if status:
        raise errors.RunError(
            f"preparing {name} in a child process ended with status {status}: its own words are "
            "above. --dataset digits needs neither network nor TensorFlow"
        )


@contextlib.contextmanager
def _alone(name: str, root: Path) -> Iterator[None]:
    """Holds the lock of this set's preparation, waiting for another process that has it."""
    path = _downloads(root) / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")  # were it a link to another's file, nothing would be lost
    except OSError as error:
        raise errors.RequestError(
            f"data set {name} isn't in {root}, which can't be written ({error}): pass --data_dir "
            "FOLDER with one that can, or that holds the set; or --dataset digits"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the process that prepares {name} in {root}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _downloads(root: Path) -> Path:
    return root / "downloads" / "flaxmill"
