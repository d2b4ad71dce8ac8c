"""Cases and what they are made of. Each runs in a new directory, which is its working directory, with a umask of 0."""

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import stat
import time
from typing import Callable, NamedTuple

USER = 65533
GROUP = 65533
OTHER_USER = 65532
OTHER_GROUP = 65532
# Beyond what a jiffy of host or guest is: times that are taken before and after it differ.
TICK_S = 0.012
CASE_TIMEOUT_S = 60

KINDS = ("regular", "directory", "fifo", "socket", "symlink", "char", "block")
NOT_DIRECTORIES = tuple(kind for kind in KINDS if kind != "directory")
NOT_SYMLINKS = tuple(kind for kind in KINDS if kind != "symlink")

libc = ctypes.CDLL(None, use_errno=True)


class Case(NamedTuple):
    name: str
    body: Callable[[], None]


CASES = []


class Mismatch(Exception):
    """Something is not as it should be."""


def case(name):
    """Registers a function as a case."""

    def register(body):
        CASES.append(Case(name, body))
        return body

    return register


def each(name, values):
    """Registers a function of one argument as a case for each of the values, which take the place of {} in the name."""

    def register(body):
        for value in values:
            shown = value[0] if isinstance(value, tuple) else value
            CASES.append(Case(name.format(shown), lambda value=value: body(value)))
        return body

    return register


def run(chosen, directory):
    """None where it passed, else what was wrong."""
    folder = os.path.join(directory, "case")
    signal.signal(signal.SIGALRM, on_timeout)
    try:
        os.mkdir(folder, 0o755)
        os.chdir(folder)
        signal.alarm(CASE_TIMEOUT_S)
        chosen.body()
        return None
    except Mismatch as problem:
        return str(problem)
    except Exception as problem:  # Whatever a file system answers is a result.
        return f"{type(problem).__name__}: {problem}"
    finally:
        signal.alarm(0)
        os.umask(0)
        os.chdir("/")
        clear(folder)


def on_timeout(_signal, _frame):
    raise TimeoutError(f"nothing came of it in {CASE_TIMEOUT_S} s")


def clear(folder):
    """Removes what a case made; what cannot be removed is put aside, for the next case to have a place."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        os.rename(folder, f"{folder}-{time.time_ns()}")


def check(condition, what):
    if not condition:
        raise Mismatch(what)


def equal(actual, expected, what="value"):
    if actual != expected:
        raise Mismatch(f"{what}: {shown(actual)} instead of {shown(expected)}")


def shown(value):
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def fails(expected, call, *arguments, **named):
    """The call has to fail with the error, or one of the errors, where POSIX leaves the choice."""
    wanted = expected if isinstance(expected, tuple) else (expected,)
    name = "/".join(errno.errorcode[code] for code in wanted)
    try:
        call(*arguments, **named)
    except OSError as problem:
        got = errno.errorcode.get(problem.errno, problem.errno)
        check(problem.errno in wanted, f"{got} instead of {name}")
        return
    raise Mismatch(f"success instead of {name}")


def system(name, *arguments):
    """Calls a function of the C library."""
    ctypes.set_errno(0)
    answer = getattr(libc, name)(*arguments)
    if answer == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


@contextlib.contextmanager
def as_user(uid=USER, gid=GROUP, groups=()):
    """The effective ids, which is what a file system goes by; and root's again."""
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(())


def in_child(body):
    """Runs it in a process of its own: None, or what was wrong there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        problem = ""
        try:
            body()
        except BaseException as error:  # It must not come back as a second suite.
            problem = f"{type(error).__name__}: {error}"
        os.write(writing, problem.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        problem = answer.read()
    os.waitpid(child, 0)
    check(problem == "", f"in another process: {problem}")


def make(kind, name, mode=0o644):
    if kind == "regular":
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    elif kind == "directory":
        os.mkdir(name, mode)
    elif kind == "symlink":
        os.symlink("nowhere", name)
    else:
        os.mknod(name, TYPE[kind] | mode, DEVICE.get(kind, 0))


TYPE = {
    "regular": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}
DEVICE = {"char": os.makedev(1, 3), "block": os.makedev(7, 5)}


def remove(kind, name):
    os.rmdir(name) if kind == "directory" else os.unlink(name)


def write(name, content=b"content", mode=0o644):
    with os.fdopen(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:
        file.write(content)


def read(name):
    with open(name, "rb") as file:
        return file.read()


@contextlib.contextmanager
def opened(name, flags=os.O_RDWR, mode=0o644):
    fd = os.open(name, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def mode_of(name):
    return stat.S_IMODE(os.lstat(name).st_mode)


def missing(name):
    return not os.path.lexists(name)


@contextlib.contextmanager
def touches(name, *times):
    """What is done changes these times of the file ("atime", "mtime", "ctime")."""
    before = os.lstat(name)
    time.sleep(TICK_S)
    yield
    after = os.lstat(name)
    for which in times:
        field = f"st_{which}_ns"
        check(getattr(after, field) > getattr(before, field), f"{which} of {name} has not changed")


@contextlib.contextmanager
def spares(name, *times):
    """What is done leaves these times of the file alone."""
    before = os.lstat(name)
    time.sleep(TICK_S)
    yield
    after = os.lstat(name)
    for which in times:
        field = f"st_{which}_ns"
        equal(getattr(after, field), getattr(before, field), f"{which} of {name}")
