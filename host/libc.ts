/**
 * The only place where native functions are declared.
 *
 * Symbols come from the process itself (`koffi.load(null)`), so the same code runs on glibc and musl. Calls
 * that some C libraries lack (`openat2`, `fchmodat2` in all, `renameat2`, `statx`, `preadv2` in older ones) go through
 * `syscall(2)`.
 *
 * Declarations are chosen by measurement (Node 20, ns a call over the system call itself): an address passed
 * as a number in a `uintptr_t` 190, in a `void *` 230, a Uint8Array 250, a fresh subarray 350. So buffers
 * that `host/` owns pass a `uintptr_t`, and buffers of a caller pass a `void *`, which takes both a
 * Uint8Array and an address. C's variadic functions (`open`, `fcntl`, `syscall`) are declared with the fixed
 * parameters in use: integer arguments travel in the same registers on x86-64 and arm64 Linux, and koffi's
 * variadic path is much slower.
 */
import koffi, { type KoffiFunc } from 'koffi';
import { HostError } from './errors.js';

/** Memory given to a call: a Uint8Array, or a raw address that the caller keeps alive. */
export type Memory = Uint8Array | number;

/**
 * Asynchronous calls queued at once in the process before `host/` falls back on synchronous ones (koffi's
 * maximum).
 */
const MAX_ASYNC_CALLS = 4096;

/** Sets of stacks that koffi keeps for reuse; each is 256 KiB (koffi's maximum). */
const RESIDENT_ASYNC_POOLS = 32;

function configureAsyncCalls(): void {
  try {
    koffi.config({ max_async_calls: MAX_ASYNC_CALLS, resident_async_pools: RESIDENT_ASYNC_POOLS });
  } catch {
    // The embedding program has loaded a library through koffi already, which freezes the settings: 256 calls
    // then.
  }
}

configureAsyncCalls();

const libc = koffi.load(null);

/** System call numbers: `[x64, arm64]`. */
const SYSCALL_NUMBERS = {
  getdents64: [217, 61],
  mknodat: [259, 33],
  renameat2: [316, 276],
  preadv2: [327, 286],
  pwritev2: [328, 287],
  statx: [332, 291],
  open_tree: [428, 428],
  openat2: [437, 437],
  mount_setattr: [442, 442],
  fchmodat2: [452, 452],
} as const;

type Column = 0 | 1;

function architectureColumn(): Column {
  if (process.platform === 'linux' && process.arch === 'x64') return 0;
  if (process.platform === 'linux' && process.arch === 'arm64') return 1;
  throw new HostError(
    'ENOTSUP',
    'load',
    `host calls need Linux on x64 or arm64, not ${process.platform} on ${process.arch}`,
  );
}

const column = architectureColumn();

/** The number of a system call on this architecture. */
export function syscallNumber(name: keyof typeof SYSCALL_NUMBERS): number {
  return SYSCALL_NUMBERS[name][column];
}

type Args = number | bigint | Memory | string;
type Native<A extends Args[]> = KoffiFunc<(...args: A) => number>;

function declare<A extends Args[]>(name: string, returns: string, parameters: string[]): Native<A> {
  return libc.func(name, returns, parameters) as Native<A>;
}

// Descriptors
export const close = declare<[fd: number]>('close', 'int', ['int']);
export const fcntl = declare<[fd: number, command: number, argument: number]>('fcntl', 'int', [
  'int',
  'int',
  'uintptr_t',
]);
export const ioctl = declare<[fd: number, request: number, argument: number]>('ioctl', 'int', [
  'int',
  'uint64_t',
  'uintptr_t',
]);
export const flock = declare<[fd: number, operation: number]>('flock', 'int', ['int', 'int']);

// Shared memory
export const memfd_create = declare<[name: string, flags: number]>('memfd_create', 'int', [
  'str',
  'uint32_t',
]);
export const mmap = declare<
  [address: number, length: number, prot: number, flags: number, fd: number, offset: number]
