"""Directories are listed, each entry once, whatever happens meanwhile."""

import os

from .harness import KINDS, TYPE, case, check, each, equal, make, opened

MANY = 700


@case("listing: an empty directory")
def _():
    equal(os.listdir("."), [], "list")


@each("listing: a {} is listed with its type", KINDS)
def _(kind):
    make(kind, "file")
    with os.scandir(".") as entries:
        (entry,) = entries
        equal(entry.is_dir(follow_symlinks=False), kind == "directory", "directory")
        equal(entry.is_symlink(), kind == "symlink", "symbolic link")
        equal(entry.is_file(follow_symlinks=False), kind == "regular", "regular file")
        equal(entry.stat(follow_symlinks=False).st_mode & 0o170000, TYPE[kind], "type")


@case("listing: seven hundred files, each once")
def _():
    for number in range(MANY):
        os.mknod(f"file-{number:04}")
    names = os.listdir(".")
    equal((len(names), len(set(names))), (MANY, MANY), "names")


@case("listing: names of 255 bytes, more than fit one request")
def _():
    wanted = sorted(f"{number:03}" + "n" * 252 for number in range(300))
    for name in wanted:
        os.mknod(name)
    equal(sorted(os.listdir(".")) == wanted, True, "all there")


@case("listing: what stays is listed once while others come and go")
def _():
    for number in range(200):
        os.mknod(f"stays-{number}")
        os.mknod(f"goes-{number}")
    seen = []
    with os.scandir(".") as entries:
        for count, entry in enumerate(entries):
            seen.append(entry.name)
            if count < 200:
                os.unlink(f"goes-{count}")
                os.mknod(f"comes-{count}")
    stays = [name for name in seen if name.startswith("stays-")]
    equal((len(stays), len(set(stays))), (200, 200), "names that stay")
    equal(len(seen), len(set(seen)), "each name once")


@case("listing: removing what is listed, as it is listed, leaves nothing")
def _():
    for number in range(300):
        os.mknod(f"file-{number}")
    with os.scandir(".") as entries:
        for entry in entries:
            os.unlink(entry.name)
    equal(os.listdir("."), [], "list")


@case("listing: from the start again tells what is new")
def _():
    os.mknod("one")
    with opened(".", os.O_RDONLY) as fd:
        equal(os.listdir(fd), ["one"], "list")
        os.mknod("two")
        equal(sorted(os.listdir(fd)), ["one", "two"], "list")


@case("listing: two who list the same directory do not disturb each other")
def _():
    for number in range(200):
        os.mknod(f"file-{number}")
    with os.scandir(".") as one, os.scandir(".") as two:
        names = [(first.name, second.name) for first, second in zip(one, two)]
    equal(len({first for first, _ in names} & {second for _, second in names}), 200, "names")


@case("listing: inode numbers are those of stat")
def _():
    for number in range(20):
        os.mknod(f"file-{number}")
    os.mkdir("directory")
    with os.scandir(".") as entries:
        for entry in entries:
            check(entry.inode() == os.lstat(entry.name).st_ino, f"inode of {entry.name}")


@case("listing: a directory that was renamed while it was open")
def _():
    os.mkdir("old")
    for number in range(300):
        os.mknod(f"old/file-{number}")
    with os.scandir("old") as entries:
        first = next(entries).name
        os.rename("old", "new")
        rest = [entry.name for entry in entries]
    equal(len({first, *rest}), 300, "names")
