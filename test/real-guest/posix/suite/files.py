"""open and its flags."""

import errno
import os

from .harness import (
    as_user,
    case,
    each,
    equal,
    fails,
    in_child,
    make,
    missing,
    opened,
    read,
    spares,
    system,
    write,
)


@each("open: O_CREAT opens what is there with {}", (("O_RDONLY", os.O_RDONLY), ("O_RDWR", os.O_RDWR)))
def _(given):
    write("file", b"kept", 0o640)
    with opened("file", os.O_CREAT | given[1], 0o777) as fd:
        equal(os.read(fd, 10), b"kept", "content")
    equal(os.stat("file").st_mode & 0o777, 0o640, "mode")


@case("open: O_CREAT by a link that leads nowhere makes what it leads to")
def _():
    os.symlink("target", "link")
    os.close(os.open("link", os.O_CREAT | os.O_WRONLY, 0o644))
    equal(sorted(os.listdir(".")), ["link", "target"], "names")


@case("open: O_CREAT with O_EXCL by a link that leads nowhere is EEXIST")
def _():
    os.symlink("target", "link")
    fails(errno.EEXIST, os.open, "link", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    equal(missing("target"), True, "missing")


@case("open: O_CREAT where there is a directory is EISDIR")
def _():
    os.mkdir("directory")
    fails(errno.EISDIR, os.open, "directory", os.O_CREAT | os.O_RDONLY)


@each("open: a directory with {} is EISDIR", (("O_WRONLY", os.O_WRONLY), ("O_RDWR", os.O_RDWR)))
def _(given):
    os.mkdir("directory")
    fails(errno.EISDIR, os.open, "directory", given[1])


@each("open: O_DIRECTORY of a {} is ENOTDIR", ("regular", "fifo", "socket", "char", "block"))
def _(kind):
    make(kind, "file")
    fails(errno.ENOTDIR, os.open, "file", os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)


@case("open: O_NOFOLLOW of a link is ELOOP")
def _():
    write("file")
    os.symlink("file", "link")
    fails(errno.ELOOP, os.open, "link", os.O_RDONLY | os.O_NOFOLLOW)
    os.close(os.open("file", os.O_RDONLY | os.O_NOFOLLOW))


@case("open: O_NOFOLLOW goes through links on the way")
def _():
    os.mkdir("directory")
    write("directory/file", b"kept")
    os.symlink("directory", "link")
    with opened("link/file", os.O_RDONLY | os.O_NOFOLLOW) as fd:
        equal(os.read(fd, 10), b"kept", "content")


@case("open: a socket is ENXIO")
def _():
    make("socket", "socket")
    fails(errno.ENXIO, os.open, "socket", os.O_RDWR)


@case("open: O_APPEND writes at the end, wherever it was")
def _():
    write("file", b"start")
    with opened("file", os.O_WRONLY | os.O_APPEND) as fd:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"-one")
        with opened("file", os.O_WRONLY | os.O_APPEND) as other:
            os.write(other, b"-two")
        os.write(fd, b"-three")
    equal(read("file"), b"start-one-two-three", "content")


@case("open: two processes that append lose nothing")
def _():
    write("file", b"")

    def append(letter):
        with opened("file", os.O_WRONLY | os.O_APPEND) as fd:
            for _ in range(50):
                os.write(fd, letter * 10)

    child = os.fork()
    if child == 0:
        append(b"a")
        os._exit(0)
    append(b"b")
    os.waitpid(child, 0)
    content = read("file")
    equal((content.count(b"a"), content.count(b"b"), len(content)), (500, 500, 1000), "bytes")


@case("open: O_APPEND can be turned on later")
def _():
    import fcntl

    write("file", b"0123")
    with opened("file", os.O_WRONLY) as fd:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"45")
    equal(read("file"), b"012345", "content")


