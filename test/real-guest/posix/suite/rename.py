"""rename and renameat2."""

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
    system,
    touches,
    write,
)

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def renameat2(old, new, flags):
    system("renameat2", -100, old.encode(), -100, new.encode(), flags)


@each("rename: a {} keeps what it is", KINDS)
def _(kind):
    make(kind, "old")
    before = os.lstat("old")
    os.rename("old", "new")
    after = os.lstat("new")
    equal((after.st_ino, after.st_mode, after.st_nlink), (before.st_ino, before.st_mode, before.st_nlink), "file")
    equal(missing("old"), True, "missing")


@each("rename: a {} into another directory", KINDS)
def _(kind):
    os.mkdir("directory")
    make(kind, "old")
    inode = os.lstat("old").st_ino
    os.rename("old", "directory/new")
    equal(os.lstat("directory/new").st_ino, inode, "inode")
    equal(os.listdir("."), ["directory"], "what is left")


@each("rename: a {} changes the times of both directories", KINDS)
def _(kind):
    os.mkdir("one")
    os.mkdir("two")
    make(kind, "one/old")
    with touches("one", "mtime", "ctime"), touches("two", "mtime", "ctime"):
        os.rename("one/old", "two/new")


@each(
    "rename: {} replaces it",
    [(f"a {kind} onto a {other}", kind, other) for kind in NOT_DIRECTORIES for other in NOT_DIRECTORIES],
)
def _(given):
    _, kind, other = given
    make(kind, "old")
    make(other, "new")
    inode = os.lstat("old").st_ino
    os.rename("old", "new")
    equal((os.lstat("new").st_ino, os.listdir(".")), (inode, ["new"]), "what is there")


@each("rename: a {} onto a directory is EISDIR", NOT_DIRECTORIES)
def _(kind):
    make(kind, "old")
    os.mkdir("new")
    fails(errno.EISDIR, os.rename, "old", "new")
    equal(sorted(os.listdir(".")), ["new", "old"], "what is there")


@each("rename: a directory onto a {} is ENOTDIR", NOT_DIRECTORIES)
def _(kind):
    os.mkdir("old")
    make(kind, "new")
    fails(errno.ENOTDIR, os.rename, "old", "new")
    equal(sorted(os.listdir(".")), ["new", "old"], "what is there")


@case("rename: a directory onto an empty one replaces it")
def _():
    os.mkdir("old")
    write("old/file")
    os.mkdir("new")
    os.rename("old", "new")
    equal((os.listdir("."), os.listdir("new")), (["new"], ["file"]), "what is there")


@case("rename: a directory onto one that is not empty is ENOTEMPTY")
def _():
    os.mkdir("old")
    os.mkdir("new")
    write("new/file")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, "old", "new")


@each("rename: a directory into {} is EINVAL", ("itself", "what is below it"))
def _(where):
    os.makedirs("old/below")
    target = "old/new" if where == "itself" else "old/below/new"
    fails(errno.EINVAL, os.rename, "old", target)


@each("rename: {} is refused", (".", ".."))
def _(name):
    fails((errno.EBUSY, errno.EINVAL), os.rename, name, "new")
    os.mkdir("old")
    fails((errno.EBUSY, errno.EINVAL, errno.ENOTEMPTY), os.rename, "old", name)


@case("rename: between two names of one file does nothing")
def _():
    write("one")
    os.link("one", "two")
    os.rename("one", "two")
    equal(sorted(os.listdir(".")), ["one", "two"], "names")
    equal(os.stat("one").st_nlink, 2, "links")


@case("rename: onto the same name does nothing")
def _():
    write("one", b"kept")
    os.rename("one", "one")
    equal(read("one"), b"kept", "content")


@case("rename: a directory takes along what is in it, and .. leads to where it is")
def _():
    os.makedirs("old/below")
    os.mkdir("there")
    write("old/below/file", b"kept")
    os.rename("old", "there/new")
    equal(read("there/new/below/file"), b"kept", "content")
    equal(os.stat("there/new/..").st_ino, os.stat("there").st_ino, "parent")


