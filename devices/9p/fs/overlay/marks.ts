/**
 * What one directory of the upper layer says about the lower one: symbolic links in a directory of a reserved name, since every file
 * system that can be written to has links, or at least most, and any name fits. Kept in memory once read: the upper layer is ours alone.
 *
 * The link NAME says that the lower layer's entry NAME does not show. Where it points to `/PATH` as well, the file of that name
 * in the upper layer was made from the lower one's file at PATH. A directory that was moved says itself where its lower layer is,
 * so that it moves in one step.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { Attributes, ByteString, FsNode } from '../file-system.js';
import { directoryAt, LAYERS_OWN, listEntries } from './layer.js';
import { isReserved, MARKS_DIRECTORY, NEW_MARK, OWN_ORIGIN } from './reserved-names.js';

const HIDES = '!';
/** The longest target that links have, less the name that may stand before it while it is changed. */
const TARGET_MAX_BYTES = 4095 - 256;

/** What a mark says besides hiding: '' for nothing, or `INODE/PATH` of the lower layer's file. */
export type Mark = ByteString;

/** The mark of a file made from the one at `path`; '' where that does not fit a link. */
export function originMark({ inodeLow, inodeHigh }: Attributes, path: ByteString): Mark {
  const mark = `${inodeHigh.toString(16)}.${inodeLow.toString(16)}${path}`;
  return mark.length > TARGET_MAX_BYTES ? '' : mark;
}

/** The path in a mark, if the mark is of this very file of the lower layer. */
export function originPath(mark: Mark): ByteString | undefined {
  return mark === '' ? undefined : mark.slice(mark.indexOf('/'));
}

export class Marks {
  readonly #directory: FsNode | undefined;
  readonly #marks = new Map<ByteString, Mark>();
  #origin: ByteString | undefined;

  /**
   * Of a directory that has none yet, or of none, in which nothing is ever set. The caller holds the directory for as long as the
   * marks are used.
   */
  constructor(directory: FsNode | undefined) {
    this.#directory = directory;
  }

  static async load(directory: FsNode): Promise<Marks | Failure> {
    const marks = new Marks(directory);
    const stored = await directory.walk(MARKS_DIRECTORY);
    if (isFailure(stored)) return stored === -Errno.ENOENT ? marks : stored;
    const error = await marks.#read(stored);
    stored.release();
    return error < 0 ? error : marks;
  }

  /** Where the directory's own lower layer is, if that is not where its name leads. */
  get origin(): ByteString | undefined {
    return this.#origin;
  }

  get(name: ByteString): Mark | undefined {
    return this.#marks.get(name);
  }

  /** All that are hidden, in no order. */
  names(): ByteString[] {
    return [...this.#marks.keys()];
  }

  /** Sets the mark of `name`, as if in one step, or removes it. 0 or a negative errno. */
  async set(name: ByteString, mark: Mark | undefined): Promise<number> {
    if (this.#marks.get(name) === mark) return 0;
    const error = await this.#store(name, mark === '' ? HIDES : mark);
    if (error < 0) return error;
    if (mark === undefined) this.#marks.delete(name);
    else this.#marks.set(name, mark);
    return 0;
  }

  async setOrigin(path: ByteString | undefined): Promise<number> {
    if (this.#origin === path) return 0;
    if (path !== undefined && path.length > TARGET_MAX_BYTES) return -Errno.EXDEV;
    const error = await this.#store(OWN_ORIGIN, path);
    if (error === 0) this.#origin = path;
    return error;
  }

  async #read(stored: FsNode): Promise<number> {
    const finished = await finishLast(stored);
    if (finished < 0) return finished;
    const entries = await listEntries(stored);
    if (isFailure(entries)) return entries;
    for (const { name } of entries) {
      if (isReserved(name) && name !== OWN_ORIGIN) continue;
      const target = await readLink(stored, name);
      if (isFailure(target)) return target;
      if (name === OWN_ORIGIN) this.#origin = target;
      else this.#marks.set(name, target === HIDES ? '' : target);
    }
    return 0;
  }

  async #store(name: ByteString, target: ByteString | undefined): Promise<number> {
    if (this.#directory === undefined) throw new Error('a mark was set where there is no upper directory');
    const stored = await directoryAt(this.#directory, MARKS_DIRECTORY);
    if (isFailure(stored)) return stored;
    const finished = await finishLast(stored);
    if (finished < 0) {
      stored.release();
      return finished;
    }
    const isThere = name === OWN_ORIGIN ? this.#origin !== undefined : this.#marks.has(name);
    let error: number;
    if (target === undefined) error = await stored.unlink(name, false);
    else error = isThere ? await replaceLink(stored, name, target) : await makeLink(stored, name, target);
    stored.release();
    return error;
  }
}

/** Somebody who was killed may have said what was about to be. */
async function finishLast(stored: FsNode): Promise<number> {
  const target = await readLink(stored, NEW_MARK);
  if (isFailure(target)) return target === -Errno.ENOENT ? 0 : target;
  const end = target.indexOf('/');
  return finishReplacing(stored, target.slice(0, end), target.slice(end + 1));
}

async function readLink(directory: FsNode, name: ByteString): Promise<ByteString | Failure> {
  const node = await directory.walk(name);
  if (isFailure(node)) return node;
  const target = await node.readlink();
  node.release();
  return target;
}

async function makeLink(directory: FsNode, name: ByteString, target: ByteString): Promise<number> {
  const node = await directory.symlink(name, target, LAYERS_OWN);
  if (isFailure(node)) return node;
  node.release();
  return 0;
}

/**
 * Says in a link of another name what is about to be, and then does it: renaming a link over another is not one step on all file
 * systems.
 */
async function replaceLink(directory: FsNode, name: ByteString, target: ByteString): Promise<number> {
  const error = await makeLink(directory, NEW_MARK, `${name}/${target}`);
  return error < 0 ? error : finishReplacing(directory, name, target);
}

async function finishReplacing(directory: FsNode, name: ByteString, target: ByteString): Promise<number> {
  const removed = await directory.unlink(name, false);
  if (removed < 0 && removed !== -Errno.ENOENT) return removed;
  const error = await makeLink(directory, name, target);
  return error < 0 ? error : directory.unlink(NEW_MARK, false);
}
