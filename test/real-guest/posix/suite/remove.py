"""unlink and rmdir."""

import errno
import os

from .harness import (
    GROUP,
    KINDS,
    NOT_DIRECTORIES,
    OTHER_GROUP,
    OTHER_USER,
    USER,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    missing,
    opened,
    read,
    remove,
    touches,
    write,
)


@each("remove: a {} is gone", KINDS)
def _(kind):
    make(kind, "file")
    remove(kind, "file")
    equal((missing("file"), os.listdir(".")), (True, []), "what is left")
    fails(errno.ENOENT, os.lstat, "file")


@each("remove: a {} changes the times of its directory", KINDS)
def _(kind):
    make(kind, "file")
    with touches(".", "mtime", "ctime"):
        remove(kind, "file")


@each("remove: a {} in a directory that may not be written is EACCES", KINDS)
def _(kind):
    os.mkdir("closed", 0o755)
    make(kind, "closed/file")
    os.lchown("closed/file", USER, GROUP)
    with as_user():
        fails(errno.EACCES, remove, kind, "closed/file")


@each("remove: somebody else's {} where the directory may be written", KINDS)
def _(kind):
    os.chmod(".", 0o777)
    make(kind, "file", 0o600)
    with as_user():
        remove(kind, "file")
    equal(missing("file"), True, "missing")


@each("remove: somebody else's {} in a sticky directory is EPERM", KINDS)
def _(kind):
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make(kind, "sticky/file")
    os.lchown("sticky/file", OTHER_USER, OTHER_GROUP)
    with as_user():
        fails(errno.EPERM, remove, kind, "sticky/file")


@each("remove: one's own {} in a sticky directory", KINDS)
def _(kind):
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make(kind, "sticky/file")
    os.lchown("sticky/file", USER, GROUP)
    with as_user():
        remove(kind, "sticky/file")
    equal(os.listdir("sticky"), [], "what is left")


@each("remove: somebody else's {} in one's own sticky directory", KINDS)
def _(kind):
    os.mkdir("sticky")
    os.chown("sticky", USER, GROUP)
    os.chmod("sticky", 0o1755)
    make(kind, "sticky/file")
    with as_user():
        remove(kind, "sticky/file")
    equal(os.listdir("sticky"), [], "what is left")


@each("rmdir: of a {} is ENOTDIR", NOT_DIRECTORIES)
def _(kind):
    make(kind, "file")
    fails(errno.ENOTDIR, os.rmdir, "file")


@each("rmdir: of a directory with a {} in it is ENOTEMPTY", KINDS)
def _(kind):
    os.mkdir("directory")
    make(kind, "directory/file")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, "directory")
    equal(os.listdir("directory"), ["file"], "what is there")


@case("rmdir: of . is EINVAL")
def _():
    os.mkdir("directory")
    fails(errno.EINVAL, os.rmdir, "directory/.")


@case("rmdir: of .. is ENOTEMPTY")
def _():
    os.makedirs("directory/below")
    fails((errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL), os.rmdir, "directory/below/..")


@case("rmdir: by a link to a directory is ENOTDIR")
def _():
    os.mkdir("directory")
    os.symlink("directory", "link")
    fails(errno.ENOTDIR, os.rmdir, "link")


@case("unlink: of a directory is EISDIR or EPERM")
def _():
    os.mkdir("directory")
    fails((errno.EISDIR, errno.EPERM), os.unlink, "directory")


@case("unlink: of a link leaves what it leads to")
def _():
    write("file", b"kept")
    os.symlink("file", "link")
    os.unlink("link")
    equal(read("file"), b"kept", "content")


@case("unlink: an open file stays readable and writable, with no link left")
def _():
    write("file", b"content")
    with opened("file") as fd:
        os.unlink("file")
        equal(os.fstat(fd).st_nlink, 0, "links")
        os.pwrite(fd, b"CON", 0)
        equal(os.pread(fd, 20, 0), b"CONtent", "content")
        os.ftruncate(fd, 3)
        equal(os.fstat(fd).st_size, 3, "size")


@case("unlink: an open file and a new one of its name are two")
def _():
    write("file", b"old")
    with opened("file") as fd:
        os.unlink("file")
        write("file", b"new")
        equal((os.pread(fd, 3, 0), read("file")), (b"old", b"new"), "contents")


@case("unlink: a file that is open twice stays until both are closed")
def _():
    write("file", b"content")
    with opened("file") as one:
        with opened("file", os.O_RDONLY) as two:
            os.unlink("file")
            os.pwrite(one, b"X", 0)
            equal(os.pread(two, 7, 0), b"Xontent", "content")
        equal(os.pread(one, 7, 0), b"Xontent", "content after the second is closed")


@case("rmdir: an open directory that is removed is empty, and can be closed")
def _():
    os.mkdir("directory")
    with opened("directory", os.O_RDONLY) as fd:
        os.rmdir("directory")
        equal(os.fstat(fd).st_mode & 0o170000, 0o040000, "type")
        equal(os.listdir(fd), [], "list")


@case("unlink: two hundred files, and the directory after them")
def _():
    os.mkdir("directory")
    for number in range(200):
        os.mknod(f"directory/{number}")
    for name in os.listdir("directory"):
        os.unlink(f"directory/{name}")
    os.rmdir("directory")
    equal(missing("directory"), True, "missing")
