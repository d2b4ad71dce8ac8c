/**
 * The space that file contents take: giving it back, zeroing it, and what block devices say and do about theirs. Results are 0 or a
 * value >= 0, or a negative errno.
 */
import { result } from '../errors.js';
import * as libc from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';
import { fallocate } from './io.js';
import { settleSync, submit, type Completion } from './on-thread.js';

/** Questions of a block device that are answered by an unsigned int (linux/fs.h). */
export const BlockQuery = {
  /** 1 for a device that takes no writes. */
  BLKROGET: 0x125e,
  /** Logical block size in bytes: the unit of its addresses. */
  BLKSSZGET: 0x1268,
  /** Smallest and best sizes of requests in bytes; 0 where unknown. */
  BLKIOMIN: 0x1278,
  BLKIOOPT: 0x1279,
  /** Bytes from the start to the first physical block that starts there; -1 (0xffffffff) where it has none. */
  BLKALIGNOFF: 0x127a,
  /** Physical block size in bytes: what it writes at once. */
  BLKPBSZGET: 0x127b,
} as const;
export type BlockQuery = (typeof BlockQuery)[keyof typeof BlockQuery];

/** What a block device can do to a range of bytes (linux/fs.h). */
export const BlockRangeCommand = {
  /** The contents are not needed any more. */
  BLKDISCARD: 0x1277,
  /** The contents, and every copy of them, must not be readable by anybody any more. */
  BLKSECDISCARD: 0x127d,
} as const;
export type BlockRangeCommand = (typeof BlockRangeCommand)[keyof typeof BlockRangeCommand];

const BLKGETSIZE64 = 0x80081272;

const answer = new NativeBuffer(8);

/** The answer to a question, or -ENOTTY where `fd` is no block device. */
export function blockQuery(fd: number, query: BlockQuery): number {
  // The kernel fills four bytes, or none where it fails.
  answer.u32[0] = 0;
  const error = result(libc.ioctl(fd, query, answer.address));
  return error < 0 ? error : answer.u32[0];
}

/** A block device's size in bytes. */
export function blockDeviceSize(fd: number): number {
  answer.setU64(0, 0);
  const error = result(libc.ioctl(fd, BLKGETSIZE64, answer.address));
  return error < 0 ? error : answer.getU64(0);
}

/** u64 start, u64 length: what commands on ranges take. */
function rangeArgument(offset: number, length: number): NativeBuffer {
  const range = new NativeBuffer(16);
  range.setU64(0, offset);
  range.setU64(8, length);
  return range;
}

/**
 * Asks a block device about a command without doing anything: -EOPNOTSUPP where it cannot, -EINVAL where it can (the range is not
 * aligned, which the kernel looks at last).
 */
export function blockRangeProbe(fd: number, command: BlockRangeCommand): number {
  return result(libc.ioctl(fd, command, rangeArgument(1, 1).address));
}

/** Does a command to bytes of a block device, on a thread. `offset` and `length` are multiples of its logical block size. */
export function blockRangeAsync(
  fd: number,
  command: BlockRangeCommand,
  offset: number,
  length: number,
  done: Completion,
): void {
  const range = rangeArgument(offset, length);
  // The callback lives until the call is over, and with it the range that a thread reads meanwhile.
  const finished: Completion = (value) => {
    void range;
    done(value);
  };
  submit(
    (settle) => {
      libc.ioctl.async(fd, command, range.address, settle);
    },
    settleSync(finished),
    () => result(libc.ioctl(fd, command, range.address)),
    finished,
  );
}

/** fallocate(2) on a thread: it may have to write, and to wait for the file system's journal. */
export function fallocateAsync(
  fd: number,
  mode: number,
  offset: number,
  length: number,
  done: Completion,
): void {
  submit(
    (settle) => {
      libc.fallocate.async(fd, mode, offset, length, settle);
    },
    settleSync(done),
    () => fallocate(fd, mode, offset, length),
    done,
  );
}
