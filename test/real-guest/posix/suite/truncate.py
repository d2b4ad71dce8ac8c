"""truncate, ftruncate and O_TRUNC."""

import errno
import os

from .harness import (
    NOT_SYMLINKS,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    opened,
    read,
    spares,
    touches,
    write,
)

LARGE = 5 << 30


def by_name(size):
    os.truncate("file", size)


def by_descriptor(size):
    with opened("file", os.O_RDWR) as fd:
        os.ftruncate(fd, size)


WAYS = (("truncate", by_name), ("ftruncate", by_descriptor))


@each("truncate: {} cuts a file", WAYS)
def _(way):
    write("file", b"0123456789")
    way[1](4)
    equal(read("file"), b"0123", "content")


@each("truncate: {} extends a file by zeros", WAYS)
def _(way):
    write("file", b"01")
    way[1](5000)
    equal(read("file"), b"01" + bytes(4998), "content")


@each("truncate: {} to nothing, and what is written then", WAYS)
def _(way):
    write("file", b"x" * 10_000)
    way[1](0)
    equal(read("file"), b"", "content")
    way[1](10_000)
    equal(read("file"), bytes(10_000), "content: what was cut must not come back")


@each("truncate: {} changes mtime and ctime", WAYS)
def _(way):
    write("file", b"0123456789")
    with touches("file", "mtime", "ctime"):
        way[1](4)


@each("truncate: {} past 4 GiB", WAYS)
def _(way):
    write("file", b"0123")
    way[1](LARGE)
    status = os.stat("file")
    equal(status.st_size, LARGE, "size")
    equal(status.st_blocks * 512 < 1 << 20, True, "sparse")


@each("truncate: of a {} by name", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    if kind == "regular":
        return os.truncate("file", 3)
    return fails(errno.EISDIR if kind == "directory" else errno.EINVAL, os.truncate, "file", 3)


@case("truncate: to less than nothing is EINVAL")
def _():
    write("file")
    fails(errno.EINVAL, os.truncate, "file", -1)


@case("truncate: of a file that may not be written is EACCES")
def _():
    write("file", mode=0o644)
    with as_user():
        fails(errno.EACCES, os.truncate, "file", 3)
    equal(read("file"), b"content", "content")


@case("truncate: by a link cuts what it leads to")
def _():
    write("file", b"0123456789")
    os.symlink("file", "link")
    os.truncate("link", 4)
    equal(read("file"), b"0123", "content")


@case("ftruncate: by a descriptor open for reading is EINVAL or EBADF")
def _():
    write("file")
    with opened("file", os.O_RDONLY) as fd:
        fails((errno.EINVAL, errno.EBADF), os.ftruncate, fd, 3)


@case("ftruncate: works on a file that was unlinked while it is open")
def _():
    write("file", b"0123456789")
    with opened("file") as fd:
        os.unlink("file")
        os.ftruncate(fd, 4)
        equal((os.fstat(fd).st_size, os.pread(fd, 20, 0)), (4, b"0123"), "what is left")


@case("ftruncate: works where permission to write went after the file was opened")
def _():
    os.chmod(".", 0o777)
    with as_user():
        fd = os.open("file", os.O_CREAT | os.O_RDWR, 0o444)
        os.write(fd, b"0123456789")
        os.ftruncate(fd, 4)
        os.close(fd)
    equal(read("file"), b"0123", "content")


@case("truncate: leaves the position of an open file")
def _():
    write("file", b"0123456789")
    with opened("file") as fd:
        os.lseek(fd, 8, os.SEEK_SET)
        os.ftruncate(fd, 2)
        equal(os.read(fd, 10), b"", "content at the end")
        os.write(fd, b"x")
    equal(read("file"), b"01" + bytes(6) + b"x", "content")


@case("truncate: another descriptor sees the new size at once")
def _():
    write("file", b"0123456789")
    with opened("file") as one, opened("file", os.O_RDONLY) as two:
        os.ftruncate(one, 4)
        equal((os.fstat(two).st_size, os.read(two, 10)), (4, b"0123"), "what is seen")


@case("open: O_TRUNC cuts a file and changes its times")
def _():
    write("file", b"0123456789")
    with touches("file", "mtime", "ctime"):
        os.close(os.open("file", os.O_WRONLY | os.O_TRUNC))
    equal(os.stat("file").st_size, 0, "size")


@case("open: O_TRUNC of a file that may not be written is EACCES, and cuts nothing")
def _():
    write("file", b"0123456789")
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_WRONLY | os.O_TRUNC)
    equal(os.stat("file").st_size, 10, "size")


@case("open: O_TRUNC keeps owner and mode")
def _():
    write("file", b"0123456789", 0o640)
    os.close(os.open("file", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o777))
    equal(os.stat("file").st_mode & 0o777, 0o640, "mode")


@case("truncate: to the size that a file has leaves its content")
def _():
    write("file", b"0123456789")
    os.truncate("file", 10)
    equal(read("file"), b"0123456789", "content")


@case("truncate: of a read of nothing leaves the mtime")
def _():
    write("file", b"0123456789")
    with spares("file", "mtime", "ctime"):
        equal(read("file"), b"0123456789", "content")
