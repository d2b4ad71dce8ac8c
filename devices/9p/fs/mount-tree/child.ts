/**
 * A file system in a tree, and what the guest has of it. It can go at any moment: every call asks first whether it is still there,
 * every call under way is counted, and once the last of them is over, all that the guest holds is given back to the file system.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import {
  isPromise,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type FileSystem,
  type FsNode,
  type Interruptible,
  type MaybePromise,
  type OpenFile,
} from '../file-system.js';
import { restoreStateOf, stateOf } from '../kept.js';
import { ChildFile } from './child-file.js';
import { ChildNode } from './child-node.js';
import { isPoke } from './poke.js';
import type { DeviceNumbers } from './device-numbers.js';

/** What was still in use when a child was removed. */
export interface Lost {
  /** Files and directories that the guest knew, open or not. */
  readonly fids: number;
  readonly openFiles: number;
}

export interface ChildOptions {
  /** In the tree's root, as the guest sees it. */
  readonly name: ByteString;
  readonly readOnly: boolean;
  /** The guest is told of changes on the host, and may poke its files. */
  readonly watched: boolean;
  readonly devices: DeviceNumbers;
  /** The tree's root, with a reference for the caller: what is above the child's own. */
  readonly above: () => FsNode;
  /** Told of bugs in the file system. */
  readonly log: (message: string, error?: unknown) => void;
}

export class Child {
  readonly name: ByteString;
  readonly readOnly: boolean;
  readonly watched: boolean;
  /** No call may be made any more. */
  gone = false;
  /** References that the guest has to nodes. */
  fids = 0;
  readonly nodes = new Set<ChildNode>();
  readonly files = new Set<ChildFile>();
  /** Resolved once the file system is closed, after `remove`. */
  readonly closed: Promise<void>;
  readonly #fs: FileSystem;
  readonly #options: ChildOptions;
  #onClosed!: () => void;
  /** Calls under way that will be answered later. */
  #pending = 0;
  /** Those that may be waiting for something, and on which file. */
  readonly #interruptible = new Map<Interruptible, OpenFile>();
  /** The file system's device numbers → the tree's. */
  readonly #devices = new Map<number, number>();
  /** Which file the root is, once somebody has looked. */
  #rootDevice = -1;
  #rootInodeLow = 0;
  #rootInodeHigh = 0;

