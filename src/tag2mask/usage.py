"""The refusal of what a user typed or wrote."""


class UsageError(ValueError):
    """What was typed or written cannot be understood; the command ends with exit status 2."""
