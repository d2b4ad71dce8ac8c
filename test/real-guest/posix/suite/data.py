"""read, write, lseek, fallocate and their like."""

import errno
import hashlib
import mmap
import os

from .harness import case, check, each, equal, fails, opened, read, system, write

SIZE = 1_000_003
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_ZERO_RANGE = 16
PAGE = 4096


@case("data: a megabyte comes back as it was written")
def _():
    content = os.urandom(SIZE)
    write("file", content)
    equal(hashlib.sha256(read("file")).digest(), hashlib.sha256(content).digest(), "digest")


@each("data: in pieces of {} bytes", (1000, 4096, 65_536, 131_071))
def _(piece):
    content = os.urandom(300_000)
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        for start in range(0, len(content), piece):
            os.write(fd, content[start : start + piece])
        got = b"".join(os.pread(fd, piece, start) for start in range(0, len(content), piece))
    equal(got == content, True, "as written")


@each("data: pwrite and pread at {}", (0, 1, 4095, 4096, 100_000))
def _(offset):
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"there", offset)
        equal(os.pread(fd, 5, offset), b"there", "content")
        equal(os.pread(fd, 10, offset + 5), b"", "content behind the end")
        equal(os.lseek(fd, 0, os.SEEK_CUR), 0, "position")


@each("data: at an offset past {} GiB", (2, 4, 8, 1024))
def _(gib):
    offset = (gib << 30) + 5
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"there", offset)
        equal(os.pread(fd, 10, offset - 5), bytes(5) + b"there", "content")
        equal(os.fstat(fd).st_size, offset + 5, "size")


@case("data: an offset past what a file system can be is EFBIG or EINVAL")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        fails((errno.EFBIG, errno.EINVAL), os.pwrite, fd, b"x", (1 << 63) - 1)
        fails((errno.EFBIG, errno.EINVAL), os.ftruncate, fd, (1 << 63) - 1)
    equal(os.stat("file").st_size, 0, "size")


@case("data: readv and writev")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        equal(os.writev(fd, [b"one", b"", b"three", b"x" * 9000]), 9008, "written")
        buffers = [bytearray(3), bytearray(5), bytearray(9000)]
        equal(os.preadv(fd, buffers, 0), 9008, "read")
        equal((bytes(buffers[0]), bytes(buffers[1])), (b"one", b"three"), "content")


@case("data: writing over the end and reading over it")
def _():
    write("file", b"0123456789")
    with opened("file") as fd:
        os.pwrite(fd, b"abc", 8)
        equal(os.pread(fd, 100, 6), b"67abc", "content")


@case("data: holes are zeros")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"end", 3 << 20)
        equal(os.pread(fd, 1 << 20, 1 << 20), bytes(1 << 20), "content")
        check(os.fstat(fd).st_blocks * 512 < 1 << 20, "not sparse")


@case("data: SEEK_DATA and SEEK_HOLE answer what a file system may")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"x" * PAGE, 1 << 20)
        check(0 <= os.lseek(fd, 0, os.SEEK_DATA) <= 1 << 20, "data is behind where it begins")
        check(os.lseek(fd, 1 << 20, os.SEEK_HOLE) >= (1 << 20) + PAGE, "a hole where there is data")
        fails(errno.ENXIO, os.lseek, fd, 2 << 20, os.SEEK_DATA)


@case("data: SEEK_DATA finds data behind a hole")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"x" * PAGE, 1 << 20)
        os.fsync(fd)
        equal(os.lseek(fd, 0, os.SEEK_DATA), 1 << 20, "data")


@case("data: lseek to before the start is EINVAL")
def _():
    write("file")
    with opened("file") as fd:
        fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
        equal(os.lseek(fd, -3, os.SEEK_END), 4, "position from the end")


@case("data: posix_fallocate makes a file larger")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.posix_fallocate(fd, 0, 100_000)
        equal((os.fstat(fd).st_size, os.pread(fd, 10, 50_000)), (100_000, bytes(10)), "what is there")


@case("data: fallocate beyond the end, with FALLOC_FL_KEEP_SIZE, leaves the size")
def _():
    write("file", b"0123")
    with opened("file") as fd:
        fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100_000)
        equal(os.fstat(fd).st_size, 4, "size")


