"""What POSIX and Linux promise of a file system, as cases that run as root in a directory of it."""
