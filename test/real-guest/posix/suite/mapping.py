"""mmap. What 9p gives depends on the mount's cache mode, so this area is run with one that maps."""

import errno
import mmap
import os

from .harness import case, equal, fails, in_child, opened, read, write

PAGE = 4096
SIZE = 10 * PAGE


@case("mmap: a private mapping shows the file")
def _():
    write("file", b"mapped" + bytes(SIZE))
    with opened("file", os.O_RDONLY) as fd, mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
        equal((view[:6], len(view)), (b"mapped", SIZE + 6), "content")


@case("mmap: what a private mapping changes stays there")
def _():
    write("file", b"original")
    with opened("file") as fd:
        with mmap.mmap(fd, 8, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as view:
            view[:3] = b"XXX"
    equal(read("file"), b"original", "content")


@case("mmap: what a shared mapping changes is the file's")
def _():
    write("file", bytes(SIZE))
    with opened("file") as fd, mmap.mmap(fd, SIZE) as view:
        view[PAGE + 5 : PAGE + 10] = b"12345"
        view.flush()
    equal(read("file")[PAGE + 5 : PAGE + 10], b"12345", "content")


@case("mmap: what a shared mapping changed is there without msync, once it is gone")
def _():
    write("file", bytes(SIZE))
    with opened("file") as fd:
        with mmap.mmap(fd, SIZE) as view:
            view[0:5] = b"12345"
    equal(read("file")[:5], b"12345", "content")


@case("mmap: two processes share a mapping")
def _():
    write("file", bytes(SIZE))
    with opened("file") as fd, mmap.mmap(fd, SIZE) as view:

        def change():
            view[100:104] = b"over"

        in_child(change)
        equal(view[100:104], b"over", "content")


@case("mmap: a write is seen in a mapping of the same guest")
def _():
    write("file", bytes(SIZE))
    with opened("file") as fd, mmap.mmap(fd, SIZE) as view:
        equal(view[0:1], b"\0", "content before")
        os.pwrite(fd, b"seen", 0)
        equal(view[0:4], b"seen", "content after")


@case("mmap: a change in a mapping is read back")
def _():
    write("file", bytes(SIZE))
    with opened("file") as fd, mmap.mmap(fd, SIZE) as view:
        view[PAGE : PAGE + 4] = b"seen"
        equal(os.pread(fd, 4, PAGE), b"seen", "content")


@case("mmap: a mapping lives on after close and unlink")
def _():
    write("file", b"mapped" + bytes(SIZE))
    fd = os.open("file", os.O_RDWR)
    view = mmap.mmap(fd, SIZE)
    os.close(fd)
    os.unlink("file")
    equal(view[:6], b"mapped", "content")
    view[SIZE - 1] = 7
    view.flush()
    view.close()


@case("mmap: a shared mapping to write of a file open for reading is EACCES")
def _():
    write("file", bytes(SIZE))
    with opened("file", os.O_RDONLY) as fd:
        fails(errno.EACCES, mmap.mmap, fd, SIZE)


@case("mmap: behind the end of a page the file ends in, there are zeros")
def _():
    write("file", b"end")
    with opened("file", os.O_RDONLY) as fd, mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
        equal(view[:], b"end", "content")


@case("mmap: a program runs from the file system")
def _():
    write("program", read("/bin/busybox"), 0o755)
    child = os.fork()
    if child == 0:
        os.execv("program", ["true"])
    equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "exit code")


@case("mmap: a file that grows after it was mapped is seen where it was mapped")
def _():
    write("file", b"a" * PAGE)
    with opened("file") as fd:
        os.ftruncate(fd, 2 * PAGE)
        with mmap.mmap(fd, 2 * PAGE) as view:
            view[PAGE] = 66
            view.flush()
    equal(read("file")[PAGE : PAGE + 2], b"B\0", "content")
