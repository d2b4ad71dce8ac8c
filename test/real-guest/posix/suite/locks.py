"""fcntl and flock between processes of the guest."""

import errno
import fcntl
import os
import signal
import struct
import time

from .harness import as_user, case, check, each, equal, fails, in_child, opened, write

F_OFD_SETLK = 37
WAYS = ("fcntl", "flock")


def take(fd, way, exclusive=True, wait=False):
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    (fcntl.lockf if way == "fcntl" else fcntl.flock)(fd, operation)


def release(fd, way):
    (fcntl.lockf if way == "fcntl" else fcntl.flock)(fd, fcntl.LOCK_UN)


def refused(way, exclusive=True, flags=os.O_RDWR):
    """What another process says that opens the file and would lock it."""
    with opened("file", flags) as fd:
        fails((errno.EAGAIN, errno.EACCES), take, fd, way, exclusive)


def granted(way, exclusive=True, flags=os.O_RDWR):
    with opened("file", flags) as fd:
        take(fd, way, exclusive)


@each("locks: a {} lock keeps out another process", WAYS)
def _(way):
    write("file")
    with opened("file") as fd:
        take(fd, way)
        in_child(lambda: refused(way))
        release(fd, way)
        in_child(lambda: granted(way))


@each("locks: shared {} locks go together", WAYS)
def _(way):
    write("file")
    with opened("file") as fd:
        take(fd, way, exclusive=False)
        in_child(lambda: granted(way, exclusive=False))
        in_child(lambda: refused(way))


@each("locks: a {} lock goes with the file", WAYS)
def _(way):
    write("file")
    with opened("file") as fd:
        take(fd, way)
    in_child(lambda: granted(way))


@each("locks: a {} lock goes with its process", WAYS)
def _(way):
    write("file")
    child = os.fork()
    if child == 0:
        take(os.open("file", os.O_RDWR), way)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    in_child(lambda: granted(way))


@each("locks: a {} lock is waited for, and granted", WAYS)
def _(way):
    write("file")
    with opened("file") as fd:
        take(fd, way)
        child = os.fork()
        if child == 0:
            with opened("file") as waiting:
                take(waiting, way, wait=True)
                write("done")
            os._exit(0)
        time.sleep(0.15)
        check(not os.path.exists("done"), "granted while the lock is held")
        release(fd, way)
        os.waitpid(child, 0)
        check(os.path.exists("done"), "not granted once the lock was free")


@each("locks: a wait for a {} lock ends with a signal, and leaves none", WAYS)
def _(way):
    write("file")
    with opened("file") as fd:
        take(fd, way)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, lambda *_: os._exit(7))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            take(os.open("file", os.O_RDWR), way, wait=True)
            os._exit(0)
        equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7, "how the wait ended")
        release(fd, way)
        in_child(lambda: granted(way))


@case("locks: ranges that do not meet do not exclude each other")
def _():
    write("file", b"x" * 100)
    with opened("file") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)

        def other():
            with opened("file") as second:
                fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
                fails((errno.EAGAIN, errno.EACCES), fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)

        in_child(other)


@case("locks: part of a range is released")
def _():
    write("file", b"x" * 100)
    with opened("file") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 30, 0)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 10)

        def other():
            with opened("file") as second:
                fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
                for start in (0, 20):
                    fails((errno.EAGAIN, errno.EACCES), fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, start)

        in_child(other)


@case("locks: F_GETLK tells who is in the way, and where")
def _():
    write("file", b"x" * 100)
    parent = os.getpid()
    with opened("file") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 20)

        def other():
            with opened("file") as second:
                asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(second, fcntl.F_GETLK, asked))
                equal((kind, start, length, pid), (fcntl.F_WRLCK, 20, 10, parent), "lock in the way")

        in_child(other)


@case("locks: F_GETLK of what is free says so")
def _():
    write("file")
    with opened("file") as fd:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        equal(struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))[0], fcntl.F_UNLCK, "kind")


@case("locks: one process does not exclude itself, and any close of the file releases")
def _():
    write("file")
    with opened("file") as one:
        take(one, "fcntl")
        with opened("file") as two:
            take(two, "fcntl")
        in_child(lambda: granted("fcntl"))


@case("locks: a shared lock is made exclusive, and shared again")
def _():
    write("file")
    with opened("file") as fd:
        take(fd, "fcntl", exclusive=False)
        take(fd, "fcntl", exclusive=True)
        in_child(lambda: refused("fcntl", exclusive=False))
        take(fd, "fcntl", exclusive=False)
        in_child(lambda: granted("fcntl", exclusive=False))


@case("locks: two descriptions of one process exclude each other with OFD locks")
def _():
    write("file")
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with opened("file") as one, opened("file") as two:
        fcntl.fcntl(one, F_OFD_SETLK, lock)
        fails((errno.EAGAIN, errno.EACCES), fcntl.fcntl, two, F_OFD_SETLK, lock)


@case("locks: an exclusive fcntl lock of a file open for reading is EBADF")
def _():
    write("file")
    with opened("file", os.O_RDONLY) as fd:
        fails(errno.EBADF, take, fd, "fcntl")


@case("locks: flock of a file open for reading is exclusive all the same")
def _():
    write("file", mode=0o644)
    with opened("file", os.O_RDONLY) as fd:
        take(fd, "flock")
        in_child(lambda: refused("flock", flags=os.O_RDONLY))


@case("locks: who may only read takes a shared lock")
def _():
    write("file", mode=0o444)
    with as_user(), opened("file", os.O_RDONLY) as fd:
        take(fd, "fcntl", exclusive=False)


@case("locks: a file that was unlinked while it is open can be locked")
def _():
    write("file")
    with opened("file") as fd:
        os.unlink("file")
        take(fd, "fcntl")
        release(fd, "fcntl")


@case("locks: a range past 4 GiB")
def _():
    write("file")
    with opened("file") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 6 << 30)

        def other():
            with opened("file") as second:
                fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
                fails((errno.EAGAIN, errno.EACCES), fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 6 << 30)

        in_child(other)


@case("locks: a duel over one counter loses no turn")
def _():
    write("file", b"0")

    def count():
        with opened("file") as fd:
            for _ in range(25):
                fcntl.lockf(fd, fcntl.LOCK_EX)
                value = int(os.pread(fd, 20, 0))
                os.pwrite(fd, b"%d" % (value + 1), 0)
                fcntl.lockf(fd, fcntl.LOCK_UN)

    child = os.fork()
    if child == 0:
        count()
        os._exit(0)
    count()
    os.waitpid(child, 0)
    with opened("file") as fd:
        equal(int(os.pread(fd, 20, 0)), 50, "counter")
