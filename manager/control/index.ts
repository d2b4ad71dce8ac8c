/**
 * A typed client of a daemon's API, and the shapes that cross it.
 *
 * ```ts
 * const client = new ChassisClient();
 * await client.create('dev', { slots: 4 });
 * await client.attach('dev', { mounts: [{ tag: 'src', source: { type: 'directory', path: '/home/me/src' } }] });
 * ```
 *
 * @module chassis/client
 */
export type * from './api.js';
export { ChassisError } from './api.js';
export {
  ChassisClient,
  type AddCardOptions,
  type AddDiskOptions,
  type AttachOptions,
  type ChassisClientOptions,
} from './client.js';
export { DaemonNotRunningError } from './daemon-connection.js';
export { defaultStateDirectory } from './state-directory.js';
