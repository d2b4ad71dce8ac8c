"""Everyday work with files in the folder that is given, round after round until /tmp/file-work.stop is there: an archive is unpacked, a
repository goes on, a database takes rows, a log grows, and a file without a name is written. All of it is read back and compared as it goes,
and what fails, or is done twice, or not at all, ends the work with an error. At the end it prints a line of JSON: how many rounds there were,
and the SHA-256 of every file below the folder, as it is read here.
"""

import fcntl
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys

STOP = "/tmp/file-work.stop"
ROUNDS = "/tmp/file-work.rounds"
ARCHIVE = "/tmp/file-work.tar"
FILES = 12
CHANGED = 4
LARGEST_BYTES = 24 * 1024
ROWS = 16
RECORD_BYTES = 512

random.seed(8)


def check(holds, what):
    if not holds:
        raise SystemExit(f"round {work.round if work else 0}: {what}")


def run(*words):
    """Runs a program, which has to succeed; answers what it printed."""
    done = subprocess.run(words, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    check(done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {said[-300:]}")
    if work is not None:
        work.append(" ".join(words))
    return said


def git(*words):
    identity = ("-c", "user.name=work", "-c", "user.email=work@localhost")
    return run("git", "-C", "repository", *identity, "-c", "gc.auto=0", *words)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def sums_below(folder):
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            data = os.readlink(path).encode() if os.path.islink(path) else read(path)
            found[os.path.relpath(path, folder)] = hashlib.sha256(data).hexdigest()
    return found


class Work:
    def __init__(self):
        self.round = 0
        self.lines = []
        self.sums = self.pack()
        self.log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.unnamed = os.open("unnamed", os.O_RDWR | os.O_CREAT)
        os.unlink("unnamed")
        self.records = b""
        self.locked = os.open("locked", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(self.locked, fcntl.LOCK_EX)
        os.mkdir("repository")
        git("init", "--quiet", "--initial-branch=main")
        with sqlite3.connect("database") as database:
            database.execute("create table rows (round, number, text)")
        database.close()

    def pack(self):
        """Makes the archive, away from the folder; answers the checksums of what is in it."""
        os.makedirs("/tmp/tree")
        for number in range(FILES):
            folder = f"/tmp/tree/{number % 4}/{number % 3}"
            os.makedirs(folder, exist_ok=True)
            write(f"{folder}/{number}", random.randbytes(random.randrange(LARGEST_BYTES)))
        os.symlink("0/0/0", "/tmp/tree/link")
        run("tar", "-c", "-f", ARCHIVE, "-C", "/tmp/tree", ".")
        return sums_below("/tmp/tree")

    def append(self, what):
        """A write of a line: one that was done twice, or not at all, shows in the log."""
        self.lines.append(f"{self.round} {what}\n")
        check(os.write(self.log, self.lines[-1].encode()) == len(self.lines[-1]), "the log takes no line")

    def unpack(self):
        os.mkdir("unpacking")
        run("tar", "-x", "-f", ARCHIVE, "-C", "unpacking")
        check(sums_below("unpacking") == self.sums, "what was unpacked is not what was packed")
        if self.round > 1:
            shutil.rmtree("tree")
        os.rename("unpacking", "tree")

    def commit(self):
        for number in random.sample(range(FILES), CHANGED):
            write(f"repository/{number}", random.randbytes(random.randrange(LARGEST_BYTES)))
        git("add", "--all")
        git("commit", "--quiet", f"--message=round {self.round}")
        if self.round % 3 == 0:
            git("repack", "-a", "-d", "-q")
        git("fsck", "--full", "--strict")
        check(git("status", "--short") == "", "the repository is not as it was committed")
        check(int(git("rev-list", "--count", "HEAD")) == self.round, "a commit is missing, or there twice")

    def insert(self):
        database = sqlite3.connect("database", isolation_level=None)
        database.execute("begin immediate")
        rows = [(self.round, number, "x" * random.randrange(600)) for number in range(ROWS)]
        database.executemany("insert into rows values (?, ?, ?)", rows)
        database.execute("commit")
        check(database.execute("pragma integrity_check").fetchone() == ("ok",), "the database is broken")
        (count,) = database.execute("select count(*) from rows").fetchone()
        check(count == self.round * ROWS, f"the database has {count} rows")
        database.close()

    def write_unnamed(self):
        record = random.randbytes(RECORD_BYTES)
        os.pwrite(self.unnamed, record, len(self.records))
        self.records += record
        check(os.pread(self.unnamed, len(self.records) + 1, 0) == self.records, "the file without a name differs")

    def once(self):
        self.round += 1
        for step in (self.unpack, self.commit, self.insert, self.write_unnamed):
            step()
            self.append(step.__name__)
        write(ROUNDS, str(self.round).encode())


work = None
os.environ["HOME"] = "/tmp"
os.chdir(sys.argv[1])
work = Work()
while not os.path.exists(STOP):
    work.once()
check(read("log").decode() == "".join(work.lines), "the log has other lines than were written")
print(json.dumps({"rounds": work.round, "checksums": sums_below(".")}))
