"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """Bad input or configuration. The command line prints the message alone and exits with status 2."""
