import { GuestError } from '../errors.js';
import { OpenFlags } from './constants.js';

/** How to open a file, as `fopen(3)` and Node write it: 'x' fails where the file exists, '+' reads and writes. */
export type OpenMode = 'r' | 'r+' | 'w' | 'wx' | 'w+' | 'wx+' | 'a' | 'ax' | 'a+' | 'ax+';

const { O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = OpenFlags;

const FLAGS: Readonly<Record<OpenMode, number>> = {
  r: O_RDONLY,
  'r+': O_RDWR,
  w: O_WRONLY | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_EXCL,
  'w+': O_RDWR | O_CREAT | O_TRUNC,
  'wx+': O_RDWR | O_CREAT | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND,
  ax: O_WRONLY | O_CREAT | O_APPEND | O_EXCL,
  'a+': O_RDWR | O_CREAT | O_APPEND,
  'ax+': O_RDWR | O_CREAT | O_APPEND | O_EXCL,
};

/** The Linux flags of a mode; numbers are taken as they are (`OpenFlags`). */
export function toOpenFlags(mode: OpenMode | number): number {
  const flags = typeof mode === 'number' ? mode : FLAGS[mode];
  if (flags === undefined)
    throw new GuestError('EINVAL', { syscall: 'open', detail: `no open mode '${mode}'` });
  return flags;
}

/** True where opening with these flags changes the file system, or may. */
export function opensForWriting(flags: number): boolean {
  return (flags & O_ACCMODE) !== O_RDONLY || (flags & (O_CREAT | O_TRUNC)) !== 0;
}
