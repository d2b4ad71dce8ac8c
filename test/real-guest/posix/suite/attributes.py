"""stat, statx and statfs."""

import ctypes
import os

from .harness import NOT_SYMLINKS, case, check, each, equal, make, opened, system, write

STATX_BTIME = 0x800


@case("stat: . and .. are what their names say")
def _():
    os.mkdir("directory")
    equal(os.stat("directory/.").st_ino, os.stat("directory").st_ino, "inode of .")
    equal(os.stat("directory/..").st_ino, os.stat(".").st_ino, "inode of ..")


@each("stat: a {} has the same attributes by name and by O_PATH", NOT_SYMLINKS)
def _(kind):
    make(kind, "file")
    with opened("file", os.O_PATH) as fd:
        one, other = os.stat("file"), os.fstat(fd)
        equal((other.st_ino, other.st_mode, other.st_uid), (one.st_ino, one.st_mode, one.st_uid), "attributes")


@case("stat: files have inodes of their own")
def _():
    for number in range(50):
        write(f"file{number}")
    equal(len({os.stat(f"file{number}").st_ino for number in range(50)}), 50, "inodes")


@case("stat: the size is what was written")
def _():
    for size in (0, 1, 4095, 4096, 4097, 100_000):
        write("file", b"x" * size)
        equal(os.stat("file").st_size, size, "size")


@case("stat: blocks are counted")
def _():
    with opened("file", os.O_CREAT | os.O_WRONLY) as fd:
        os.write(fd, os.urandom(1 << 16))
        os.fsync(fd)
    check(os.stat("file").st_blocks * 512 >= 1 << 16, "fewer blocks than there are bytes")


@each("stat: device numbers of a {} are those it was made with", ("char", "block"))
def _(kind):
    for number, device in enumerate((os.makedev(1, 3), os.makedev(4095, 255), os.makedev(200, 1 << 19))):
        os.mknod(f"file{number}", (0o020000 if kind == "char" else 0o060000) | 0o600, device)
        equal(os.stat(f"file{number}").st_rdev, device, "device")


@case("statx: a birth time, where there is one, stays as it is")
def _():
    write("file")
    one = birth("file")
    os.utime("file", ns=(5, 6))
    write("file", b"more")
    equal(birth("file"), one, "birth time")


def birth(name):
    buffer = (ctypes.c_ubyte * 256)()
    system("statx", -100, name.encode(), 0, STATX_BTIME, buffer)
    mask = int.from_bytes(bytes(buffer[0:4]), "little")
    return bytes(buffer[80:92]) if mask & STATX_BTIME else None


@case("statfs: tells sizes that can be")
def _():
    status = os.statvfs(".")
    check(0 < status.f_bavail <= status.f_bfree <= status.f_blocks, "blocks")
    # Some file systems do not count them.
    check(0 <= status.f_ffree <= status.f_files, "files")
    equal(status.f_namemax, 255, "longest name")


@case("statfs: by an open file tells the same")
def _():
    write("file")
    with opened("file") as fd:
        equal(os.fstatvfs(fd).f_blocks, os.statvfs(".").f_blocks, "blocks")
