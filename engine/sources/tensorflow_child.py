"""Prepares a tfds set with TensorFlow, in a process of its own: NAME DATA_DIR.

tfds retries a host that can't be reached for over three minutes, and waits for a silent one for
ever; a person at a terminal wants to know within seconds.
"""

import sys
from typing import Any

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import download_manager, downloader

from engine.sources.download import WAIT_S

RETRIES = 1
FAULTS = (
    requests.exceptions.RequestException,
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
    ValueError,  # an address without a checksum
)


def hurry() -> None:
    """Have tfds's downloads retry once, and give up on a host silent for WAIT_S seconds."""
    downloader.MAX_RETRIES = RETRIES
    send = requests.adapters.HTTPAdapter.send

    def send_in_time(self: Any, request: Any, **options: Any) -> Any:
        return send(self, request, **options | {"timeout": options.get("timeout") or WAIT_S})

    requests.adapters.HTTPAdapter.send = send_in_time  # type: ignore


def pinned() -> Any:
    """Every archive has a SHA-256 in tfds's list; nothing prepared by others is copied."""
    return tfds.download.DownloadConfig(force_checksums_validation=True, try_download_gcs=False)


def main(name: str, data_dir: str) -> int:
    hurry()
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    try:
        builder.download_and_prepare(download_config=pinned())
    except FAULTS as error:
        print(f"can't download {name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
