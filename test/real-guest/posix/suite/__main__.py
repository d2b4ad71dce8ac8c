"""Runs the cases of the suite in a directory, and prints one line of JSON for each: {"name", "ok", "detail"}."""

import argparse
import json
import os
import sys

from . import (
    accesslists,
    attributes,
    chmod,
    chown,
    create,
    data,
    devices,
    extended,
    files,
    link,
    listing,
    locks,
    mapping,
    names,
    paths,
    programs,
    remove,
    rename,
    times,
    truncate,
)
from .harness import CASES, run

AREAS = (
    *(paths, create, chmod, chown, link, rename, remove, truncate, times, attributes),
    *(files, data, devices, extended, accesslists, names, listing, locks, mapping, programs),
)


def main():
    parser = argparse.ArgumentParser(prog="suite")
    parser.add_argument("directory")
    parser.add_argument("--only", action="append", default=[], help="cases whose name starts with it, and no others")
    parser.add_argument("--skip", action="append", default=[], help="cases whose name starts with it are left out")
    given = parser.parse_args()
    os.umask(0)
    failed = 0
    for case in CASES:
        if case.name.startswith(tuple(given.skip)) or not case.name.startswith(tuple(given.only or [""])):
            continue
        detail = run(case, given.directory)
        failed += detail is not None
        print(json.dumps({"name": case.name, "ok": detail is None, "detail": detail or ""}), flush=True)
    print(f"{failed} failed", file=sys.stderr)


main()
