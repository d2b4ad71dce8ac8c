/** What a program gives to a chassis in its process, and what it is told. */
import type { FileSystemLike } from '../../composition.js';
import type { FunctionCounters } from '../../control/api.js';

export interface ChassisOptions {
  /**
   * Slots of the chassis's own, 1 to 31; default 31. A guest deals out its 256 bus numbers among them when it boots: the fewer
   * they are, the more slots an extension chassis in one may have (6 with 31 of them, 32 with up to 7).
   */
  readonly slots?: number;
  /** The guest's RAM; default 64 MiB. */
  readonly ramSizeBytes?: number;
  /** Queues of a multiplexing device, which are mounts that one function has room for: 1 to 512; default 64. */
  readonly queuesPerDevice?: number;
  /** Takes a line on each fault of a guest's driver or of a file system; silent by default. */
  readonly log?: (message: string) => void;
}

/** A PCI function of its own, or a queue of a function that serves several mounts (docs/9p-multiplexing.md). */
export type Via = 'function' | 'queue';

export interface AttachOptions {
  /** What the guest mounts by: 1 to 254 bytes of UTF-8, on a queue 222. */
  readonly tag: string;
  readonly readOnly?: boolean;
  /** Default 'function', which every guest knows. The first mount on a queue plugs a device; the next ones cost no PCI event. */
  readonly via?: Via;
  /** 1-based; the first empty one by default. */
  readonly slot?: number;
  /**
   * 0 to 255; default the first free one. One other than 0 waits, parked, until function 0 of the slot is attached. Above 7
   * a guest finds it by ARI.
   */
  readonly function?: number;
}

/** One function of a card. */
export interface CardMount {
  readonly source: FileSystemLike;
  readonly tag: string;
  readonly readOnly?: boolean;
}

export interface CardOptions {
  /** 1-based; the first empty one by default. */
  readonly slot?: number;
}

export interface DetachOptions {
  /** Pulls it out as it is, in use or not, without asking the guest. */
  readonly force?: boolean;
  /** Lets the other mounts of the slot go as well: a guest lets go of whole slots. */
  readonly slot?: boolean;
  /** How long the guest may take; default 30 seconds. */
  readonly timeoutMs?: number;
}

export interface RetractOptions {
  /** How long the guest may take; default 30 seconds. */
  readonly timeoutMs?: number;
}

export interface ExtensionOptions {
  /** Slots that it brings: 1 to 32. */
  readonly ports: number;
  /**
   * Where it is plugged in; by default the first empty slot that has room for it. A slot of an extension chassis itself has none before
   * the guest that runs has found that one.
   */
  readonly slot?: number;
}

export interface Extension {
  /** Where it is plugged in. */
  readonly slot: number;
  /** The slots that it brought. */
  readonly slots: readonly number[];
}

export interface MountInfo {
  readonly tag: string;
  readonly readOnly: boolean;
  readonly via: Via;
  readonly slot: number;
  readonly function: number;
  /** Of a mount on a queue. */
  readonly queue: number | undefined;
  /** Parked mounts wait for function 0 of their slot. */
  readonly state: 'parked' | 'plugged' | 'unplugging';
  readonly counters: FunctionCounters;
}

export type SlotInfo =
  | { readonly slot: number; readonly holds: 'nothing' }
  | { readonly slot: number; readonly holds: 'card'; readonly state: MountInfo['state'] }
  | { readonly slot: number; readonly holds: 'extension'; readonly slots: readonly number[] };
