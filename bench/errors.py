"""Mistakes that a user can make and correct: shown as one message, never as a traceback."""


class UserError(ValueError):
    """What was needed, what came, and what to do about it."""
