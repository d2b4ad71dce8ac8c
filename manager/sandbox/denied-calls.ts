/**
 * The system calls that no process of the daemon's makes once it is confined, and that code injected into it would make for others' harm, or to
 * get at more of the kernel. A list of what is denied and not of what is allowed: Node, V8 and libuv change theirs with each version.
 *
 * It is made of the published lists for services and containers: the groups of systemd's SystemCallFilter= (systemd.exec(5): @clock, @debug,
 * @keyring, @module, @mount, @obsolete, @raw-io, @reboot, @swap, and of @privileged and @resources what a process here does not do), what
 * Docker's default profile keeps from containers, and, beyond both, all that reaches other processes: the process shares its user and its pid
 * namespace with the daemon, QEMU and all else.
 */
import { constants } from 'node:os';
import type { DeniedCall } from '../../host/index.js';

const { EPERM, ENOSYS, EAFNOSUPPORT } = constants.errno;

const DENIED = [
  // @clock
  ...['adjtimex', 'clock_adjtime', 'clock_adjtime64', 'clock_settime', 'clock_settime64', 'settimeofday'],
  // @debug, and reading or steering other processes
  ...['lookup_dcookie', 'perf_event_open', 'ptrace', 'kcmp', 'process_vm_readv', 'process_vm_writev'],
  ...['pidfd_open', 'pidfd_getfd', 'process_madvise', 'process_mrelease'],
  // Signals: the kernel lets one user's processes kill each other.
  ...['kill', 'tkill', 'tgkill', 'rt_sigqueueinfo', 'rt_tgsigqueueinfo', 'pidfd_send_signal'],
  // @resources: of other processes, too
  ...[
    'ioprio_set',
    'mbind',
    'migrate_pages',
    'move_pages',
    'nice',
    'set_mempolicy',
    'set_mempolicy_home_node',
  ],
  ...['sched_setaffinity', 'sched_setattr', 'sched_setparam', 'sched_setscheduler', 'setpriority'],
  // @keyring
  ...['add_key', 'keyctl', 'request_key'],
  // @module, @reboot, @swap, @raw-io
  ...['create_module', 'delete_module', 'finit_module', 'init_module', 'query_module'],
  ...['kexec_file_load', 'kexec_load', 'reboot', 'swapoff', 'swapon', 'ioperm', 'iopl'],
  // @mount, and namespaces
  ...[
    'chroot',
    'fsconfig',
    'fsmount',
    'fsopen',
    'fspick',
    'mount',
    'mount_setattr',
    'move_mount',
    'open_tree',
  ],
  ...['pivot_root', 'umount', 'umount2', 'setns', 'unshare'],
  // @privileged
  ...['acct', 'bpf', 'fanotify_init', 'nfsservctl', 'open_by_handle_at', 'quotactl', 'quotactl_fd'],
  ...['sethostname', 'setdomainname', 'syslog', 'vhangup'],
  // @cpu-emulation, @obsolete, and what exploits of the kernel begin with
  ...[
    'modify_ldt',
    'personality',
    'vm86',
    'vm86old',
    '_sysctl',
    'sysfs',
    'uselib',
    'ustat',
    'remap_file_pages',
  ],
  ...['userfaultfd', 'io_uring_setup', 'io_uring_enter', 'io_uring_register'],
  // Other processes: threads are made by clone(2) alone.
  ...['fork', 'vfork'],
] as const;

/** linux/sched.h */
const CLONE_THREAD = 0x0001_0000;
const NAMESPACES = {
  ...{ CLONE_NEWTIME: 0x0000_0080, CLONE_NEWNS: 0x0002_0000, CLONE_NEWCGROUP: 0x0200_0000 },
  ...{ CLONE_NEWUTS: 0x0400_0000, CLONE_NEWIPC: 0x0800_0000, CLONE_NEWUSER: 0x1000_0000 },
  ...{ CLONE_NEWPID: 0x2000_0000, CLONE_NEWNET: 0x4000_0000 },
} as const;

const AF_UNIX = 1;
/** fcntl(2), and ioctl(2) on sockets: whom signals of a descriptor are sent to. */
const F_SETOWN = 8;
const F_SETOWN_EX = 15;
const FIOSETOWN = 0x8901;
const SIOCSPGRP = 0x8902;
/** ioctl_tty(2): what writes into the terminal that somebody else reads from. */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

/** The kernel looks at the low 32 bits of these arguments alone. */
function commandIs(call: 'fcntl' | 'ioctl', command: number): DeniedCall {
  return { call, errno: EPERM, where: { argument: 1, masked: 0xffff_ffff, is: command } };
}

export const DENIED_CALLS: readonly DeniedCall[] = [
  ...DENIED.map((call) => ({ call, errno: EPERM })),
  // Its flags lie in memory, where no filter can look: C libraries fall back on clone(2).
  { call: 'clone3', errno: ENOSYS },
  { call: 'clone', errno: EPERM, where: { argument: 0, masked: CLONE_THREAD, is: 0 } },
  ...Object.values(NAMESPACES).map((flag) => ({
    ...{ call: 'clone', errno: EPERM },
    where: { argument: 0, masked: flag, is: flag },
  })),
  // The daemon makes all connections but those to sockets in the process's folder.
  ...['socket', 'socketpair'].map((call) => ({
    ...{ call, errno: EAFNOSUPPORT },
    where: { argument: 0, not: AF_UNIX },
  })),
  ...[F_SETOWN, F_SETOWN_EX].map((command) => commandIs('fcntl', command)),
  ...[FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX].map((command) => commandIs('ioctl', command)),
  // Its own limits alone: Node raises that of open files.
  { call: 'prlimit64', errno: EPERM, where: { argument: 0, not: 0 } },
];
