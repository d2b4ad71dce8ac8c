/**
 * The two ways in which a host call fails.
 *
 * Hot calls return a result >= 0 or a negative Linux errno (`-2` is `-ENOENT`): on Node 20 that costs 3–4 ns
 * where throwing costs 6–9 µs. Cold set-up calls, whose failure an operator has to read, throw a
 * {@link HostError}.
 */
import { constants } from 'node:os';
import { getSystemErrorMap, getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/**
 * The errno numbers that `host/` itself returns or tests; the same on every Linux architecture that Node runs
 * on.
 */
export const Errno = {
  EPERM: constants.errno.EPERM,
  ENOENT: constants.errno.ENOENT,
  EINTR: constants.errno.EINTR,
  EIO: constants.errno.EIO,
  EBADF: constants.errno.EBADF,
  EAGAIN: constants.errno.EAGAIN,
  EEXIST: constants.errno.EEXIST,
  EINVAL: constants.errno.EINVAL,
  ENAMETOOLONG: constants.errno.ENAMETOOLONG,
  ENOSYS: constants.errno.ENOSYS,
  EOVERFLOW: constants.errno.EOVERFLOW,
  ENOTSOCK: constants.errno.ENOTSOCK,
  EADDRINUSE: constants.errno.EADDRINUSE,
  ECONNREFUSED: constants.errno.ECONNREFUSED,
  ETOOMANYREFS: 109,
} as const;

/** A failed set-up call: `code` is the errno's name, `syscall` what failed, `message` fit for an operator. */
export class HostError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(code: string, syscall: string, message: string) {
    super(message);
    this.name = 'HostError';
    this.code = code;
    this.syscall = syscall;
  }

  /** The error for `negativeErrno` as returned by a hot call; `subject` says what the call was about. */
  static from(negativeErrno: number, syscall: string, subject: string): HostError {
    const code = getSystemErrorName(negativeErrno);
    const reason = getSystemErrorMap().get(negativeErrno)?.[1] ?? code;
    return new HostError(code, syscall, `${syscall} ${subject}: ${reason}`);
  }
}

/**
 * Turns a C result into the convention of this folder. Call it directly on the native call: errno is per
 * thread and only what runs in between (a garbage collection, another native call) can overwrite it.
 */
export function result(value: number): number {
  return value >= 0 ? value : failure();
}

function failure(): number {
  const errno = koffi.errno();
  return errno > 0 ? -errno : -Errno.EIO;
}

/** As {@link result}, but throws a {@link HostError}. */
export function resultOrThrow(value: number, syscall: string, subject: string): number {
  if (value >= 0) return value;
  throw HostError.from(value, syscall, subject);
}
