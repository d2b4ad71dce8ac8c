/** Files that only their owner may read, there as a whole or not at all; and reading files that somebody names. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Replaces what is there. @throws Error */
export function writePrivate(path: string, bytes: Uint8Array): void {
  // Beside it, so that it can take its place; and not under a name that somebody may have.
  const fresh = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    withFile(openSync(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), (fd) => {
      writeFileSync(fd, bytes);
      fsyncSync(fd);
    });
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  withFile(openSync(dirname(path), constants.O_RDONLY), fsyncSync);
}

/** @throws Error, also for what is no regular file, or has more bytes than that */
export function readBounded(path: string, maxBytes: number): Uint8Array {
  return readAs(path, maxBytes, 0);
}

/** As `readBounded`, in a folder that another process writes to: a link there, which may lead to what that one cannot read, is refused. */
export function readBoundedThere(path: string, maxBytes: number): Uint8Array {
  return readAs(path, maxBytes, constants.O_NOFOLLOW);
}

function readAs(path: string, maxBytes: number, flags: number): Uint8Array {
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
  return withFile(openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags), (fd) => {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error('it is not a regular file');
    if (stat.size > maxBytes) throw new Error(`it has more than ${maxBytes} bytes`);
    return readFileSync(fd);
  });
}

function withFile<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
