"""POSIX ACLs, as extended attributes."""

import errno
import os
import struct

from .harness import (
    GROUP,
    OTHER_GROUP,
    OTHER_USER,
    USER,
    as_user,
    case,
    equal,
    fails,
    make,
    mode_of,
    write,
)

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
OWNER, NAMED_USER, OWNING_GROUP, NAMED_GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF


def acl(*entries):
    """From pairs of tag and permissions, or triples with an id."""
    packed = [struct.pack("<I", 2)]
    for tag, permissions, *who in entries:
        packed.append(struct.pack("<HHI", tag, permissions, *(who or [NOBODY])))
    return b"".join(packed)


def allow_user(permissions, mask=7, others=0):
    return acl((OWNER, 6), (NAMED_USER, permissions, USER), (OWNING_GROUP, 0), (MASK, mask), (OTHERS, others))


@case("acl: is kept, and told as it was set")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(4))
    equal(os.getxattr("file", ACCESS), allow_user(4), "ACL")


@case("acl: is listed among the extended attributes")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(4))
    equal(os.listxattr("file"), [ACCESS], "list")


@case("acl: lets a user that the mode would not")
def _():
    write("file", b"content", 0o600)
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)
    os.setxattr("file", ACCESS, allow_user(4))
    with as_user():
        os.close(os.open("file", os.O_RDONLY))
        fails(errno.EACCES, os.open, "file", os.O_RDWR)


@case("acl: keeps out a user that the mode would let")
def _():
    write("file", mode=0o644)
    os.setxattr("file", ACCESS, acl((OWNER, 6), (NAMED_USER, 0, USER), (OWNING_GROUP, 4), (MASK, 4), (OTHERS, 4)))
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)
    with as_user(OTHER_USER, OTHER_GROUP):
        os.close(os.open("file", os.O_RDONLY))


@case("acl: lets a group")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, acl((OWNER, 6), (OWNING_GROUP, 0), (NAMED_GROUP, 6, GROUP), (MASK, 7), (OTHERS, 0)))
    with as_user():
        os.close(os.open("file", os.O_RDWR))
    with as_user(OTHER_USER, OTHER_GROUP, groups=(GROUP,)):
        os.close(os.open("file", os.O_RDWR))


@case("acl: is bounded by its mask")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(7, mask=4))
    with as_user():
        os.close(os.open("file", os.O_RDONLY))
        fails(errno.EACCES, os.open, "file", os.O_WRONLY)


@case("acl: its mask is the group's part of the mode")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(7, mask=5, others=1))
    equal(mode_of("file"), 0o651, "mode")


@case("acl: chmod changes its mask")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(6))
    os.chmod("file", 0o640)
    equal(os.getxattr("file", ACCESS), allow_user(6, mask=4), "ACL")
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_WRONLY)


@case("acl: one that says no more than the mode becomes the mode")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, acl((OWNER, 6), (OWNING_GROUP, 4), (OTHERS, 4)))
    equal(mode_of("file"), 0o644, "mode")
    equal(os.listxattr("file"), [], "list")


@case("acl: removed, the mode alone counts")
def _():
    write("file", mode=0o600)
    os.setxattr("file", ACCESS, allow_user(6))
    os.removexattr("file", ACCESS)
    equal(os.listxattr("file"), [], "list")
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)


@case("acl: is for the owner to set")
def _():
    write("file", mode=0o666)
    with as_user():
        fails(errno.EPERM, os.setxattr, "file", ACCESS, allow_user(6))


@case("acl: one that is none is EINVAL")
def _():
    write("file")
    fails(errno.EINVAL, os.setxattr, "file", ACCESS, b"\x02\0\0\0\x01")
    fails(errno.EINVAL, os.setxattr, "file", ACCESS, acl((OWNER, 6)))


@case("acl: a default one of a file is EACCES")
def _():
    write("file")
    fails(errno.EACCES, os.setxattr, "file", DEFAULT, allow_user(6))


@case("acl: a default one is kept, and changes no permission of the directory")
def _():
    os.mkdir("directory", 0o700)
    os.setxattr("directory", DEFAULT, allow_user(7))
    equal(os.getxattr("directory", DEFAULT), allow_user(7), "ACL")
    equal(mode_of("directory"), 0o700, "mode")


@case("acl: a new file gets the directory's default one, bounded by its mode")
def _():
    os.umask(0o022)
    os.mkdir("directory", 0o755)
    os.setxattr("directory", DEFAULT, allow_user(7))
    make("regular", "directory/file", 0o640)
    equal(os.getxattr("directory/file", ACCESS), allow_user(7, mask=4), "ACL")
    equal(mode_of("directory/file"), 0o640, "mode")


@case("acl: a new directory gets the default one as both")
def _():
    os.umask(0o022)
    os.mkdir("directory", 0o755)
    os.setxattr("directory", DEFAULT, allow_user(7))
    os.mkdir("directory/below", 0o777)
    equal(os.getxattr("directory/below", DEFAULT), allow_user(7), "default ACL")
    equal(os.getxattr("directory/below", ACCESS), allow_user(7), "ACL")


@case("acl: without a default one the umask counts")
def _():
    os.umask(0o027)
    os.mkdir("directory", 0o755)
    make("regular", "directory/file", 0o666)
    equal((mode_of("directory/file"), os.listxattr("directory/file")), (0o640, []), "what is new")


@case("acl: a default one takes the place of the umask")
def _():
    os.umask(0o077)
    os.mkdir("directory", 0o755)
    os.setxattr("directory", DEFAULT, acl((OWNER, 7), (OWNING_GROUP, 5), (OTHERS, 5)))
    make("regular", "directory/file", 0o666)
    equal(mode_of("directory/file"), 0o644, "mode")


@case("acl: a new FIFO gets the default one")
def _():
    os.mkdir("directory", 0o755)
    os.setxattr("directory", DEFAULT, allow_user(7))
    os.mkfifo("directory/fifo", 0o660)
    equal(os.getxattr("directory/fifo", ACCESS), allow_user(7, mask=6), "ACL")


@case("acl: a default one lets its user into what is new")
def _():
    os.mkdir("directory", 0o755)
    os.setxattr("directory", DEFAULT, allow_user(6))
    write("directory/file", b"content", 0o660)
    with as_user():
        os.close(os.open("directory/file", os.O_RDWR))
    with as_user(OTHER_USER, OTHER_GROUP):
        fails(errno.EACCES, os.open, "directory/file", os.O_RDONLY)