@case("data: fallocate punches a hole")
def _():
    write("file", b"x" * (4 * PAGE))
    with opened("file") as fd:
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE)
        equal(os.pread(fd, PAGE, PAGE), bytes(PAGE), "content of the hole")
        equal(os.pread(fd, 4, 2 * PAGE), b"xxxx", "content behind it")


@case("data: fallocate zeroes a range")
def _():
    write("file", b"x" * (4 * PAGE))
    with opened("file") as fd:
        fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, PAGE)
        equal(os.pread(fd, PAGE, 100), bytes(PAGE), "content of the range")


def fallocate(fd, mode, offset, length):
    import ctypes

    system("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


@case("data: copy_file_range copies")
def _():
    write("one", bytes(range(256)) * 100)
    with opened("one", os.O_RDONLY) as source, opened("two", os.O_CREAT | os.O_RDWR) as target:
        left = 25_600
        while left > 0:
            left -= os.copy_file_range(source, target, left)
    equal(read("two") == read("one"), True, "as the original")


@case("data: sendfile copies")
def _():
    write("one", bytes(range(256)) * 100)
    with opened("one", os.O_RDONLY) as source, opened("two", os.O_CREAT | os.O_RDWR) as target:
        sent = 0
        while sent < 25_600:
            sent += os.sendfile(target, source, sent, 25_600 - sent)
    equal(read("two") == read("one"), True, "as the original")


@case("data: O_DIRECT reads and writes pages")
def _():
    page = mmap.mmap(-1, 4 * PAGE)
    page.write(b"direct!!" * (4 * PAGE // 8))
    with opened("file", os.O_CREAT | os.O_RDWR | os.O_DIRECT) as fd:
        equal(os.pwritev(fd, [page], 0), 4 * PAGE, "written")
        got = mmap.mmap(-1, PAGE)
        equal(os.preadv(fd, [got], PAGE), PAGE, "read")
        equal(got[:8], b"direct!!", "content")
    equal(read("file")[-8:], b"direct!!", "content by way of the cache")


@case("data: what O_DIRECT wrote is read through the cache, and the other way round")
def _():
    page = mmap.mmap(-1, PAGE)
    page.write(b"D" * PAGE)
    write("file", b"c" * (2 * PAGE))
    with opened("file", os.O_RDWR) as cached, opened("file", os.O_RDWR | os.O_DIRECT) as direct:
        equal(os.pread(cached, 1, 0), b"c", "content before")
        os.pwritev(direct, [page], 0)
        equal(os.pread(cached, 1, 0), b"D", "content after the direct write")
        os.pwrite(cached, b"e" * PAGE, 0)
        os.preadv(direct, [page], 0)
        equal(page[:1], b"e", "content after the cached write")


@case("data: fsync, fdatasync and sync_file_range succeed")
def _():
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        os.write(fd, b"x" * 10_000)
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(".", os.O_RDONLY) as fd:
        os.fsync(fd)


@case("data: one process reads what another has written")
def _():
    write("file", b"first")
    with opened("file", os.O_RDONLY) as fd:
        equal(os.pread(fd, 10, 0), b"first", "content before")
        child = os.fork()
        if child == 0:
            write("file", b"second")
            os._exit(0)
        os.waitpid(child, 0)
        equal(os.pread(fd, 10, 0), b"second", "content after")


@case("data: random writes add up")
def _():
    import random

    chance = random.Random(7)
    model = bytearray()
    with opened("file", os.O_CREAT | os.O_RDWR) as fd:
        for _ in range(120):
            offset, length = chance.randrange(60_000), chance.randrange(9000)
            piece = chance.randbytes(length)
            os.pwrite(fd, piece, offset)
            if length > 0:
                model.extend(bytes(max(0, offset + length - len(model))))
                model[offset : offset + length] = piece
            if chance.random() < 0.1:
                size = chance.randrange(70_000)
                os.ftruncate(fd, size)
                model = model[:size] + bytes(max(0, size - len(model)))
    equal(read("file") == bytes(model), True, "as modelled")
