"""How long a segment is, so that a signal need not wait for long."""

SECONDS = 10.0


class Pace:
    """`steps` of a segment that takes about SECONDS, from one step at the start."""

    def __init__(self) -> None:
        self.steps = 1

    def learn(self, steps: int, seconds: float) -> None:
        """A segment of `steps` took so long."""
        self.steps = max(1, round(steps * SECONDS / max(seconds, 1e-6)))
