"""chown, lchown and fchown."""

import errno
import os
import stat

from .harness import (
    GROUP,
    KINDS,
    NOT_SYMLINKS,
    OTHER_GROUP,
    OTHER_USER,
    USER,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    mode_of,
    opened,
    spares,
    touches,
    write,
)


def owner_of(name):
    status = os.lstat(name)
    return status.st_uid, status.st_gid


@each("chown: root gives away a {}", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    os.chown("file", USER, GROUP)
    equal(owner_of("file"), (USER, GROUP), "owner")


@each("chown: takes large ids for a {}", ("regular", "directory"))
def _(kind):
    make(kind, "file")
    os.chown("file", 4_000_000_000, 3_000_000_000)
    equal(owner_of("file"), (4_000_000_000, 3_000_000_000), "owner")


@each("lchown: gives away a {} itself", KINDS)
def _(kind):
    make(kind, "file")
    os.lchown("file", USER, GROUP)
    equal(owner_of("file"), (USER, GROUP), "owner")


@each("chown: changes the ctime of a {}", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    with touches("file", "ctime"), spares("file", "mtime"):
        os.chown("file", USER, GROUP)


@case("chown: of a symbolic link changes what it leads to")
def _():
    make("regular", "file")
    os.symlink("file", "link")
    os.chown("link", USER, GROUP)
    equal((owner_of("file"), owner_of("link")), ((USER, GROUP), (0, 0)), "owners")


@case("chown: -1 leaves an id as it is")
def _():
    make("regular", "file")
    os.chown("file", USER, GROUP)
    os.chown("file", -1, OTHER_GROUP)
    equal(owner_of("file"), (USER, OTHER_GROUP), "owner")
    os.chown("file", OTHER_USER, -1)
    equal(owner_of("file"), (OTHER_USER, OTHER_GROUP), "owner")


@case("chown: -1 for both changes nobody")
def _():
    make("regular", "file")
    os.chown("file", USER, GROUP)
    os.chown("file", -1, -1)
    equal(owner_of("file"), (USER, GROUP), "owner")


@each("chown: an owner may not give away a {}", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    os.chown("file", USER, GROUP)
    with spares("file", "ctime"), as_user():
        fails(errno.EPERM, os.chown, "file", OTHER_USER, -1)
    equal(owner_of("file"), (USER, GROUP), "owner")


@case("chown: an owner may give a file to a group that they are in")
def _():
    make("regular", "file")
    os.chown("file", USER, GROUP)
    with as_user(groups=(OTHER_GROUP,)):
        os.chown("file", -1, OTHER_GROUP)
    equal(owner_of("file"), (USER, OTHER_GROUP), "owner")


@case("chown: an owner may not give a file to a group that they are not in")
def _():
    make("regular", "file")
    os.chown("file", USER, GROUP)
    with as_user():
        fails(errno.EPERM, os.chown, "file", -1, OTHER_GROUP)


@case("chown: somebody else's file is EPERM, also to the group that it has")
def _():
    make("regular", "file", 0o666)
    os.chown("file", OTHER_USER, GROUP)
    with as_user():
        fails(errno.EPERM, os.chown, "file", -1, GROUP)


@each("chown: takes the set-id bits from a file of mode {}", ("6755", "4755", "2755", "6711"))
def _(mode):
    make("regular", "file")
    os.chmod("file", int(mode, 8))
    os.chown("file", USER, GROUP)
    equal(mode_of("file"), int(mode, 8) & 0o777, "mode")


@case("chown: by the owner, to another of their groups, takes the set-id bits")
def _():
    make("regular", "file")
    os.chown("file", USER, GROUP)
    os.chmod("file", 0o6755)
    with as_user(groups=(OTHER_GROUP,)):
        os.chown("file", -1, OTHER_GROUP)
    equal(mode_of("file"), 0o755, "mode")


@case("chown: leaves the set-id bits of a directory")
def _():
    os.mkdir("directory")
    os.chmod("directory", 0o6755)
    os.chown("directory", USER, GROUP)
    equal(mode_of("directory"), 0o6755, "mode")


@case("fchown: gives away an open file")
def _():
    write("file")
    with opened("file", os.O_RDONLY) as fd:
        os.fchown(fd, USER, GROUP)
        equal((os.fstat(fd).st_uid, os.fstat(fd).st_gid), (USER, GROUP), "owner by descriptor")
    equal(owner_of("file"), (USER, GROUP), "owner by name")


@case("fchown: works on a file that was unlinked while it is open")
def _():
    write("file")
    with opened("file") as fd:
        os.unlink("file")
        os.fchown(fd, USER, GROUP)
        equal(os.fstat(fd).st_uid, USER, "owner")


@case("chown: a new owner may what the old one might")
def _():
    write("file", mode=0o600)
    os.chown("file", USER, GROUP)
    with as_user():
        os.close(os.open("file", os.O_RDWR))
        os.chmod("file", 0o640)
    with as_user(OTHER_USER, OTHER_GROUP):
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)


@case("chown: to somebody else in a sticky directory takes the right to remove")
def _():
    os.mkdir("directory")
    os.chmod("directory", 0o1777)
    make("regular", "directory/file")
    with as_user():
        fails(errno.EPERM, os.unlink, "directory/file")
    os.chown("directory/file", USER, GROUP)
    with as_user():
        os.unlink("directory/file")


@case("chown: writing by somebody who is not root takes the set-id bits")
def _():
    write("file", mode=0o666)
    os.chmod("file", 0o6777)
    with as_user(), opened("file", os.O_WRONLY) as fd:
        os.write(fd, b"x")
    equal(stat.S_IMODE(os.stat("file").st_mode), 0o777, "mode")


@case("chown: cutting by somebody who is not root takes the set-id bits")
def _():
    write("file", mode=0o666)
    os.chmod("file", 0o6777)
    with as_user():
        os.truncate("file", 1)
    equal(stat.S_IMODE(os.stat("file").st_mode), 0o777, "mode")
