/**
 * A guest in this process: boot one on a chassis's in-process bus, mount what is plugged into it, and use it as `fs/promises`.
 *
 * ```ts
 * const guest = await Guest.boot(machine);
 * const mount = await guest.mount('work');
 * await mount.writeFile('hello.txt', 'hello');
 * await mount.unmount();
 * ```
 *
 * Below `Mount` there is `Client9p`, with a method for every request of 9P2000.L, over any `Transport9p`.
 *
 * @module chassis/guest
 */
export type { AddressWindow, GuestBus, PortIo } from './bus.js';
export { GuestError, type ErrorPlace } from './errors.js';
export { Guest, type FunctionInfo, type GuestEvents, type GuestOptions, type WaitOptions } from './guest.js';
export type { TagChange } from './9p/virtio-driver.js';
export type { PciehpOptions } from './pci/pciehp.js';
export type { Timers } from './pci/timers.js';
export type { VirtioOptions } from './virtio/device.js';
export type { KickMode } from './virtio/transport.js';
export { Mount, type CreateOptions, type MountOptions } from './9p/mount.js';
export type { Time } from './9p/times.js';
export { FileHandle } from './9p/file-handle.js';
export type { OpenMode } from './9p/open-flags.js';
export type { OperationOptions } from './9p/operations.js';
export { DirectoryEntry, Stats } from './9p/stats.js';
export { Client9p, type AttachOptions } from './9p/client.js';
export type * from './9p/messages.js';
export type { Bytes } from './9p/cursor.js';
export type { Exchange, MessageBuffer, Transport9p } from './9p/transport.js';
export { SocketTransport9p, type ByteStream } from './9p/socket-transport.js';
export { LockFlags, LockStatus, LockType, OpenFlags, QidType } from './9p/constants.js';
