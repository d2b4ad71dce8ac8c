"""SQLite, git and stress-ng at work. They map files, so this area is run with a cache mode that does."""

import os
import shutil
import signal
import sqlite3
import subprocess

from .harness import case, check, each, equal, in_child, write

ROWS = 12
BUSY_S = 40
GIT_FILES = 60


def command(*words, timeout=55):
    """Runs a program, which has to succeed; answers what it printed."""
    done = subprocess.run(words, capture_output=True, timeout=timeout, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    check(done.returncode == 0, f"{words[0]} {words[1]} ended with {done.returncode}: {said[-300:]}")
    return said


def database(journal):
    """A connection that begins and ends its transactions itself."""
    connection = sqlite3.connect("database", timeout=BUSY_S, isolation_level=None)
    (mode,) = connection.execute(f"pragma journal_mode={journal}").fetchone()
    equal(mode, journal, "journal mode")
    return connection


def insert(journal, who):
    connection = database(journal)
    for number in range(ROWS):
        connection.execute("begin immediate")
        connection.execute("insert into rows values (?, ?, ?)", (who, number, "x" * (number * 17)))
        connection.execute("commit")
    connection.close()


@each("sqlite: two processes write by turns, with the journal {}", ("delete", "truncate", "persist", "wal"))
def _(journal):
    connection = database(journal)
    connection.execute("create table rows (who, number, text)")
    child = os.fork()
    if child == 0:
        try:
            insert(journal, "child")
            os._exit(0)
        finally:
            os._exit(1)
    insert(journal, "parent")
    equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "exit code of the other")
    counts = dict(connection.execute("select who, count(distinct number) from rows group by who"))
    equal(counts, {"child": ROWS, "parent": ROWS}, "rows")
    equal(connection.execute("pragma integrity_check").fetchone(), ("ok",), "integrity")
    connection.close()
    said = command("sqlite3", "database", "pragma integrity_check; select count(*) from rows;")
    equal(said, f"ok\n{2 * ROWS}\n", "what another program sees")


@each("sqlite: what a killed process has not committed is not there, with the journal {}", ("delete", "wal"))
def _(journal):
    connection = database(journal)
    connection.execute("create table rows (who, number, text)")
    connection.close()
    child = os.fork()
    if child == 0:
        connection = database(journal)
        connection.execute("pragma cache_size=2")
        connection.execute("begin immediate")
        for number in range(200):
            connection.execute("insert into rows values ('dead', ?, ?)", (number, "x" * 500))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    connection = database(journal)
    equal(connection.execute("select count(*) from rows").fetchone(), (0,), "rows")
    equal(connection.execute("pragma integrity_check").fetchone(), ("ok",), "integrity")
    connection.close()


@case("sqlite: a reader sees the database as it was while another writes, with the journal wal")
def _():
    connection = database("wal")
    connection.execute("create table rows (who, number, text)")
    connection.execute("begin")
    equal(connection.execute("select count(*) from rows").fetchone(), (0,), "rows before")
    in_child(lambda: insert("wal", "other"))
    equal(connection.execute("select count(*) from rows").fetchone(), (0,), "rows in the reader's transaction")
    connection.execute("commit")
    equal(connection.execute("select count(*) from rows").fetchone(), (ROWS,), "rows after")
    equal(connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0], 0, "checkpoint")
    connection.close()


def git(*words):
    return command("git", "-c", "user.name=suite", "-c", "user.email=suite@localhost", *words)


@case("git: a repository is made, changed on a branch, merged, packed and checked")
def _():
    os.environ["HOME"] = os.getcwd()
    git("init", "--quiet", "--initial-branch=main", "repository")
    os.chdir("repository")
    for number in range(GIT_FILES):
        os.makedirs(f"folder{number % 7}", exist_ok=True)
        write(f"folder{number % 7}/file{number}", b"line\n" * number)
    os.symlink("folder0/file0", "link")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("checkout", "--quiet", "-b", "branch")
    for number in range(0, GIT_FILES, 3):
        write(f"folder{number % 7}/file{number}", b"changed\n")
    git("commit", "--quiet", "--all", "--message=second")
    git("checkout", "--quiet", "main")
    equal(git("status", "--short"), "", "status on main")
    git("merge", "--quiet", "branch")
    git("gc", "--quiet")
    git("fsck", "--full", "--strict")
    equal(len(git("ls-files").split()), GIT_FILES + 1, "files")
    equal(git("status", "--short"), "", "status after all")
    os.chdir("..")
    git("clone", "--quiet", "--upload-pack=git upload-pack", "repository", "clone")
    equal(git("-C", "clone", "log", "--format=%s").split(), ["second", "first"], "log of a clone")
    shutil.rmtree("repository")


GROUPS = (
    ("names", "dentry link symlink rename dir dirdeep getdent filename"),
    ("locks", "flock lockf lockofd locka fcntl"),
    ("data", "hdd seek iomix fallocate fpunch sync-file sendfile readahead"),
    ("attributes", "chmod chown utime touch xattr fstat access open file-ioctl mknod inode-flags"),
)


@each("stress-ng: {}, side by side", GROUPS)
def _(group):
    stressors = [word for name in group[1].split() for word in (f"--{name}", "1")]
    limits = ["--dentry-ops", "1000", "--hdd-bytes", "2M", "--seek-size", "1M", "--iomix-bytes", "2M", "--fallocate-bytes", "2M"]
    limits += ["--sync-file-bytes", "2M", "--readahead-bytes", "2M", "--sendfile-size", "1M"]
    given = ["--timeout", "2", "--verify", "--temp-path", os.getcwd(), "--log-brief", *limits]
    said = command("stress-ng", *stressors, *given)
    check("fail:" not in said, f"stress-ng: {said[-300:]}")
