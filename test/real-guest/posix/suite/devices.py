"""FIFOs, sockets and devices: the server shows them, the guest's own kernel opens them."""

import errno
import os
import socket
import stat

from .harness import case, equal, fails, in_child, make, opened


@case("devices: what is written to a FIFO by one process of the guest is read by another")
def _():
    os.mkfifo("fifo")
    child = os.fork()
    if child == 0:
        with opened("fifo", os.O_WRONLY) as fd:
            os.write(fd, b"through the pipe")
        os._exit(0)
    with opened("fifo", os.O_RDONLY) as fd:
        equal(os.read(fd, 100), b"through the pipe", "content")
        equal(os.read(fd, 100), b"", "content at the end")
    os.waitpid(child, 0)
    equal(os.stat("fifo").st_size, 0, "size on the server")


@case("devices: a FIFO that nobody reads is ENXIO for who would not wait")
def _():
    os.mkfifo("fifo")
    fails(errno.ENXIO, os.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.close(os.open("fifo", os.O_RDONLY | os.O_NONBLOCK))


@case("devices: a FIFO under two names is one pipe")
def _():
    os.mkfifo("one")
    os.link("one", "two")
    with opened("one", os.O_RDWR | os.O_NONBLOCK) as one, opened("two", os.O_RDWR | os.O_NONBLOCK) as two:
        os.write(one, b"through")
        equal(os.read(two, 10), b"through", "content")


@case("devices: a character device is the guest's own")
def _():
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod("zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with opened("zero", os.O_RDONLY) as fd:
        equal(os.read(fd, 4), bytes(4), "content of zero")
    with opened("null", os.O_RDWR) as fd:
        equal((os.write(fd, b"gone"), os.read(fd, 4)), (4, b""), "what null does")


@case("devices: a device that is not there is ENXIO or ENODEV")
def _():
    os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(4000, 77))
    fails((errno.ENXIO, errno.ENODEV), os.open, "device", os.O_RDONLY)


@case("devices: a socket takes connections of the guest's processes")
def _():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        equal(stat.S_ISSOCK(os.stat("socket").st_mode), True, "type")

        def connect():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("socket")
                client.sendall(b"hello")

        child = os.fork()
        if child == 0:
            connect()
            os._exit(0)
        connection, _ = server.accept()
        equal(connection.recv(10), b"hello", "message")
        connection.close()
        os.waitpid(child, 0)


@case("devices: a socket that nobody listens on is ECONNREFUSED")
def _():
    make("socket", "socket")
    with socket.socket(socket.AF_UNIX) as client:
        fails(errno.ECONNREFUSED, client.connect, "socket")


@case("devices: a name in use is EADDRINUSE for a socket")
def _():
    make("regular", "there")
    with socket.socket(socket.AF_UNIX) as server:
        fails(errno.EADDRINUSE, server.bind, "there")


@case("devices: a child sees a FIFO that its parent made")
def _():
    os.mkfifo("fifo", 0o600)
    in_child(lambda: equal(stat.S_ISFIFO(os.stat("fifo").st_mode), True, "type"))
