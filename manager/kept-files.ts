/**
 * Open files of device processes that have no name, and what is in which must outlive the process: the changes of an overlay, a disk in memory. The
 * daemon holds them open beside the process, so that the next one finds them by this process's descriptors.
 */
import { closeSync, openSync } from 'node:fs';
import { ChassisError } from './control/api.js';
import type { Log } from './logging/log.js';

/** Paths of files, by what their device process calls them. */
export type KeptPaths = Readonly<Record<string, string>>;

export class KeptFiles {
  private readonly log: Log;
  /** By function, and then by name; undefined for a function whose files could not be held. */
  private readonly held = new Map<string, ReadonlyMap<string, number> | undefined>();

  constructor(log: Log) {
    this.log = log;
  }

  /** Holds a function's files, of which its process answered the descriptors; those that are held already stay. */
  hold(name: string, pid: number, descriptors: Readonly<Record<string, number>>): void {
    const entries = Object.entries(descriptors);
    if (entries.length === 0 || this.held.get(name) !== undefined) return;
    const files = new Map<string, number>();
    try {
      for (const [file, fd] of entries) files.set(file, openSync(`/proc/${pid}/fd/${fd}`, 'r+'));
      this.held.set(name, files);
    } catch (error) {
      for (const fd of files.values()) closeSync(fd);
      this.held.set(name, undefined);
      this.log.with({ function: name }).warn('what it keeps will not outlive its process', error);
    }
  }

  /**
   * Where a function's next process finds its files; undefined where there are none yet.
   * @throws ChassisError DEVICE_PROCESS_LOST where they went with the last one
   */
  pathsOf(name: string): KeptPaths | undefined {
    if (!this.held.has(name)) return undefined;
    const files = this.held.get(name);
    if (files === undefined) {
      throw new ChassisError(
        'DEVICE_PROCESS_LOST',
        'what the guest wrote was in the device process that died',
        'stop the VM, and remove it',
      );
    }
    return Object.fromEntries(Array.from(files, ([file, fd]) => [file, `/proc/${process.pid}/fd/${fd}`]));
  }

  /** What a function kept went with its process, and its guest may still have it: it is not made anew with other contents. */
  lose(name: string): void {
    this.drop(name);
    this.held.set(name, undefined);
  }

  /** The function is no more, nor what it kept. */
  drop(name: string): void {
    for (const fd of this.held.get(name)?.values() ?? []) closeSync(fd);
    this.held.delete(name);
  }

  close(): void {
    for (const name of [...this.held.keys()]) this.drop(name);
  }
}
