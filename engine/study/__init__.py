"""A sweep that many processes share: Optuna's storage hands settings out and keeps the results.

Raises RequestError, when it is imported, where Optuna is missing.
"""

from engine.job import extras

extras.need("--study", "study", "optuna")
import optuna  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