>('mmap', 'int64_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
export const munmap = declare<[address: number, length: number]>('munmap', 'int', ['uintptr_t', 'size_t']);

// Events
export const eventfd = declare<[initial: number, flags: number]>('eventfd', 'int', ['uint32_t', 'int']);
export const epoll_create1 = declare<[flags: number]>('epoll_create1', 'int', ['int']);
export const epoll_ctl = declare<[epfd: number, op: number, fd: number, event: number]>('epoll_ctl', 'int', [
  'int',
  'int',
  'int',
  'uintptr_t',
]);
export const epoll_wait = declare<[epfd: number, events: number, maxEvents: number, timeoutMs: number]>(
  'epoll_wait',
  'int',
  ['int', 'uintptr_t', 'int', 'int'],
);

// Changes of directories
export const inotify_init1 = declare<[flags: number]>('inotify_init1', 'int', ['int']);
export const inotify_add_watch = declare<[fd: number, path: number, mask: number]>(
  'inotify_add_watch',
  'int',
  ['int', 'uintptr_t', 'uint32_t'],
);
export const inotify_rm_watch = declare<[fd: number, watch: number]>('inotify_rm_watch', 'int', [
  'int',
  'int',
]);

// Sockets
export const socket = declare<[domain: number, type: number, protocol: number]>('socket', 'int', [
  'int',
  'int',
  'int',
]);
export const socketpair = declare<[domain: number, type: number, protocol: number, pair: number]>(
  'socketpair',
  'int',
  ['int', 'int', 'int', 'uintptr_t'],
);
export const bind = declare<[fd: number, address: number, length: number]>('bind', 'int', [
  'int',
  'uintptr_t',
  'uint32_t',
]);
export const listen = declare<[fd: number, backlog: number]>('listen', 'int', ['int', 'int']);
export const connect = declare<[fd: number, address: number, length: number]>('connect', 'int', [
  'int',
  'uintptr_t',
  'uint32_t',
]);
export const getsockname = declare<[fd: number, address: number, length: number]>('getsockname', 'int', [
  'int',
  'uintptr_t',
  'uintptr_t',
]);
export const setsockopt = declare<[fd: number, level: number, name: number, value: number, length: number]>(
  'setsockopt',
  'int',
  ['int', 'int', 'int', 'uintptr_t', 'uint32_t'],
);
export const getsockopt = declare<[fd: number, level: number, name: number, value: number, length: number]>(
  'getsockopt',
  'int',
  ['int', 'int', 'int', 'uintptr_t', 'uintptr_t'],
);
export const recv = declare<[fd: number, buffer: number, length: number, flags: number]>('recv', 'int64_t', [
  'int',
  'uintptr_t',
  'size_t',
  'int',
]);
export const inet_pton = declare<[family: number, text: Memory, address: number]>('inet_pton', 'int', [
  'int',
  'void *',
  'uintptr_t',
]);
export const accept4 = declare<[fd: number, address: number, length: number, flags: number]>(
  'accept4',
  'int',
  ['int', 'uintptr_t', 'uintptr_t', 'int'],
);
export const sendmsg = declare<[fd: number, message: number, flags: number]>('sendmsg', 'int64_t', [
  'int',
  'uintptr_t',
  'int',
]);
export const recvmsg = declare<[fd: number, message: number, flags: number]>('recvmsg', 'int64_t', [
  'int',
  'uintptr_t',
  'int',
]);

// Reading and writing
const READ_WRITE = ['int', 'uintptr_t', 'size_t'];
const POSITIONED = ['int', 'uintptr_t', 'size_t', 'int64_t'];
const VECTORED = ['int', 'uintptr_t', 'int', 'int64_t'];
type ReadWrite = [fd: number, address: number, length: number];
type Positioned = [fd: number, address: number, length: number, offset: number];
type Vectored = [fd: number, iovecs: number, count: number, offset: number];
export const read = declare<ReadWrite>('read', 'int64_t', READ_WRITE);
export const write = declare<ReadWrite>('write', 'int64_t', READ_WRITE);
export const pread = declare<Positioned>('pread', 'int64_t', POSITIONED);
export const pwrite = declare<Positioned>('pwrite', 'int64_t', POSITIONED);
export const preadv = declare<Vectored>('preadv', 'int64_t', VECTORED);
export const pwritev = declare<Vectored>('pwritev', 'int64_t', VECTORED);
export const lseek = declare<[fd: number, offset: number | bigint, whence: number]>('lseek', 'int64_t', [
  'int',
  'int64_t',
  'int',
]);
export const ftruncate = declare<[fd: number, length: number]>('ftruncate', 'int', ['int', 'int64_t']);
export const truncate = declare<[path: Memory, length: number]>('truncate', 'int', ['void *', 'int64_t']);
export const fallocate = declare<[fd: number, mode: number, offset: number, length: number]>(
  'fallocate',
  'int',
  ['int', 'int', 'int64_t', 'int64_t'],
);
export const fsync = declare<[fd: number]>('fsync', 'int', ['int']);
export const fdatasync = declare<[fd: number]>('fdatasync', 'int', ['int']);

// Pipes
export const pipe2 = declare<[pair: number, flags: number]>('pipe2', 'int', ['uintptr_t', 'int']);
export const splice = declare<
  [from: number, fromOffset: number, to: number, toOffset: number, length: number, flags: number]
>('splice', 'int64_t', ['int', 'uintptr_t', 'int', 'uintptr_t', 'size_t', 'uint32_t']);

// Names
export const openat = declare<[dirFd: number, path: Memory, flags: number, mode: number]>('openat', 'int', [
  'int',
  'void *',
  'int',
  'uint32_t',
]);
export const mkdirat = declare<[dirFd: number, path: Memory, mode: number]>('mkdirat', 'int', [
  'int',
  'void *',
  'uint32_t',
]);
export const symlinkat = declare<[target: Memory, dirFd: number, path: Memory]>('symlinkat', 'int', [
  'void *',
  'int',
  'void *',
]);
export const linkat = declare<
  [oldDirFd: number, oldPath: Memory, newDirFd: number, newPath: Memory, flags: number]
>('linkat', 'int', ['int', 'void *', 'int', 'void *', 'int']);
export const unlinkat = declare<[dirFd: number, path: Memory, flags: number]>('unlinkat', 'int', [
  'int',
  'void *',
  'int',
]);
export const readlinkat = declare<[dirFd: number, path: Memory, target: Memory, length: number]>(
  'readlinkat',
  'int64_t',
  ['int', 'void *', 'void *', 'size_t'],
);

// Attributes
export const fchmod = declare<[fd: number, mode: number]>('fchmod', 'int', ['int', 'uint32_t']);
export const fchmodat = declare<[dirFd: number, path: Memory, mode: number, flags: number]>(
  'fchmodat',
  'int',
  ['int', 'void *', 'uint32_t', 'int'],
);
export const fchownat = declare<[dirFd: number, path: Memory, uid: number, gid: number, flags: number]>(
  'fchownat',
  'int',
  ['int', 'void *', 'uint32_t', 'uint32_t', 'int'],
);
export const utimensat = declare<[dirFd: number, path: Memory, times: Memory, flags: number]>(
  'utimensat',
  'int',
  ['int', 'void *', 'void *', 'int'],
);
export const futimens = declare<[fd: number, times: Memory]>('futimens', 'int', ['int', 'void *']);
export const fstatfs = declare<[fd: number, statfs: Memory]>('fstatfs', 'int', ['int', 'void *']);
export const geteuid = declare<[]>('geteuid', 'uint32_t', []);

// Processes
export const prlimit = declare<[pid: number, resource: number, limit: number, former: number]>(
  'prlimit',
  'int',
  [...['int', 'int', 'uintptr_t', 'uintptr_t']],
);

// Extended attributes
export const fgetxattr = declare<[fd: number, name: Memory, value: Memory, size: number]>(
  'fgetxattr',
  'int64_t',
  ['int', 'void *', 'void *', 'size_t'],
);
export const fsetxattr = declare<[fd: number, name: Memory, value: Memory, size: number, flags: number]>(
  'fsetxattr',
  'int',
  ['int', 'void *', 'void *', 'size_t', 'int'],
);
export const flistxattr = declare<[fd: number, list: Memory, size: number]>('flistxattr', 'int64_t', [
  'int',
  'void *',
  'size_t',
]);
export const fremovexattr = declare<[fd: number, name: Memory]>('fremovexattr', 'int', ['int', 'void *']);
export const getxattr = declare<[path: Memory, name: Memory, value: Memory, size: number]>(
  'getxattr',
  'int64_t',
  ['void *', 'void *', 'void *', 'size_t'],
);
export const setxattr = declare<[path: Memory, name: Memory, value: Memory, size: number, flags: number]>(
  'setxattr',
  'int',
  ['void *', 'void *', 'void *', 'size_t', 'int'],
);
export const listxattr = declare<[path: Memory, list: Memory, size: number]>('listxattr', 'int64_t', [
  'void *',
  'void *',
  'size_t',
]);
export const removexattr = declare<[path: Memory, name: Memory]>('removexattr', 'int', ['void *', 'void *']);

// Through syscall(2); `number` comes from syscallNumber()
export const syscall_statx = declare<
  [number: number, dirFd: number, path: Memory, flags: number, mask: number, statx: Memory]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'int', 'uint32_t', 'void *']);
