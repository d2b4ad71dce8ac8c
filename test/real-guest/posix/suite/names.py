"""Names are bytes."""

import errno
import os

from .harness import case, each, equal, fails, missing, read, write

SAMPLES = (
    ("bytes that are no UTF-8", b"\xff\xfe\x80name"),
    ("a lone surrogate in UTF-8", b"\xed\xa0\x80"),
    ("a line feed", b"two\nlines"),
    ("spaces at both ends", b" name "),
    ("a backslash", b"back\\slash"),
    ("a quote", b"it's \"quoted\""),
    ("a leading dash", b"-rf"),
    ("three dots", b"..."),
    ("a control character", b"\x01\x7f"),
    ("composed letters", "é".encode()),
    ("decomposed letters", "e\u0301".encode()),
    ("a colon", b"C:name"),
    ("255 bytes", b"n" * 255),
    ("255 bytes that are no UTF-8", b"\xff" * 255),
    ("every byte but two", bytes(range(1, 47)) + bytes(range(48, 250))),
)


@each("names: {}", SAMPLES)
def _(sample):
    name = sample[1]
    write(name, b"content")
    equal(os.listdir(b"."), [name], "list")
    equal((read(name), os.stat(name).st_size), (b"content", 7), "file")
    os.rename(name, b"other")
    os.rename(b"other", name)
    os.unlink(name)
    equal(os.listdir(b"."), [], "list after all")


@each("names: a directory of the name of {}", SAMPLES)
def _(sample):
    name = sample[1]
    os.mkdir(name)
    write(name + b"/file", b"content")
    equal(os.listdir(name), [b"file"], "list")
    os.unlink(name + b"/file")
    os.rmdir(name)


@case("names: differ by case")
def _():
    write("name", b"small")
    write("NAME", b"large")
    equal((read("name"), read("NAME")), (b"small", b"large"), "contents")


@case("names: composed and decomposed letters are two names")
def _():
    write("é".encode(), b"1")
    write("e\u0301".encode(), b"2")
    equal(len(os.listdir(b".")), 2, "names")


@case("names: a symbolic link to bytes that are no text")
def _():
    os.symlink(b"\xff\xfe", b"link")
    equal(os.readlink(b"link"), b"\xff\xfe", "target")


@case("names: a hundred directories deep")
def _():
    start = os.getcwd()
    for _ in range(100):
        os.mkdir("directory-of-some-length")
        os.chdir("directory-of-some-length")
    write("file", b"deep")
    equal(read("file"), b"deep", "content")
    for _ in range(100):
        os.chdir("..")
    equal(os.getcwd(), start, "where that leads")


@case("names: a path of 4095 bytes")
def _():
    folder = "n" * 250
    os.makedirs("/".join([folder] * 10))
    path = "./" * ((4095 - 10 * 251 - 5) // 2) + "/".join([folder] * 10) + "/file"
    write(path, b"long")
    equal(read(path), b"long", "content")


@case("names: . and .. cannot be made")
def _():
    fails(errno.EEXIST, os.mkdir, ".")
    fails(errno.EEXIST, os.mkdir, "..")
    fails((errno.EEXIST, errno.EISDIR), os.open, "..", os.O_CREAT | os.O_WRONLY)


@case("names: nothing is ENOENT")
def _():
    fails(errno.ENOENT, os.mkdir, "")
    fails(errno.ENOENT, os.open, "", os.O_CREAT | os.O_WRONLY)


@case("names: slashes at the end name a directory")
def _():
    os.mkdir("directory//")
    write("file")
    fails(errno.ENOTDIR, os.stat, "file/")
    fails(errno.EISDIR, os.open, "new/", os.O_CREAT | os.O_WRONLY)
    os.rename("directory/", "renamed/")
    equal(missing("directory"), True, "missing")
