"""chmod and fchmod."""

import errno
import os
import stat

from .harness import (
    GROUP,
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


@each("chmod: changes the mode of a {}", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    for mode in (0o111, 0o7777, 0o000, 0o640):
        os.chmod("file", mode)
        equal(mode_of("file"), mode, "mode")


@each("chmod: changes the ctime of a {}, and no other time", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    with touches("file", "ctime"), spares("file", "mtime", "atime"):
        os.chmod("file", 0o600)


@each("chmod: a {} of somebody else is EPERM, and its ctime stays", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    os.chown("file", OTHER_USER, OTHER_GROUP)
    with spares("file", "ctime"), as_user():
        fails(errno.EPERM, os.chmod, "file", 0o666)
    equal(mode_of("file"), 0o644, "mode")


@each("chmod: the owner of a {} may", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    os.chown("file", USER, GROUP)
    with as_user():
        os.chmod("file", 0o123)
    equal(mode_of("file"), 0o123, "mode")


@case("chmod: of a symbolic link changes what it leads to")
def _():
    make("regular", "file")
    os.symlink("file", "link")
    os.chmod("link", 0o600)
    equal(mode_of("file"), 0o600, "mode")
    equal(stat.S_ISLNK(os.lstat("link").st_mode), True, "still a link")


@case("chmod: of a link that leads nowhere is ENOENT")
def _():
    make("symlink", "link")
    fails(errno.ENOENT, os.chmod, "link", 0o600)


@case("chmod: set-group-id is dropped where the owner is not in the file's group")
def _():
    make("regular", "file")
    os.chown("file", USER, OTHER_GROUP)
    with as_user():
        os.chmod("file", 0o2755)
    equal(mode_of("file"), 0o755, "mode")


@case("chmod: set-group-id stays where the owner is in the file's group, by a supplementary one")
def _():
    make("regular", "file")
    os.chown("file", USER, OTHER_GROUP)
    with as_user(groups=(OTHER_GROUP,)):
        os.chmod("file", 0o2755)
    equal(mode_of("file"), 0o2755, "mode")


@each("chmod: takes the bits {} together with permissions", ((f"{bits:o}", bits) for bits in (0o1000, 0o2000, 0o4000)))
def _(given):
    os.mkdir("directory")
    make("regular", "file")
    for name in ("directory", "file"):
        os.chmod(name, given[1] | 0o755)
        equal(mode_of(name), given[1] | 0o755, f"mode of the {name}")


@case("fchmod: changes the mode by a descriptor open for reading")
def _():
    make("regular", "file")
    with opened("file", os.O_RDONLY) as fd:
        os.fchmod(fd, 0o4711)
        equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o4711, "mode by descriptor")
    equal(mode_of("file"), 0o4711, "mode by name")


@case("fchmod: changes the mode of an open directory")
def _():
    os.mkdir("directory")
    with opened("directory", os.O_RDONLY) as fd:
        os.fchmod(fd, 0o710)
    equal(mode_of("directory"), 0o710, "mode")


@case("fchmod: works on a file that was unlinked while it is open")
def _():
    write("file")
    with opened("file") as fd:
        os.unlink("file")
        os.fchmod(fd, 0o600)
        equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o600, "mode")


@case("fchmod: works on a file that was renamed while it is open")
def _():
    write("file")
    write("other", mode=0o644)
    with opened("file") as fd:
        os.rename("file", "new")
        os.rename("other", "file")
        os.fchmod(fd, 0o600)
    equal((mode_of("new"), mode_of("file")), (0o600, 0o644), "modes")


@case("fchmod: of somebody else's file is EPERM")
def _():
    make("regular", "file", 0o666)
    with opened("file") as fd, as_user():
        fails(errno.EPERM, os.fchmod, fd, 0o600)


@case("chmod: what it takes away is gone for the next who opens, and not for who has it open")
def _():
    write("file", b"content", 0o666)
    with as_user():
        fd = os.open("file", os.O_RDONLY)
    os.chmod("file", 0o600)
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)
        equal(os.read(fd, 7), b"content", "content")
        os.close(fd)


@each("chmod: root may read and write a file of mode {}", ("000", "222", "444"))
def _(mode):
    write("file", b"content", 0o644)
    os.chmod("file", int(mode, 8))
    with opened("file", os.O_RDWR) as fd:
        equal(os.read(fd, 7), b"content", "content")


ACCESSES = (
    *((f"owner, {bits}", (USER, OTHER_GROUP), int(bits) << 6, ()) for bits in "01234567"),
    *((f"group, {bits}", (OTHER_USER, GROUP), int(bits) << 3, ()) for bits in "01234567"),
    *((f"supplementary group, {bits}", (OTHER_USER, OTHER_GROUP), int(bits) << 3, (OTHER_GROUP,)) for bits in "0246"),
    *((f"others, {bits}", (OTHER_USER, OTHER_GROUP), int(bits), ()) for bits in "01234567"),
)


@each("access: what {} may do with a file", ACCESSES)
def _(given):
    _, owner, mode, groups = given
    write("file")
    os.chown("file", *owner)
    os.chmod("file", mode)
    bits = (mode | mode >> 3 | mode >> 6) & 7
    with as_user(groups=groups):
        for flags, wanted in ((os.O_RDONLY, 4), (os.O_WRONLY, 2), (os.O_RDWR, 6)):
            if bits & wanted == wanted:
                os.close(os.open("file", flags))
            else:
                fails(errno.EACCES, os.open, "file", flags)


@case("access: an owner without permission has none, whatever the group has")
def _():
    write("file")
    os.chown("file", USER, GROUP)
    os.chmod("file", 0o077)
    with as_user():
        fails(errno.EACCES, os.open, "file", os.O_RDONLY)


@case("access: a directory that may be searched, but not read, can be passed and not listed")
def _():
    os.mkdir("directory", 0o711)
    write("directory/file")
    with as_user():
        fails(errno.EACCES, os.listdir, "directory")
        os.close(os.open("directory/file", os.O_RDONLY))


@case("access: a directory that may be read, but not searched, can be listed and not passed")
def _():
    os.mkdir("directory", 0o744)
    write("directory/file")
    with as_user():
        equal(os.listdir("directory"), ["file"], "list")
        fails(errno.EACCES, os.stat, "directory/file")


@case("access: a program runs only with permission to execute it")
def _():
    write("program", b"#!/bin/true\n", 0o644)
    fails(errno.EACCES, os.execv, "program", ["program"])