export const syscall_openat2 = declare<
  [number: number, dirFd: number, path: Memory, how: number, size: number]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'uintptr_t', 'size_t']);
export const syscall_openTree = declare<[number: number, dirFd: number, path: Memory, flags: number]>(
  'syscall',
  'int64_t',
  ['int64_t', 'int', 'void *', 'uint32_t'],
);
export const syscall_mountSetattr = declare<
  [number: number, dirFd: number, path: Memory, flags: number, attributes: number, size: number]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'uint32_t', 'uintptr_t', 'size_t']);
export const syscall_fchmodat2 = declare<
  [number: number, dirFd: number, path: Memory, mode: number, flags: number]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'uint32_t', 'int']);
export const syscall_renameat2 = declare<
  [number: number, oldDirFd: number, oldPath: Memory, newDirFd: number, newPath: Memory, flags: number]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'int', 'void *', 'uint32_t']);
export const syscall_mknodat = declare<
  [number: number, dirFd: number, path: Memory, mode: number, device: number]
>('syscall', 'int64_t', ['int64_t', 'int', 'void *', 'uint32_t', 'uint64_t']);
export const syscall_getdents64 = declare<[number: number, fd: number, buffer: Memory, length: number]>(
  'syscall',
  'int64_t',
  ['int64_t', 'int', 'void *', 'size_t'],
);
export const syscall_vectored2 = declare<
  [
    number: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    offsetHigh: number,
    flags: number,
  ]
>('syscall', 'int64_t', ['int64_t', 'int', 'uintptr_t', 'size_t', 'int64_t', 'int64_t', 'int']);
