"""How parameters move: optimizers, schedules, and the Optax chain that a config asks for."""