  constructor(fs: FileSystem, options: ChildOptions) {
    this.#fs = fs;
    this.#options = options;
    this.name = options.name;
    this.readOnly = options.readOnly;
    this.watched = options.watched;
    this.closed = new Promise((resolve) => (this.#onClosed = resolve));
  }

  saveState(to: StateDestination): Uint8Array | string {
    return stateOf(this.#fs, to);
  }

  restoreState(
    bytes: Uint8Array,
    descriptors: GivenDescriptors | undefined,
  ): MaybePromise<string | undefined> {
    return restoreStateOf(this.#fs, bytes, descriptors);
  }

  /** The root, for one walk to it. */
  attach(): MaybePromise<FsNode | Failure> {
    if (this.gone) return -Errno.ESTALE;
    const answer = this.#fs.attach();
    return isPromise(answer) ? this.track(answer, (root) => this.wrap(root, true)) : this.wrap(answer, true);
  }

  above(): FsNode {
    return this.#options.above();
  }

  /** 0, or why nothing may be changed. */
  refusal(): number {
    if (this.gone) return -Errno.ESTALE;
    return this.readOnly ? -Errno.EROFS : 0;
  }

  /** True for a change that is none: the guest wakes its watchers, and the file is to be left alone. */
  isPoke(changes: AttributeChanges): boolean {
    return this.watched && !this.gone && isPoke(changes);
  }

  /** The answer of a call, counted until it is there where that takes a while. */
  run<T>(answer: MaybePromise<T>): MaybePromise<T> {
    return isPromise(answer) ? this.track(answer, same) : answer;
  }

  /** As `run`, of a call that may wait until it is interrupted. */
  runInterruptible(
    answer: MaybePromise<number>,
    operation: Interruptible,
    file: OpenFile,
  ): MaybePromise<number> {
    if (!isPromise(answer)) return answer;
    this.#interruptible.set(operation, file);
    return this.track(answer, (result) => {
      this.#interruptible.delete(operation);
      return this.gone && result === -Errno.EINTR ? -Errno.ESTALE : result;
    });
  }

  /** Counts a call under way. What it answers is passed to `next` before the call counts as over. */
  async track<T, R>(answer: Promise<T>, next: (value: T) => MaybePromise<R>): Promise<R> {
    this.#pending++;
    try {
      return await next(await answer);
    } finally {
      this.#pending--;
      this.#disposeIfUnused();
    }
  }

  /** A node of the file system as a node of the tree. Takes over the caller's reference. */
  wrap(node: FsNode | Failure, isRoot = false): FsNode | Failure {
    if (isFailure(node)) return node;
    if (!this.gone) return new ChildNode(this, node, isRoot);
    this.#attempt('release', () => node.release());
    return -Errno.ESTALE;
  }

  /** The same of an open file. Answers later where it has to be closed at once. */
  wrapFile(file: OpenFile | Failure): MaybePromise<OpenFile | Failure> {
    if (isFailure(file)) return file;
    if (!this.gone) return new ChildFile(this, file);
    return this.#closeFile(file).then(() => -Errno.ESTALE);
  }

  /** The answer of a getattr into `out`, which is told in the tree's terms. */
  attributes(answer: MaybePromise<number>, out: Attributes): MaybePromise<number> {
    if (isPromise(answer)) return this.track(answer, (result) => this.#translate(result, out));
    return this.#translate(answer, out);
  }

  /** Notes which file the root is: `attributes` are in the tree's terms. */
  noteRoot(attributes: Attributes): void {
    this.#rootDevice = attributes.device;
    this.#rootInodeLow = attributes.inodeLow;
    this.#rootInodeHigh = attributes.inodeHigh;
  }

  isRoot({ device, inodeLow, inodeHigh }: Attributes): boolean {
    return (
      device === this.#rootDevice && inodeLow === this.#rootInodeLow && inodeHigh === this.#rootInodeHigh
    );
  }

  /** Puts the tree's device number in the place of the file system's; 0 or a negative errno. */
  translateDevice(out: Attributes): number {
    const device = this.#devices.get(out.device) ?? this.#newDevice(out.device);
    if (device < 0) return device;
    out.device = device;
    return 0;
  }

  /** Ends it: nothing gets through any more, and calls that wait for something are told to give up. */
  remove(): Lost {
    const lost = { fids: this.fids, openFiles: this.files.size };
    this.gone = true;
    for (const [operation, file] of [...this.#interruptible])
      this.#attempt('interrupt', () => file.interrupt(operation));
    this.#disposeIfUnused();
    return lost;
  }

  #newDevice(own: number): number {
    const device = this.#options.devices.take();
    if (device >= 0) this.#devices.set(own, device);
    return device;
  }

  #translate(result: number, out: Attributes): number {
    return result < 0 ? result : this.translateDevice(out) || result;
  }

  #disposeIfUnused(): void {
    if (!this.gone || this.#pending > 0) return;
    // Closing files is counted, too, so that this runs once: at the end of it the count stays above zero.
    this.#pending++;
    void this.#dispose();
  }

  async #dispose(): Promise<void> {
    await Promise.all([...this.files].map((file) => this.#closeFile(file.surrender())));
    for (const node of this.nodes) this.#attempt('release', () => node.surrender());
    this.nodes.clear();
    this.files.clear();
    try {
      await this.#fs.close();
    } catch (error) {
      this.#options.log('close of a file system failed', error);
    }
    for (const device of this.#devices.values()) this.#options.devices.giveBack(device);
    this.#onClosed();
  }

  async #closeFile(file: OpenFile): Promise<void> {
    try {
      await file.close();
    } catch (error) {
      this.#options.log('close failed', error);
    }
  }

  #attempt(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.log(`${what} threw`, error);
    }
  }
}

function same<T>(value: T): T {
  return value;
}
