/** Limits of processes (prlimit(2)). */
import { resultOrThrow, result } from './errors.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

/** asm-generic/resource.h: the same on x86-64 and arm64. */
export const Rlimit = { RLIMIT_CORE: 4, RLIMIT_MEMLOCK: 8, RLIMIT_MSGQUEUE: 12 } as const;
export type Rlimit = (typeof Rlimit)[keyof typeof Rlimit];

/** struct rlimit64: rlim_cur[8] rlim_max[8]. */
const RLIMIT = { cur: 0, max: 8, size: 16 } as const;

/** A process of ours has `value` at most of it from now on, and so has what it starts. @throws HostError ESRCH, EPERM */
export function limit(pid: number, resource: Rlimit, value: number): void {
  const wanted = new NativeBuffer(RLIMIT.size);
  wanted.setU64(RLIMIT.cur, value);
  wanted.setU64(RLIMIT.max, value);
  resultOrThrow(result(libc.prlimit(pid, resource, wanted.address, 0)), 'prlimit', `of process ${pid}`);
}
