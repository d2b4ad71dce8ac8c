/**
 * A copy-on-write overlay of one file system over another: guests read both, and write to the upper one only. What they changed can be
 * listed, brought to the lower one, or dropped.
 *
 * Any file system may be either layer, but for the same one. The upper layer is the overlay's own: nobody else may change it, and it
 * lasts as an overlay of the same lower one. The lower layer may be changed by others; what they change shows, unless the guest
 * has changed the same file.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import { Attributes, type ByteString, type FileSystem, type FsNode } from '../file-system.js';
import type { InodePrefix } from '../inode-prefixes.js';
import { restoreStateOf, stateOf } from '../kept.js';
import { PathLock } from '../path-lock.js';
import { commit } from './commit.js';
import type { OnEntry } from './commit-file.js';
import { setAttributes } from './copy-node.js';
import { diff, type Change } from './diff.js';
import { discard } from './discard.js';
import { lookAt } from './layer.js';
import { Marks } from './marks.js';
import { Layer, OverlayContext } from './overlay-context.js';
import { OverlayNode } from './overlay-node.js';
import { MARKS_DIRECTORY } from './reserved-names.js';
import { Selection } from './selection.js';
import { readJournal } from './stage.js';

export type { Change, ChangeKind } from './diff.js';

/** Why a diff, commit or discard stopped. */
export class OverlayError extends Error {
  /** Linux's number, positive: see `Errno`. */
  readonly errno: number;

  constructor(what: string, errno: number) {
    const name = Object.entries(Errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
    super(`${what} stopped with ${name}; what was done by then stays done, and it may be tried again`);
    this.name = 'OverlayError';
    this.errno = errno;
  }
}

function orThrow<T>(answer: T | Failure, what: string): Exclude<T, Failure> {
  if (isFailure(answer)) throw new OverlayError(what, -answer);
  return answer as Exclude<T, Failure>;
}

const NUMBER_FIELDS = { device: 8, bits: 2, prefix: 2 } as const;

export class OverlayFs implements FileSystem {
  readonly #lower: FileSystem;
  readonly #upper: FileSystem;
  readonly #changes = new PathLock();
  #isChanging = false;
  /** Once the root was opened. */
  #context: OverlayContext | undefined;
  /** Those that another overlay gave of these layers. */
  #numbers: readonly InodePrefix[] = [];
  #root: Promise<OverlayNode | Failure> | undefined;

  /** Closes both when it is closed. */
  constructor(lower: FileSystem, upper: FileSystem) {
    this.#lower = lower;
    this.#upper = upper;
  }

  /** The root; what is wrong with a layer's root where it cannot be had. */
  async attach(): Promise<OverlayNode | Failure> {
    this.#root ??= this.#open();
    const root = await this.#root;
    if (isFailure(root)) this.#root = undefined;
    else root.retain();
    return root;
  }

  /**
   * What guests changed, directories before what is in them. Memory: a path for each name that was removed or renamed. Changes made
   * meanwhile may be in the list or not.
   * @throws OverlayError
   */
  async *diff(): AsyncGenerator<Change> {
    const root = await this.#attached('diff');
    try {
      for await (const change of diff(root)) yield orThrow(change, 'diff');
    } finally {
      root.release();
    }
  }

  /**
   * Brings changes to the lower layer: all of them, or those at the given paths ('/dir/file', as bytes) and below, with the directories
   * above that are new. May be called again after it failed or was killed: no step of it loses anything. What guests have open
   * for writing is committed as it is then, and stays a change.
   * @param onEntry told of each path before it is committed; false stops there, with EINTR
   * @throws OverlayError
   */
  async commit(paths?: readonly ByteString[], onEntry?: OnEntry): Promise<void> {
    await this.#change('commit', (root) => commit(root, new Selection(paths), onEntry));
  }

  /**
   * Drops changes, all or those at the given paths and below.
   * @throws OverlayError
   */
  async discard(paths: readonly ByteString[] = ['/']): Promise<void> {
    await this.#change('discard', (root) => discard(root, paths));
  }

