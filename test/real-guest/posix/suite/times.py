"""utimensat and futimens: times to the nanosecond."""

import errno
import os

from .harness import (
    GROUP,
    KINDS,
    NOT_SYMLINKS,
    USER,
    as_user,
    case,
    check,
    each,
    equal,
    fails,
    make,
    opened,
    read,
    spares,
    system,
    touches,
    write,
)

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
SECOND = 1_000_000_000


def times_of(name):
    status = os.lstat(name)
    return status.st_atime_ns, status.st_mtime_ns


def utimensat(name, atime, mtime, flags=0):
    """Times as pairs of seconds and nanoseconds."""
    import ctypes

    values = (ctypes.c_long * 4)(*atime, *mtime)
    system("utimensat", -100, name.encode(), values, flags)


@each("times: of a {} are set to the nanosecond", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    os.utime("file", ns=(1_234_567_890_123_456_789, 1_111_111_111_987_654_321))
    equal(times_of("file"), (1_234_567_890_123_456_789, 1_111_111_111_987_654_321), "times")


@each("times: of a {} itself, links not followed", KINDS)
def _(kind):
    make(kind, "file")
    os.utime("file", ns=(1_000_000_001, 2_000_000_002), follow_symlinks=False)
    equal(times_of("file"), (1_000_000_001, 2_000_000_002), "times")


@each("times: setting those of a {} changes its ctime", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    with touches("file", "ctime"):
        os.utime("file", ns=(SECOND, SECOND))


@each(
    "times: {}",
    (
        ("the epoch", 0),
        ("the last nanosecond of a second", SECOND - 1),
        ("past 2038", 2**31 * SECOND + 5),
        ("past 2106", 2**32 * SECOND + 7),
        ("before 1970", -5 * SECOND + 9),
    ),
)
def _(given):
    write("file")
    os.utime("file", ns=(given[1], given[1]))
    equal(times_of("file"), (given[1], given[1]), "times")


@case("times: UTIME_OMIT leaves one")
def _():
    write("file")
    utimensat("file", (5, 6), (7, 8))
    utimensat("file", (0, UTIME_OMIT), (9, 10))
    equal(times_of("file"), (5 * SECOND + 6, 9 * SECOND + 10), "times")
    utimensat("file", (11, 12), (0, UTIME_OMIT))
    equal(times_of("file"), (11 * SECOND + 12, 9 * SECOND + 10), "times")


@case("times: UTIME_OMIT for both leaves all, ctime too")
def _():
    write("file")
    utimensat("file", (5, 6), (7, 8))
    with spares("file", "atime", "mtime", "ctime"):
        utimensat("file", (0, UTIME_OMIT), (0, UTIME_OMIT))


@case("times: UTIME_NOW is now, by the clock that new files have")
def _():
    write("file")
    utimensat("file", (5, 6), (7, 8))
    os.mkdir("before")
    utimensat("file", (0, UTIME_NOW), (0, UTIME_NOW))
    os.mkdir("after")
    first, last = os.stat("before").st_mtime_ns, os.stat("after").st_mtime_ns
    for value in times_of("file"):
        check(first - SECOND <= value <= last + SECOND, "not now")


@case("times: UTIME_NOW for one, a value for the other")
def _():
    write("file")
    utimensat("file", (0, UTIME_NOW), (7, 8))
    equal(os.stat("file").st_mtime_ns, 7 * SECOND + 8, "mtime")
    check(os.stat("file").st_atime_ns > 8 * SECOND, "atime is not now")


@case("times: a nanosecond that is none is EINVAL")
def _():
    write("file")
    fails(errno.EINVAL, utimensat, "file", (0, SECOND), (0, 0))


@case("times: by an open descriptor")
def _():
    write("file")
    with opened("file", os.O_RDONLY) as fd:
        os.utime(fd, ns=(5, 6))
        equal((os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns), (5, 6), "times by descriptor")
    equal(times_of("file"), (5, 6), "times by name")


@case("times: of a file that was unlinked while it is open")
def _():
    write("file")
    with opened("file") as fd:
        os.unlink("file")
        os.utime(fd, ns=(5, 6))
        equal(os.fstat(fd).st_mtime_ns, 6, "mtime")


@case("times: now may be set by who may write")
def _():
    make("regular", "file", 0o666)
    os.utime("file", ns=(5, 6))
    with as_user():
        os.utime("file")
    check(os.stat("file").st_mtime_ns > SECOND, "mtime is not now")


@case("times: now is EACCES for who may not write")
def _():
    make("regular", "file", 0o644)
    with as_user():
        fails(errno.EACCES, os.utime, "file")


@case("times: a value is EPERM for who is not the owner, though they may write")
def _():
    make("regular", "file", 0o666)
    with as_user():
        fails(errno.EPERM, os.utime, "file", (5, 6))


@case("times: a value may be set by the owner, who may not write")
def _():
    make("regular", "file", 0o444)
    os.chown("file", USER, GROUP)
    with as_user():
        os.utime("file", ns=(5, 6))
    equal(times_of("file"), (5, 6), "times")


@case("times: writing changes mtime and ctime")
def _():
    write("file")
    with touches("file", "mtime", "ctime"), opened("file", os.O_WRONLY) as fd:
        os.write(fd, b"x")


@case("times: writing nothing changes none")
def _():
    write("file")
    with spares("file", "mtime", "ctime"), opened("file", os.O_WRONLY) as fd:
        os.write(fd, b"")


@case("times: reading changes an old atime, or the mount does not keep it")
def _():
    write("file")
    os.utime("file", ns=(5, 6))
    with spares("file", "mtime"):
        equal(read("file"), b"content", "content")


@case("times: a write after times were set changes them again")
def _():
    write("file")
    with opened("file") as fd:
        os.utime(fd, ns=(5, 6))
        os.pwrite(fd, b"x", 0)
        os.fsync(fd)
    check(os.stat("file").st_mtime_ns > SECOND, "mtime is not of the write")


@case("times: times that were set before close are those after it")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.write(fd, b"content")
        os.utime(fd, ns=(5, 6))
    equal(times_of("file")[1], 6, "mtime")
