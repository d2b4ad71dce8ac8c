/**
 * `/proc/self/fd/N` as a path: how calls that take no O_PATH descriptor reach the file behind one. It is a
 * magic link, so nobody can swap the file meanwhile, and a symbolic link opened with O_PATH|O_NOFOLLOW is not
 * followed any further.
 */
import { NativeBuffer } from '../native-buffer.js';

const PREFIX = '/proc/self/fd/';
const NO_SUCH_FD = Buffer.from('-1\0');

// One buffer is enough: calls are synchronous, and none takes two of these paths.
const path = new NativeBuffer(32);
path.bytes.set(Buffer.from(PREFIX));

/** The address of the NUL-terminated path of `fd`, good until the next call of this function. */
export function procPath(fd: number): number {
  const { bytes } = path;
  const number = fd | 0;
  if (number < 0) {
    bytes.set(NO_SUCH_FD, PREFIX.length);
    return path.address;
  }
  let end = PREFIX.length + 1;
  for (let rest = number; rest >= 10; rest = Math.trunc(rest / 10)) end++;
  bytes[end] = 0;
  let rest = number;
  for (let i = end - 1; i >= PREFIX.length; i--) {
    bytes[i] = 0x30 + (rest % 10);
    rest = Math.trunc(rest / 10);
  }
  return path.address;
}
