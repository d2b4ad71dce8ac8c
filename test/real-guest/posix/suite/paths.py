"""What every call that takes a path says of paths that lead nowhere."""

import errno
import os
import stat

from .harness import as_user, each, fails, make, write

NAME_MAX = 255
PATH_MAX = 4096


def link_from(path):
    os.link(path, "new")


def link_to(path):
    make("regular", "old")
    os.link("old", path)


def rename_from(path):
    os.rename(path, "new")


def rename_to(path):
    make("regular", "old")
    os.rename("old", path)


CALLS = (
    ("chmod", lambda path: os.chmod(path, 0o600)),
    ("chown", lambda path: os.chown(path, 0, 0)),
    ("lchown", lambda path: os.lchown(path, 0, 0)),
    ("link from", link_from),
    ("link to", link_to),
    ("mkdir", os.mkdir),
    ("mkfifo", os.mkfifo),
    ("mknod", lambda path: os.mknod(path, stat.S_IFREG | 0o600)),
    ("open", lambda path: os.close(os.open(path, os.O_RDONLY))),
    ("open O_CREAT", lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))),
    ("rename from", rename_from),
    ("rename to", rename_to),
    ("rmdir", os.rmdir),
    ("symlink", lambda path: os.symlink("target", path)),
    ("truncate", lambda path: os.truncate(path, 7)),
    ("unlink", os.unlink),
    ("utimensat", os.utime),
    ("stat", os.stat),
    ("lstat", os.lstat),
    ("readlink", os.readlink),
    ("opendir", os.listdir),
    ("getxattr", lambda path: os.getxattr(path, "user.a")),
    ("setxattr", lambda path: os.setxattr(path, "user.a", b"1")),
)
MAKING = ("link to", "mkdir", "mkfifo", "mknod", "open O_CREAT", "rename to", "symlink")
SEEING_LAST = tuple(call for call in CALLS if call[0] not in MAKING)


@each("paths: {} where a component is no directory is ENOTDIR", CALLS)
def _(call):
    make("regular", "file")
    fails(errno.ENOTDIR, call[1], "file/name")


@each("paths: {} where a component is missing is ENOENT", CALLS)
def _(call):
    fails(errno.ENOENT, call[1], "missing/name")


@each("paths: {} of what is missing is ENOENT", SEEING_LAST)
def _(call):
    fails(errno.ENOENT, call[1], "missing")


@each("paths: {} of a name of 256 bytes is ENAMETOOLONG", CALLS)
def _(call):
    fails(errno.ENAMETOOLONG, call[1], "n" * (NAME_MAX + 1))


@each("paths: {} of a path of 4096 bytes is ENAMETOOLONG", CALLS)
def _(call):
    fails(errno.ENAMETOOLONG, call[1], "./" * (PATH_MAX // 2))


@each("paths: {} by links that lead to each other is ELOOP", CALLS)
def _(call):
    os.symlink("two", "one")
    os.symlink("one", "two")
    fails(errno.ELOOP, call[1], "one/name")


@each("paths: {} below a directory that may not be searched is EACCES", CALLS)
def _(call):
    os.chmod(".", 0o777)
    os.mkdir("closed", 0o700)
    write("closed/name", mode=0o666)
    with as_user():
        fails(errno.EACCES, call[1], "closed/name")
