"""Something to do each epoch, or a reason to stop: a function of the epoch's row.

    python examples/logger.py
"""

import json

from linen_network import Net

from flaxmill import Config, Place, fit


def log(row):
    """To a file, or to a service of your own."""
    with open("log.jsonl", "a") as file:
        print(json.dumps(row), file=file)


def good_enough(row):
    """A true answer stops the run, its last epoch saved."""
    return row["val_accuracy"] > 0.8 and f"val_accuracy is {row['val_accuracy']:.3f}"


run = fit(Config(dataset="digits", model=Net, epochs=20), place=Place(device="cpu"),
          loggers=[log, good_enough])
print(run)