@case("rename: what is replaced stays readable for who has it open")
def _():
    write("old", b"new content")
    write("new", b"old content")
    with opened("new") as fd:
        os.rename("old", "new")
        equal(os.read(fd, 20), b"old content", "content of the open file")
        equal(os.fstat(fd).st_nlink, 0, "links of the open file")
    equal(read("new"), b"new content", "content")


@case("rename: an open file goes on under its new name")
def _():
    write("old", b"one")
    with opened("old") as fd:
        os.rename("old", "new")
        write("old", b"another")
        os.pwrite(fd, b"two", 0)
        os.ftruncate(fd, 3)
        os.fsync(fd)
    equal((read("new"), read("old")), (b"two", b"another"), "contents")


@case("rename: below an open directory, which goes on under its new name")
def _():
    os.mkdir("old")
    write("old/file")
    directory = os.open("old", os.O_RDONLY)
    os.rename("old", "new")
    os.close(os.open("second", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
    equal(sorted(os.listdir(directory)), ["file", "second"], "names")
    equal(sorted(os.listdir("new")), ["file", "second"], "names by name")
    os.close(directory)


@case("rename: of a name that is replaced takes a link from what it named")
def _():
    write("one")
    os.link("one", "second")
    write("two")
    with touches("second", "ctime"):
        os.rename("two", "one")
    equal(os.stat("second").st_nlink, 1, "links")


@case("rename: into another file system is EXDEV")
def _():
    write("old")
    fails(errno.EXDEV, os.rename, "old", "/proc/self/new")


@each("rename: {} a directory that may not be written is EACCES", ("from", "into"))
def _(direction):
    os.chmod(".", 0o777)
    os.mkdir("closed", 0o755)
    os.mkdir("open", 0o777)
    make("regular", "closed/file", 0o666)
    make("regular", "open/file", 0o666)
    with as_user():
        if direction == "from":
            fails(errno.EACCES, os.rename, "closed/file", "open/new")
        else:
            fails(errno.EACCES, os.rename, "open/file", "closed/new")


@each("rename: of somebody else's {} in a sticky directory is EPERM", KINDS)
def _(kind):
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make(kind, "sticky/old")
    os.lchown("sticky/old", OTHER_USER, OTHER_GROUP)
    with as_user():
        fails(errno.EPERM, os.rename, "sticky/old", "sticky/new")


@each("rename: onto somebody else's {} in a sticky directory is EPERM", NOT_DIRECTORIES)
def _(kind):
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make(kind, "sticky/new")
    os.lchown("sticky/new", OTHER_USER, OTHER_GROUP)
    with as_user():
        make("regular", "sticky/old")
        fails(errno.EPERM, os.rename, "sticky/old", "sticky/new")


@each("rename: of one's own {} in a sticky directory", KINDS)
def _(kind):
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make(kind, "sticky/old")
    os.lchown("sticky/old", USER, GROUP)
    with as_user():
        os.rename("sticky/old", "sticky/new")
    equal(os.listdir("sticky"), ["new"], "names")


@case("renameat2: RENAME_NOREPLACE onto nothing renames")
def _():
    write("old")
    renameat2("old", "new", RENAME_NOREPLACE)
    equal(os.listdir("."), ["new"], "names")


@case("renameat2: RENAME_NOREPLACE onto something is EEXIST")
def _():
    write("old")
    write("new")
    fails(errno.EEXIST, renameat2, "old", "new", RENAME_NOREPLACE)


@case("renameat2: RENAME_EXCHANGE exchanges two files")
def _():
    write("one", b"1")
    write("two", b"2")
    renameat2("one", "two", RENAME_EXCHANGE)
    equal((read("one"), read("two")), (b"2", b"1"), "contents")


@case("renameat2: flags that exclude each other are EINVAL")
def _():
    write("one")
    write("two")
    fails(errno.EINVAL, renameat2, "one", "two", RENAME_NOREPLACE | RENAME_EXCHANGE)


@case("rename: to a name of 255 bytes, and back")
def _():
    write("old", b"kept")
    os.rename("old", "n" * 255)
    os.rename("n" * 255, "new")
    equal(read("new"), b"kept", "content")


@case("rename: a chain of forty")
def _():
    write("name0", b"kept")
    for number in range(40):
        os.rename(f"name{number}", f"name{number + 1}")
    equal((os.listdir("."), read("name40")), (["name40"], b"kept"), "what is left")
