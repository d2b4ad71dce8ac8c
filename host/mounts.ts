/**
 * Directories as mounts of their own (open_tree(2), mount_setattr(2), Linux 5.12): a descriptor of a directory lets whoever has it walk up from
 * there by `..`, whatever its own root is; from a mount of its own nothing leads up.
 */
import { result } from './errors.js';
import { closeFd } from './descriptor.js';
import { AT_FDCWD, OpenFlags } from './files/constants.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const OPEN_TREE_CLONE = 1;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_NOSUID = 0x2;
const MOUNT_ATTR_NODEV = 0x4;
const MOUNT_ATTR_NOEXEC = 0x8;
const MS_PRIVATE = 1 << 18;

const SYS_OPEN_TREE = libc.syscallNumber('open_tree');
const SYS_MOUNT_SETATTR = libc.syscallNumber('mount_setattr');

/** struct mount_attr: attr_set[8] attr_clr[8] propagation[8] userns_fd[8]. */
const MOUNT_ATTR = { set: 0, propagation: 16, size: 32 } as const;
const NOTHING_TO_RUN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/**
 * What is mounted at and below a directory, now, as a mount that is at no path: an O_PATH descriptor of its root. Nothing can be run or
 * opened as a device there. It takes CAP_SYS_ADMIN.
 *
 * @returns an fd, or a negative errno: -EPERM, -ENOSYS before Linux 5.12, or as open(2)
 */
export function cloneMount(path: string): number {
  const flags = OPEN_TREE_CLONE | AT_RECURSIVE | OpenFlags.O_CLOEXEC;
  const fd = result(libc.syscall_openTree(SYS_OPEN_TREE, AT_FDCWD, Buffer.from(`${path}\0`), flags));
  if (fd < 0) return fd;
  const attributes = new NativeBuffer(MOUNT_ATTR.size);
  attributes.setU64(MOUNT_ATTR.set, NOTHING_TO_RUN);
  attributes.setU64(MOUNT_ATTR.propagation, MS_PRIVATE);
  const error = result(
    libc.syscall_mountSetattr(
      ...([SYS_MOUNT_SETATTR, fd, Buffer.from('\0'), AT_EMPTY_PATH | AT_RECURSIVE] as const),
      ...([attributes.address, MOUNT_ATTR.size] as const),
    ),
  );
  if (error === 0) return fd;
  closeFd(fd);
  return error;
}
