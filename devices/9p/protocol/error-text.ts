/** What 9P2000's Rerror says: Linux's words, which Linux's client turns back into the numbers that they came from. */
import { Errno } from '../../errno.js';
import type { MessageWriter } from './cursor.js';

const TEXTS: Readonly<Partial<Record<Errno, string>>> = {
  [Errno.EPERM]: 'Operation not permitted',
  [Errno.ENOENT]: 'No such file or directory',
  [Errno.EINTR]: 'Interrupted system call',
  [Errno.EIO]: 'Input/output error',
  [Errno.ENXIO]: 'No such device or address',
  [Errno.E2BIG]: 'Argument list too long',
  [Errno.EBADF]: 'Bad file descriptor',
  [Errno.EAGAIN]: 'Resource temporarily unavailable',
  [Errno.ENOMEM]: 'Cannot allocate memory',
  [Errno.EACCES]: 'Permission denied',
  [Errno.EFAULT]: 'Bad address',
  [Errno.EBUSY]: 'Device or resource busy',
  [Errno.EEXIST]: 'File exists',
  [Errno.EXDEV]: 'Invalid cross-device link',
  [Errno.ENODEV]: 'No such device',
  [Errno.ENOTDIR]: 'Not a directory',
  [Errno.EISDIR]: 'Is a directory',
  [Errno.EINVAL]: 'Invalid argument',
  [Errno.ENFILE]: 'Too many open files in system',
  [Errno.EMFILE]: 'Too many open files',
  [Errno.ENOTTY]: 'Inappropriate ioctl for device',
  [Errno.ETXTBSY]: 'Text file busy',
  [Errno.EFBIG]: 'File too large',
  [Errno.ENOSPC]: 'No space left on device',
  [Errno.ESPIPE]: 'Illegal seek',
  [Errno.EROFS]: 'Read-only file system',
  [Errno.EMLINK]: 'Too many links',
  [Errno.EPIPE]: 'Broken pipe',
  [Errno.ERANGE]: 'Numerical result out of range',
  [Errno.EDEADLK]: 'Resource deadlock avoided',
  [Errno.ENAMETOOLONG]: 'File name too long',
  [Errno.ENOLCK]: 'No locks available',
  [Errno.ENOSYS]: 'Function not implemented',
  [Errno.ENOTEMPTY]: 'Directory not empty',
  [Errno.ELOOP]: 'Too many levels of symbolic links',
  [Errno.ENODATA]: 'No data available',
  [Errno.EPROTO]: 'Protocol error',
  [Errno.EOVERFLOW]: 'Value too large for defined data type',
  [Errno.EMSGSIZE]: 'Message too long',
  [Errno.EPROTONOSUPPORT]: 'Protocol not supported',
  [Errno.EOPNOTSUPP]: 'Operation not supported',
  [Errno.ETIMEDOUT]: 'Connection timed out',
  [Errno.ESTALE]: 'Stale file handle',
  [Errno.EDQUOT]: 'Disk quota exceeded',
  [Errno.ECANCELED]: 'Operation canceled',
};

export function errorText(errno: number): string {
  return (TEXTS as Readonly<Record<number, string | undefined>>)[errno] ?? `Unknown error ${errno}`;
}

/** size[4] Rerror tag[2] ename[s], cut to the room that the reply has. */
export function encodePlainRerror(w: MessageWriter, errno: number, roomBytes: number): void {
  w.string(errorText(errno).slice(0, Math.max(0, roomBytes - w.position - 2)));
}

/** size[4] Rerror tag[2] ename[s] errno[4] */
export function encodeUnixRerror(w: MessageWriter, errno: number, roomBytes: number): void {
  encodePlainRerror(w, errno, roomBytes - 4);
  w.u32(errno);
}