@case("open: O_EXCL lets one of many make a file")
def _():
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                os.open("file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                os._exit(1)
            except FileExistsError:
                os._exit(0)
        children.append(child)
    winners = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    equal(winners, 1, "who made it")


@case("open: O_NOATIME is for the owner")
def _():
    write("file", b"content", 0o644)
    with as_user():
        fails(errno.EPERM, os.open, "file", os.O_RDONLY | os.O_NOATIME)
    with spares("file", "atime"), opened("file", os.O_RDONLY | os.O_NOATIME) as fd:
        os.read(fd, 7)


@case("open: O_PATH gives a descriptor that cannot be read")
def _():
    write("file")
    with opened("file", os.O_PATH) as fd:
        fails(errno.EBADF, os.read, fd, 1)
        equal(os.readlink(f"/proc/self/fd/{fd}").endswith("/file"), True, "name")
        with opened(f"/proc/self/fd/{fd}", os.O_RDONLY) as again:
            equal(os.read(again, 7), b"content", "content")


@case("open: O_TMPFILE makes a file without a name, which can get one")
def _():
    with opened(".", os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, b"content")
        equal(os.listdir("."), [], "names")
        system("linkat", -100, f"/proc/self/fd/{fd}".encode(), -100, b"named", 0x400)
    equal(read("named"), b"content", "content")


@case("open: O_SYNC and O_DSYNC write")
def _():
    for flag in (os.O_SYNC, os.O_DSYNC):
        with opened("file", os.O_CREAT | os.O_RDWR | flag) as fd:
            os.write(fd, b"content")
            equal(os.pread(fd, 7, 0), b"content", "content")
        os.unlink("file")


@case("open: a file that is opened again by its descriptor is the same one, unlinked or not")
def _():
    write("file", b"content")
    with opened("file", os.O_RDONLY) as fd:
        with opened(f"/proc/self/fd/{fd}", os.O_RDWR) as again:
            os.pwrite(again, b"C", 0)
        equal(os.read(fd, 7), b"Content", "content")


@case("open: an unlinked file can be opened again by its descriptor")
def _():
    write("file", b"content")
    with opened("file", os.O_RDONLY) as fd:
        os.unlink("file")
        with opened(f"/proc/self/fd/{fd}", os.O_RDONLY) as again:
            equal(os.read(again, 7), b"content", "content")


@case("open: a descriptor that a child inherits shares its position")
def _():
    write("file", b"0123456789")
    with opened("file", os.O_RDONLY) as fd:
        in_child(lambda: os.read(fd, 4))
        equal(os.read(fd, 3), b"456", "content")


@case("open: relative to a directory's descriptor")
def _():
    os.mkdir("directory")
    write("directory/file", b"kept")
    with opened("directory", os.O_RDONLY) as directory:
        fd = os.open("file", os.O_RDONLY, dir_fd=directory)
        equal(os.read(fd, 10), b"kept", "content")
        os.close(fd)
        fails(errno.ENOENT, os.open, "missing", os.O_RDONLY, dir_fd=directory)


@case("open: reading by a descriptor for writing is EBADF, and the other way round")
def _():
    write("file")
    with opened("file", os.O_WRONLY) as fd:
        fails(errno.EBADF, os.read, fd, 1)
    with opened("file", os.O_RDONLY) as fd:
        fails(errno.EBADF, os.write, fd, b"x")


@case("open: reading a directory is EISDIR")
def _():
    with opened(".", os.O_RDONLY) as fd:
        fails(errno.EISDIR, os.read, fd, 1)


@case("open: a running program is ETXTBSY for who would write it")
def _():
    write("program", read("/bin/busybox"), 0o755)
    child = os.fork()
    if child == 0:
        os.execv("program", ["sleep", "60"])
    try:
        wait_for_program(child)
        fails(errno.ETXTBSY, os.open, "program", os.O_WRONLY)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def wait_for_program(child):
    """Until the child runs what it was to run."""
    import time

    for _ in range(500):
        if os.readlink(f"/proc/{child}/exe").endswith("/program"):
            return
        time.sleep(0.01)
    raise TimeoutError("the program does not run")


@case("open: a hundred files at a time")
def _():
    descriptors = [os.open(f"file{number}", os.O_CREAT | os.O_RDWR, 0o644) for number in range(100)]
    for number, fd in enumerate(descriptors):
        os.write(fd, b"%d" % number)
    for number, fd in enumerate(descriptors):
        equal(os.pread(fd, 10, 0), b"%d" % number, "content")
        os.close(fd)
