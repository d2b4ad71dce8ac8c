"""mkdir, mkfifo, mknod, symlink and open with O_CREAT: what a new file is like, and what is in the way of it."""

import errno
import os
import stat

from .harness import (
    GROUP,
    KINDS,
    NOT_SYMLINKS,
    OTHER_GROUP,
    TYPE,
    USER,
    as_user,
    case,
    each,
    equal,
    fails,
    make,
    missing,
    mode_of,
    touches,
)

# What an unprivileged user may make.
COMMON = ("regular", "directory", "fifo", "socket", "symlink")


@each("create: a new {} has its type and one link, two for a directory", KINDS)
def _(kind):
    make(kind, "new")
    status = os.lstat("new")
    equal(stat.S_IFMT(status.st_mode), TYPE[kind], "type")
    if kind != "directory":
        equal(status.st_nlink, 1, "links")


@each("create: a new {} has the mode that was asked for", NOT_SYMLINKS)
def _(kind):
    for mode in (0o755, 0o000, 0o777, 0o421):
        make(kind, f"new{mode:o}", mode)
        equal(mode_of(f"new{mode:o}"), mode, "mode")


@each("create: the umask takes from the mode of a new {}", NOT_SYMLINKS)
def _(kind):
    for mask, mode in ((0o022, 0o777), (0o077, 0o777), (0o027, 0o755)):
        os.umask(mask)
        make(kind, f"new{mask:o}", mode)
        equal(mode_of(f"new{mask:o}"), mode & ~mask, f"mode with umask {mask:o}")


@each("create: a new {} belongs to who made it", COMMON)
def _(kind):
    os.chmod(".", 0o777)
    with as_user():
        make(kind, "new")
    status = os.lstat("new")
    equal((status.st_uid, status.st_gid), (USER, GROUP), "owner")


@each("create: a new {} belongs to root where root made it", KINDS)
def _(kind):
    make(kind, "new")
    status = os.lstat("new")
    equal((status.st_uid, status.st_gid), (0, 0), "owner")


@each("create: a new {} in a set-group-id directory gets the directory's group", COMMON)
def _(kind):
    os.mkdir("parent", 0o777)
    os.chown("parent", 0, OTHER_GROUP)
    os.chmod("parent", 0o2777)
    with as_user():
        make(kind, "parent/new")
    status = os.lstat("parent/new")
    equal((status.st_uid, status.st_gid), (USER, OTHER_GROUP), "owner")
    equal(bool(status.st_mode & stat.S_ISGID), kind == "directory", "set-group-id of the new one")


@each("create: making a {} changes the times of its directory", KINDS)
def _(kind):
    with touches(".", "mtime", "ctime"):
        make(kind, "new")


@each("create: a new {} has times of now", KINDS)
def _(kind):
    os.mkdir("before")
    make(kind, "new")
    os.mkdir("after")
    first, new, last = (os.lstat(name) for name in ("before", "new", "after"))
    for which in ("st_mtime_ns", "st_ctime_ns", "st_atime_ns"):
        if not getattr(first, which) <= getattr(new, which) <= getattr(last, which):
            raise AssertionError(f"{which} is not between those of files made before and after")


@each("create: a {} in a directory that may not be written is EACCES", COMMON)
def _(kind):
    os.mkdir("closed", 0o755)
    with as_user():
        fails(errno.EACCES, make, kind, "closed/new")
    equal(missing("closed/new"), True, "missing")


@each("create: a {} in a directory that was removed is ENOENT", COMMON)
def _(kind):
    os.mkdir("gone")
    directory = os.open("gone", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("gone")
    os.fchdir(directory)
    os.close(directory)
    fails(errno.ENOENT, make, kind, "new")


@each("create: a new {} is to be seen at once, and as often as it is asked for", KINDS)
def _(kind):
    make(kind, "new")
    equal(os.listdir("."), ["new"], "list")
    equal(os.lstat("new").st_ino, os.lstat("new").st_ino, "inode")
    with os.scandir(".") as entries:
        equal([entry.inode() for entry in entries], [os.lstat("new").st_ino], "inode in the list")


MAKERS = (
    ("mkdir", os.mkdir),
    ("mkfifo", os.mkfifo),
    ("mknod", lambda name: os.mknod(name, stat.S_IFREG | 0o644)),
    ("symlink", lambda name: os.symlink("target", name)),
    ("open O_EXCL", lambda name: os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)),
    ("link", lambda name: os.link("/proc/self/cwd/old", name)),
)


@each(
    "create: {} is EEXIST",
    [(f"{maker} where there is a {kind}", call, kind) for maker, call in MAKERS for kind in KINDS],
)
def _(given):
    _, call, kind = given
    make("regular", "old")
    make(kind, "there")
    fails(errno.EEXIST, call, "there")


@case("create: mkdir takes the sticky bit")
def _():
    os.mkdir("new", 0o1755)
    equal(mode_of("new"), 0o1755, "mode")


@case("create: mkdir leaves out set-id bits")
def _():
    os.mkdir("new", 0o6755)
    equal(mode_of("new"), 0o755, "mode")


@each("create: set-id bits of a new {} stay where its maker may set them", ("regular", "fifo"))
def _(kind):
    make(kind, "new", 0o6755)
    equal(mode_of("new"), 0o6755, "mode")


@case("create: a symbolic link tells where it leads, whatever is there")
def _():
    for target in ("a", "../b/c", "/absolute", "with space\n", "x" * 1000, "y" * 4095):
        os.symlink(target, "link")
        equal(os.readlink("link"), target, "target")
        equal(os.lstat("link").st_size, len(target), "size")
        os.unlink("link")


@case("create: a symbolic link to nothing is ENOENT")
def _():
    fails(errno.ENOENT, os.symlink, "", "link")


@case("create: a symbolic link of 4096 bytes is ENAMETOOLONG")
def _():
    fails(errno.ENAMETOOLONG, os.symlink, "x" * 4096, "link")


@case("create: readlink of what is no link is EINVAL")
def _():
    make("regular", "file")
    fails(errno.EINVAL, os.readlink, "file")


@case("create: mknod of a device is EPERM for who is not root")
def _():
    os.chmod(".", 0o777)
    with as_user():
        fails(errno.EPERM, make, "char", "new")
        fails(errno.EPERM, make, "block", "new2")


@case("create: mkdir adds a link to the directory it is made in, or the file system does not count")
def _():
    os.mkdir("parent")
    before = os.stat("parent").st_nlink
    os.mkdir("parent/child")
    if before != 1:
        equal(os.stat("parent").st_nlink, before + 1, "links")
    os.rmdir("parent/child")
    equal(os.stat("parent").st_nlink, before, "links")


@case("create: a file of mode 0 can be written through what it was made with")
def _():
    os.chmod(".", 0o777)
    with as_user():
        fd = os.open("new", os.O_CREAT | os.O_RDWR, 0o000)
        os.write(fd, b"written")
        equal(os.pread(fd, 10, 0), b"written", "content")
        os.close(fd)
        fails(errno.EACCES, os.open, "new", os.O_RDONLY)


@case("create: a file that may only be read can be written through what it was made with")
def _():
    os.chmod(".", 0o777)
    with as_user():
        fd = os.open("new", os.O_CREAT | os.O_RDWR, 0o444)
        os.write(fd, b"written")
        os.close(fd)
        fails(errno.EACCES, os.open, "new", os.O_WRONLY)
