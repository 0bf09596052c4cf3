"""What the command says when it cannot go on: one line, and what to do about it."""

import errno


class CliError(Exception):
    """Ends the command with exit code 1. The text is one sentence for its user, with the remedy in it."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
