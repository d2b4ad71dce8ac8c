/** What goes from one file system to another over the same files when a server's client does. */
import type { GivenDescriptor, GivenDescriptors, StateDestination } from '../../state-descriptors.js';
import type { FileSystem, MaybePromise } from './file-system.js';

/** What an open file, or a node without a name, is beside its names, for another server to go on with. */
export interface Kept {
  /** The host's descriptor that is the very file: the file system's still. -1 where there is none. */
  readonly descriptor: number;
  /** In the file system's own words, a few KiB at most. */
  readonly details: Uint8Array;
}

/** The same as it comes to the other file system. It comes from outside. */
export interface Given {
  /** The caller's, unless it is taken. */
  readonly descriptor: GivenDescriptor | undefined;
  readonly details: Uint8Array;
}

export const NOTHING_KEPT: Kept = { descriptor: -1, details: new Uint8Array(0) };

const NO_STATE = new Uint8Array(0);

/** `FileSystem.saveState` of one that may be without. */
export function stateOf(fs: FileSystem, to: StateDestination): Uint8Array | string {
  return fs.saveState?.(to) ?? NO_STATE;
}

/** `FileSystem.restoreState` of one that may be without. */
export function restoreStateOf(
  fs: FileSystem,
  bytes: Uint8Array,
  descriptors: GivenDescriptors | undefined,
): MaybePromise<string | undefined> {
  if (fs.restoreState !== undefined) return fs.restoreState(bytes, descriptors);
  return bytes.length > 0 ? 'its file system is of another kind here' : undefined;
}
