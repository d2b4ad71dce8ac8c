/**
 * Linux errno numbers (x86 and arm64 generic values, `asm-generic/errno.h`), as 9P2000.L and virtio devices
 * speak them on the wire. They are the guest's numbers, whatever system this runs on.
 *
 * Convention on hot paths: a call answers its result, or a negative errno number (`-Errno.ENOENT`).
 */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
  ECANCELED: 125,
} as const;
export type Errno = (typeof Errno)[keyof typeof Errno];

/** A negative errno number: the failure half of a call's answer. */
export type Failure = number;

/** True where a call's answer is a failure rather than an object. */
export function isFailure(answer: unknown): answer is Failure {
  return typeof answer === 'number' && answer < 0;
}

/** The Linux errno (positive) of an exception thrown by Node or a `node:fs`-compatible object; EIO when it names none. */
export function errnoOfException(error: unknown): number {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string' && code in Errno) return Errno[code as keyof typeof Errno];
  return code === 'ENOTSUP' ? Errno.EOPNOTSUPP : Errno.EIO;
}
