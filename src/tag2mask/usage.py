"""The error for what a user typed or wrote that cannot be understood."""


class UsageError(ValueError):
    """What was typed or written cannot be understood; the command ends with exit status 2."""
