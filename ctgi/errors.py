"""The one error users meet."""


class CtgiError(Exception):
    """Bad input, named in one line: what was given, why it cannot be used, what to do instead."""
