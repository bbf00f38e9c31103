"""Who acts: the name that audit and timeline keep for what is done by command line."""

import getpass


def operator() -> str:
    """The operating system's name of the user, marked as coming from the command line."""
    try:
        return f"{getpass.getuser()[:40]} (cli)"
    except (KeyError, OSError):  # a container's user may have no name
        return "cli"