  /** Not while something is copied up, committed or dropped: that ends here. */
  saveState(to: StateDestination): Uint8Array | string {
    const lower = stateOf(this.#lower, to);
    if (typeof lower === 'string') return lower;
    const upper = stateOf(this.#upper, to);
    if (typeof upper === 'string') return `what the guest changed: ${upper}`;
    if (this.#isChanging) return 'its changes are being committed or dropped: wait until that is done';
    if ((this.#context?.copies ?? 0) > 0) return 'a file is being copied for a change';
    const writer = new StateWriter();
    writer.list(this.#context?.numbers ?? [], (each) => writer.record(NUMBER_FIELDS, each));
    writer.blob(lower);
    writer.blob(upper);
    return writer.bytes;
  }

  async restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    const reader = new StateReader(bytes);
    const numbers = reader.list(() => reader.record(NUMBER_FIELDS));
    const [lower, upper] = [reader.blob(), reader.blob()];
    if (reader.overrun || reader.leftBytes > 0) return 'the state of an overlay has another length';
    const problem =
      (await restoreStateOf(this.#lower, lower, descriptors)) ??
      (await restoreStateOf(this.#upper, upper, descriptors));
    if (problem !== undefined) return problem;
    // Devices have other numbers after the next start of the host.
    if (descriptors !== undefined) this.#numbers = numbers;
    const resumed = this.#context?.resumeNumbers(this.#numbers) ?? true;
    return resumed ? undefined : 'its numbers of files contradict those of the overlay here';
  }

  async close(): Promise<void> {
    const root = await this.#root;
    this.#root = undefined;
    if (root !== undefined && !isFailure(root)) {
      root.context.release();
      root.release();
    }
    await this.#upper.close();
    await this.#lower.close();
  }

  /** One at a time: they move through the same tree. */
  #change(what: string, change: (root: OverlayNode) => Promise<number>): Promise<void> {
    return this.#changes.exclusive(async () => {
      const root = await this.#attached(what);
      this.#isChanging = true;
      const answer = await change(root).finally(() => {
        this.#isChanging = false;
        root.release();
      });
      orThrow(answer, what);
    });
  }

  async #attached(what: string): Promise<OverlayNode> {
    return orThrow(await this.attach(), what);
  }

  async #open(): Promise<OverlayNode | Failure> {
    const lower = await this.#lower.attach();
    if (isFailure(lower)) return lower;
    const upper = await this.#upper.attach();
    if (isFailure(upper)) {
      lower.release();
      return upper;
    }
    const root = await makeRoot(lower, upper, this.#numbers);
    if (!isFailure(root)) {
      this.#context = root.context;
      return root;
    }
    upper.release();
    lower.release();
    return root;
  }
}

async function makeRoot(
  lower: FsNode,
  upper: FsNode,
  numbers: readonly InodePrefix[],
): Promise<OverlayNode | Failure> {
  const error = await dressRoot(lower, upper);
  if (error < 0) return error;
  const context = await OverlayContext.make(lower, upper);
  if (isFailure(context)) return context;
  // Nothing has a number yet: those of a state that contradicts itself lead to other files, which its restorer finds out.
  context.resumeNumbers(numbers);
  const look = { node: lower, attributes: new Attributes() };
  const above = { node: upper, attributes: new Attributes() };
  const marks = await Marks.load(upper);
  const failed = (await readJournal(context)) || (await lower.getattr(look.attributes));
  if (failed < 0 || isFailure(marks)) {
    context.work.release();
    return isFailure(marks) ? marks : failed;
  }
  // The upper root's device is numbered after the lower one's, whose numbers so stay as they are.
  const type = look.attributes.mode & 0o170000;
  const unnumbered = context.number(Layer.lower, look.attributes);
  if (unnumbered < 0) {
    context.work.release();
    return unnumbered;
  }
  const { inodeLow, inodeHigh } = look.attributes;
  lower.retain();
  upper.retain();
  const found = { type, inodeLow, inodeHigh, lower: look, upper: above, redirect: undefined, marks };
  return new OverlayNode(context, null, '', found);
}

/** A new upper layer's root gets the attributes of the lower one. */
async function dressRoot(lower: FsNode, upper: FsNode): Promise<number> {
  const marks = await lookAt(upper, MARKS_DIRECTORY);
  if (!isFailure(marks)) {
    marks.node.release();
    return 0;
  }
  const attributes = new Attributes();
  const error = await lower.getattr(attributes);
  return error < 0 ? error : setAttributes(upper, attributes);
}
