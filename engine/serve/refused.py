"""What a request is answered where it can't be carried out."""


class Refused(Exception):
    """`status` is HTTP's; the message says what was wrong and what to send."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
