"""A sweep that many processes share: Optuna's storage hands settings out and keeps the results.

Raises RequestError, when it is imported, where Optuna is missing.
"""

from engine.errors import RequestError

try:
    import optuna
except ModuleNotFoundError:
    raise RequestError("--study needs Optuna, which keeps what the processes share: "
                       "pip install 'flaxmill[study]', or pip install optuna.") from None
optuna.logging.set_verbosity(optuna.logging.ERROR)
