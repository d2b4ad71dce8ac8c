/**
 * The library: a chassis in this process, for a guest in this process.
 *
 * ```ts
 * const chassis = new Chassis();
 * await chassis.attach(Volume.fromJSON({ '/hello': 'world' }), { tag: 'mem' });
 * const guest = await Guest.boot(chassis);
 * const mount = await guest.mount('mem');
 * await mount.readFile('/hello', 'utf8');
 * ```
 *
 * @module chassis
 */
export { Errno, isFailure, type Failure } from '../devices/errno.js';
export * from '../devices/9p/fs/file-system.js';
export type { Given, Kept } from '../devices/9p/fs/kept.js';
export type {
  GivenDescriptor,
  GivenDescriptors,
  SavedDescriptors,
  StateDestination,
} from '../devices/state-descriptors.js';
export { HostDirectory, type HostDirectoryOptions } from '../devices/9p/fs/host-directory/host-directory.js';
export {
  NodeFs,
  type NodeFsLike,
  type NodeFsOptions,
  type NodeFsPromises,
} from '../devices/9p/fs/node-fs/node-fs.js';
export type {
  Done,
  DoneWith,
  NodeFsConstants,
  NodeFsStatistics,
  NodeFsStats,
  StatNumber,
} from '../devices/9p/fs/node-fs/node-fs-like.js';
export type { NodeFsHandle } from '../devices/9p/fs/node-fs/promised.js';
export type { Ownership } from '../devices/9p/fs/node-fs/node-fs-context.js';
export {
  IdentityError,
  IdentityFs,
  type Identity,
  type IdRange,
} from '../devices/9p/fs/identity/identity-fs.js';
export { MappedFs } from '../devices/9p/fs/identity/mapped-fs.js';
export {
  OverlayError,
  OverlayFs,
  type Change,
  type ChangeKind,
} from '../devices/9p/fs/overlay/overlay-fs.js';
export {
  PatternError,
  PolicyFs,
  type AuditEvent,
  type AuditListener,
  type Policy,
} from '../devices/9p/fs/policy/policy-fs.js';
export { IoVector, type IoSource } from '../devices/io-vector.js';
export { ChassisError, type ErrorCode, type FunctionCounters } from './control/api.js';
export type { FileSystemLike } from './composition.js';
export type * from './ports/in-process/chassis-api.js';
export { Chassis } from './ports/in-process/in-process-chassis.js';
