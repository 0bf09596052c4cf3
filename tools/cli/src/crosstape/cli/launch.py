"""Becomes another program that dies with its parent. Run by its path, so it imports nothing of ours.

    python -I -S launch.py PARENT_PID ADDRESS_SPACE_BYTES PROGRAM [ARGUMENT ...]

Linux sends the program SIGKILL when the parent ends, however it ends; elsewhere only an orderly stop does.
An address space of 0 means no limit.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, address_space, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before this process began")
    if int(address_space):
        resource.setrlimit(resource.RLIMIT_AS, (int(address_space), int(address_space)))
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
