"""link: hard links."""

import errno
import os

from .harness import (
    KINDS,
    NOT_DIRECTORIES,
    TYPE,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    missing,
    opened,
    read,
    spares,
    system,
    touches,
    write,
)

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400


def hard_link(old, new):
    os.link(old, new, follow_symlinks=False)


@each("link: a second name of a {} is the same file", NOT_DIRECTORIES)
def _(kind):
    make(kind, "one")
    hard_link("one", "two")
    one, two = os.lstat("one"), os.lstat("two")
    equal((two.st_ino, two.st_dev, two.st_mode), (one.st_ino, one.st_dev, one.st_mode), "file")
    equal((one.st_nlink, two.st_nlink), (2, 2), "links")


@each("link: names of a {} go one by one", NOT_DIRECTORIES)
def _(kind):
    make(kind, "one")
    hard_link("one", "two")
    hard_link("two", "three")
    os.unlink("one")
    equal(os.lstat("two").st_nlink, 2, "links")
    os.unlink("three")
    equal((os.lstat("two").st_nlink, os.lstat("two").st_mode & 0o170000), (1, TYPE[kind]), "what is left")


@each("link: changes the ctime of a {} and the times of the directory", NOT_DIRECTORIES)
def _(kind):
    make(kind, "one")
    os.mkdir("directory")
    with touches("one", "ctime"), touches("directory", "mtime", "ctime"):
        hard_link("one", "directory/two")


@each("link: taking one of two names changes the ctime of a {}", NOT_DIRECTORIES)
def _(kind):
    make(kind, "one")
    hard_link("one", "two")
    with touches("one", "ctime"):
        os.unlink("two")


@case("link: of a directory is EPERM")
def _():
    os.mkdir("directory")
    fails(errno.EPERM, os.link, "directory", "new")


@each("link: onto a {} is EEXIST, and changes nothing", KINDS)
def _(kind):
    write("one")
    make(kind, "there")
    with spares("one", "ctime"):
        fails(errno.EEXIST, os.link, "one", "there")
    equal(os.lstat("one").st_nlink, 1, "links")


@case("link: into another file system is EXDEV")
def _():
    write("one")
    fails(errno.EXDEV, os.link, "one", "/of-the-suite")


@case("link: into a directory that may not be written is EACCES")
def _():
    os.chmod(".", 0o777)
    os.mkdir("closed", 0o755)
    with as_user():
        write("mine")
        fails(errno.EACCES, os.link, "mine", "closed/new")
    equal(missing("closed/new"), True, "missing")


@case("link: what is written by one name is read by the other")
def _():
    write("one", b"first")
    os.link("one", "two")
    write("two", b"second")
    equal(read("one"), b"second", "content")
    equal(os.stat("one").st_size, 6, "size")


@case("link: modes and owners are of the file, not of the name")
def _():
    write("one")
    os.link("one", "two")
    os.chmod("two", 0o604)
    equal(os.stat("one").st_mode & 0o777, 0o604, "mode")


@case("link: by AT_SYMLINK_FOLLOW goes to where a link leads")
def _():
    write("file")
    os.symlink("file", "link")
    system("linkat", -100, b"link", -100, b"new", AT_SYMLINK_FOLLOW)
    equal(os.lstat("new").st_ino, os.lstat("file").st_ino, "inode")


@case("link: a file without a name gets one by its descriptor")
def _():
    write("file", b"kept")
    with opened("file") as fd:
        os.link("file", "second")
        os.unlink("file")
        system("linkat", fd, b"", -100, b"third", AT_EMPTY_PATH)
    equal(read("third"), b"kept", "content")


@case("link: fifty names of one file")
def _():
    write("file")
    for number in range(50):
        os.link("file", f"name{number}")
    equal(os.stat("file").st_nlink, 51, "links")
    equal(len(os.listdir(".")), 51, "names")


@case("link: a name of 255 bytes")
def _():
    write("file")
    os.link("file", "n" * 255)
    equal(os.stat("n" * 255).st_nlink, 2, "links")


@case("link: between directories, and what is left after the first directory has gone")
def _():
    os.mkdir("one")
    os.mkdir("two")
    write("one/file", b"kept")
    os.link("one/file", "two/file")
    os.unlink("one/file")
    os.rmdir("one")
    equal(read("two/file"), b"kept", "content")
