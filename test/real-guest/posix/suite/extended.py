"""Extended attributes."""

import errno
import os

from .harness import (
    GROUP,
    OTHER_USER,
    USER,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    opened,
    touches,
    write,
)

KEEPERS = ("regular", "directory")


@each("xattr: a {} keeps a value", KEEPERS)
def _(kind):
    make(kind, "file")
    os.setxattr("file", "user.name", b"value")
    equal(os.getxattr("file", "user.name"), b"value", "value")
    equal(os.listxattr("file"), ["user.name"], "list")


@each("xattr: a value of a {} is replaced, and removed", KEEPERS)
def _(kind):
    make(kind, "file")
    os.setxattr("file", "user.name", b"value")
    os.setxattr("file", "user.name", b"another, longer value")
    equal(os.getxattr("file", "user.name"), b"another, longer value", "value")
    os.removexattr("file", "user.name")
    fails(errno.ENODATA, os.getxattr, "file", "user.name")
    equal(os.listxattr("file"), [], "list")


@each("xattr: a value of {} bytes", (1, 255, 1024, 2047, 2049, 3500))
def _(size):
    write("file")
    value = os.urandom(size)
    os.setxattr("file", "user.name", value)
    equal(os.getxattr("file", "user.name") == value, True, "as written")


@case("xattr: an empty value is a value")
def _():
    write("file")
    os.setxattr("file", "user.name", b"")
    equal(os.getxattr("file", "user.name"), b"", "value")
    equal(os.listxattr("file"), ["user.name"], "list")


@case("xattr: an empty value takes the place of another")
def _():
    write("file")
    os.setxattr("file", "user.name", b"value")
    os.setxattr("file", "user.name", b"")
    equal(os.getxattr("file", "user.name"), b"", "value")


@case("xattr: an empty value with XATTR_CREATE")
def _():
    write("file")
    os.setxattr("file", "user.name", b"", os.XATTR_CREATE)
    equal(os.getxattr("file", "user.name"), b"", "value")


@case("xattr: an empty value with XATTR_REPLACE")
def _():
    write("file")
    os.setxattr("file", "user.name", b"value")
    os.setxattr("file", "user.name", b"", os.XATTR_REPLACE)
    equal(os.getxattr("file", "user.name"), b"", "value")


@case("xattr: XATTR_CREATE of what is there is EEXIST")
def _():
    write("file")
    os.setxattr("file", "user.name", b"value")
    fails(errno.EEXIST, os.setxattr, "file", "user.name", b"other", os.XATTR_CREATE)
    equal(os.getxattr("file", "user.name"), b"value", "value")


@case("xattr: XATTR_REPLACE of what is not there is ENODATA")
def _():
    write("file")
    fails(errno.ENODATA, os.setxattr, "file", "user.name", b"value", os.XATTR_REPLACE)


@case("xattr: removing what is not there is ENODATA")
def _():
    write("file")
    fails(errno.ENODATA, os.removexattr, "file", "user.name")


@case("xattr: a value of more than 64 KiB is E2BIG")
def _():
    write("file")
    fails(errno.E2BIG, os.setxattr, "file", "user.name", b"x" * 65_537)


@case("xattr: a name of more than 255 bytes is ERANGE")
def _():
    write("file")
    fails(errno.ERANGE, os.setxattr, "file", "user." + "n" * 251, b"value")


@case("xattr: a name of 255 bytes")
def _():
    write("file")
    name = "user." + "n" * 250
    os.setxattr("file", name, b"value")
    equal(os.listxattr("file"), [name], "list")


@case("xattr: a name without a namespace is EOPNOTSUPP")
def _():
    write("file")
    fails(errno.EOPNOTSUPP, os.setxattr, "file", "name", b"value")


@case("xattr: thirty names are listed")
def _():
    write("file")
    for number in range(30):
        os.setxattr("file", f"user.name{number}", b"%d" % number)
    equal(len(os.listxattr("file")), 30, "names")
    equal(os.getxattr("file", "user.name17"), b"17", "value")


@case("xattr: user.* of a symbolic link is EPERM")
def _():
    make("symlink", "link")
    fails(errno.EPERM, os.setxattr, "link", "user.name", b"value", follow_symlinks=False)


@case("xattr: by a link to a file")
def _():
    write("file")
    os.symlink("file", "link")
    os.setxattr("link", "user.name", b"value")
    equal(os.getxattr("file", "user.name"), b"value", "value")


@case("xattr: by an open descriptor")
def _():
    write("file")
    with opened("file") as fd:
        os.setxattr(fd, "user.name", b"value")
        equal((os.getxattr(fd, "user.name"), os.listxattr(fd)), (b"value", ["user.name"]), "value")
        os.removexattr(fd, "user.name")
    equal(os.listxattr("file"), [], "list")


@case("xattr: of a file that was unlinked while it is open")
def _():
    write("file")
    with opened("file") as fd:
        os.unlink("file")
        os.setxattr(fd, "user.name", b"value")
        equal(os.getxattr(fd, "user.name"), b"value", "value")


@case("xattr: goes along with a rename, and with a link")
def _():
    write("file")
    os.setxattr("file", "user.name", b"value")
    os.rename("file", "new")
    os.link("new", "second")
    equal(os.getxattr("second", "user.name"), b"value", "value")


@case("xattr: setting one changes the ctime")
def _():
    write("file")
    with touches("file", "ctime"):
        os.setxattr("file", "user.name", b"value")


@case("xattr: who may not write may not set one")
def _():
    write("file", mode=0o644)
    with as_user():
        fails(errno.EACCES, os.setxattr, "file", "user.name", b"value")


@case("xattr: who may not read may not get one")
def _():
    write("file", mode=0o600)
    os.setxattr("file", "user.name", b"value")
    with as_user():
        fails(errno.EACCES, os.getxattr, "file", "user.name")


@case("xattr: in a sticky directory's own, only its owner may set one")
def _():
    os.mkdir("directory")
    os.chmod("directory", 0o1777)
    os.chown("directory", OTHER_USER, -1)
    with as_user():
        fails(errno.EPERM, os.setxattr, "directory", "user.name", b"value")
    os.chown("directory", USER, GROUP)
    with as_user():
        os.setxattr("directory", "user.name", b"value")


@case("xattr: a value of every byte")
def _():
    write("file")
    os.setxattr("file", "user.name", bytes(range(256)))
    equal(os.getxattr("file", "user.name"), bytes(range(256)), "value")


@case("xattr: a name of bytes that are no text")
def _():
    write("file")
    os.setxattr("file", b"user.\xff\xfe", b"value")
    equal(os.getxattr("file", b"user.\xff\xfe"), b"value", "value")
