"""Becomes another program that dies with its parent. Run by its path, so it imports nothing of ours.

    python -I -S launch.py PARENT_PID PROGRAM [ARGUMENT ...]

Linux sends the program SIGKILL when the parent ends, however it ends; elsewhere only an orderly stop does.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before this process began")
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
