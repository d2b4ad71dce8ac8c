/**
 * Linux errno numbers (`asm-generic/errno-base.h`, `asm-generic/errno.h`) by name, with the texts that Linux tools print.
 * Of its own for the guest, so that a number which the device gets wrong is seen.
 */
const ERRNO_TEXTS: Readonly<Record<string, readonly [number: number, text: string]>> = {
  EPERM: [1, 'operation not permitted'],
  ENOENT: [2, 'no such file or directory'],
  EINTR: [4, 'interrupted system call'],
  EIO: [5, 'input/output error'],
  ENXIO: [6, 'no such device or address'],
  E2BIG: [7, 'argument list too long'],
  EBADF: [9, 'bad file descriptor'],
  EAGAIN: [11, 'resource temporarily unavailable'],
  ENOMEM: [12, 'cannot allocate memory'],
  EACCES: [13, 'permission denied'],
  EFAULT: [14, 'bad address'],
  EBUSY: [16, 'device or resource busy'],
  EEXIST: [17, 'file exists'],
  EXDEV: [18, 'invalid cross-device link'],
  ENODEV: [19, 'no such device'],
  ENOTDIR: [20, 'not a directory'],
  EISDIR: [21, 'is a directory'],
  EINVAL: [22, 'invalid argument'],
  ENFILE: [23, 'too many open files in system'],
  EMFILE: [24, 'too many open files'],
  ENOTTY: [25, 'inappropriate ioctl for device'],
  ETXTBSY: [26, 'text file busy'],
  EFBIG: [27, 'file too large'],
  ENOSPC: [28, 'no space left on device'],
  ESPIPE: [29, 'illegal seek'],
  EROFS: [30, 'read-only file system'],
  EMLINK: [31, 'too many links'],
  EPIPE: [32, 'broken pipe'],
  EDOM: [33, 'numerical argument out of domain'],
  ERANGE: [34, 'numerical result out of range'],
  EDEADLK: [35, 'resource deadlock avoided'],
  ENAMETOOLONG: [36, 'file name too long'],
  ENOLCK: [37, 'no locks available'],
  ENOSYS: [38, 'function not implemented'],
  ENOTEMPTY: [39, 'directory not empty'],
  ELOOP: [40, 'too many levels of symbolic links'],
  ENODATA: [61, 'no data available'],
  ETIME: [62, 'timer expired'],
  EPROTO: [71, 'protocol error'],
  EBADMSG: [74, 'bad message'],
  EOVERFLOW: [75, 'value too large for defined data type'],
  EOPNOTSUPP: [95, 'operation not supported'],
  ENOTCONN: [107, 'transport endpoint is not connected'],
  ETIMEDOUT: [110, 'connection timed out'],
  ESTALE: [116, 'stale file handle'],
  EREMOTEIO: [121, 'remote I/O error'],
  EDQUOT: [122, 'disk quota exceeded'],
};

const NAMES_BY_NUMBER = new Map(Object.entries(ERRNO_TEXTS).map(([name, [number]]) => [number, name]));

/** The positive number of an errno name. */
export function errnoNumber(code: string): number {
  return ERRNO_TEXTS[code][0];
}

/** Where an error happened: the system call that a Linux guest would have made, and the path it was given. */
export interface ErrorPlace {
  readonly syscall: string;
  readonly path?: string;
  /** What the text says instead of the errno's own. */
  readonly detail?: string | undefined;
}

/**
 * A failure as a program in a Linux guest would see it, in the shape of Node's file system errors: `code` is the errno's name
 * ('ENOENT'; 'E<number>' where the number has none here), `errno` the negative number.
 */
export class GuestError extends Error {
  override readonly name = 'GuestError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;
  readonly #detail: string | undefined;

  /** `error` is a name ('ENOENT') or a number of either sign. */
  constructor(error: string | number, place: ErrorPlace) {
    const number = typeof error === 'number' ? Math.abs(error) : (ERRNO_TEXTS[error]?.[0] ?? 0);
    const code = typeof error === 'string' ? error : (NAMES_BY_NUMBER.get(number) ?? `E${number}`);
    const text = place.detail ?? ERRNO_TEXTS[code]?.[1] ?? 'unknown error';
    super(`${code}: ${text}, ${place.syscall}${place.path === undefined ? '' : ` '${place.path}'`}`);
    this.code = code;
    this.errno = -number;
    this.syscall = place.syscall;
    this.path = place.path;
    this.#detail = place.detail;
  }

  /** The same failure with the call and path that the user of an API knows. */
  at(syscall: string, path: string): GuestError {
    return new GuestError(this.errno, { syscall, path, detail: this.#detail });
  }
}
