import { constants } from 'node:os';
import koffi from 'koffi';
import { DENIED_CALLS } from '../../../manager/sandbox/denied-calls.js';

/** A system call as injected code is to try it, and what it is to fail with. */
export interface TriedCall {
  readonly name: string;
  readonly number: number;
  readonly given: readonly number[];
  readonly errno: number;
}

const { EPERM, EAFNOSUPPORT } = constants.errno;
const { SIGCHLD } = constants.signals;
const CLONE_NEWUSER = 0x1000_0000;
const CLONE_VM_FS_FILES_SIGHAND_THREAD = 0x0001_0f00;
const CLONE_NEWNS = 0x0002_0000;
const RLIMIT_CPU = 0;
const Family = { AF_INET: 2, AF_NETLINK: 16, AF_PACKET: 17, AF_VSOCK: 40 } as const;

/** All that are denied by this architecture's numbers. Of those that are denied for some arguments alone: with such, against `victim`. */
export function deniedCalls(victim: number): TriedCall[] {
  const always = DENIED_CALLS.filter(({ where }) => where === undefined);
  return [
    ...always.map(({ call, errno }) => tried(call, call, [], errno)),
    tried('clone for a process', 'clone', [SIGCHLD], EPERM),
    tried('clone for a namespace', 'clone', [CLONE_NEWUSER | SIGCHLD], EPERM),
    tried(
      'clone for a namespace of a thread',
      'clone',
      [CLONE_VM_FS_FILES_SIGHAND_THREAD | CLONE_NEWNS],
      EPERM,
    ),
    tried('limit of another', 'prlimit64', [victim, RLIMIT_CPU], EPERM),
    ...[8, 15].map((command) => tried(`fcntl ${command}`, 'fcntl', [1, command, victim], EPERM)),
    ...[0x8901, 0x8902, 0x5412, 0x541c].map((command) =>
      tried(`ioctl ${command.toString(16)}`, 'ioctl', [1, command, 0], EPERM),
    ),
    // The kernel takes the low half of these alone.
    tried('ioctl by a wide number', 'ioctl', [1, 2 ** 32 + 0x5412], EPERM),
    ...Object.entries(Family).map(([name, family]) => tried(name, 'socket', [family, 3, 0], EAFNOSUPPORT)),
  ].filter(({ number }) => number >= 0);
}

const resolve = koffi.load('libseccomp.so.2').func('seccomp_syscall_resolve_name', 'int', ['str']) as (
  name: string,
) => number;

function tried(name: string, call: string, given: readonly number[], errno: number): TriedCall {
  return { ...{ name, given, errno }, number: resolve(call) };
}
