/** What the nodes of one overlay share: the roots of its layers, the order of changes, and a place for what is half made. */
import { isFailure, type Failure } from '../../../errno.js';
import type { Attributes, ByteString, FsNode } from '../file-system.js';
import { InodePrefixes, type InodePrefix } from '../inode-prefixes.js';
import { PathLock } from '../path-lock.js';
import { directoryAt, emptyDirectory, lookAt, removeTree } from './layer.js';
import { MARKS_DIRECTORY, WORK_DIRECTORY } from './reserved-names.js';

export const Layer = { lower: 0, upper: 1 } as const;
export type Layer = (typeof Layer)[keyof typeof Layer];

export class OverlayContext {
  readonly lowerRoot: FsNode;
  readonly upperRoot: FsNode;
  /** The directory of the upper layer in which files are made before they are put in their place. */
  readonly work: FsNode;
  /**
   * Shared by what looks names up, and exclusive for what changes names or layers, so that each change of several steps looks like
   * one. Data moves without it.
   */
  readonly lock = new PathLock();
  /** By their names in a commit's stage, directories of the lower layer that may not have got there yet: where they were. */
  readonly journal = new Map<ByteString, ByteString>();
  /** Files that are being copied up, or are about to be put in their place. */
  copies = 0;
  readonly #inodes = new InodePrefixes();
  #made = 0;

  private constructor(lowerRoot: FsNode, upperRoot: FsNode, work: FsNode) {
    this.lowerRoot = lowerRoot;
    this.upperRoot = upperRoot;
    this.work = work;
  }

  /** Takes over both roots' references, unless it fails. */
  static async make(lowerRoot: FsNode, upperRoot: FsNode): Promise<OverlayContext | Failure> {
    const marks = await directoryAt(upperRoot, MARKS_DIRECTORY);
    if (isFailure(marks)) return marks;
    const work = await directoryAt(marks, WORK_DIRECTORY);
    marks.release();
    if (isFailure(work)) return work;
    const error = await emptyDirectory(work);
    if (error === 0) return new OverlayContext(lowerRoot, upperRoot, work);
    work.release();
    return error;
  }

  /** A name that nothing in the work directory has, nor in the stage of a commit. */
  newName(): ByteString {
    return `w${++this.#made}`;
  }

  /** Gives the file of a layer its number in the overlay. 0 or -EOVERFLOW. */
  number(layer: Layer, attributes: Attributes): number {
    const high = this.#inodes.highHalf(attributes.device * 2 + layer, attributes.inodeHigh);
    if (high < 0) return high;
    attributes.inodeHigh = high;
    attributes.device = 0;
    return 0;
  }

  /** What keeps the numbers that were given. */
  get numbers(): readonly InodePrefix[] {
    return this.#inodes.list();
  }

  /** Goes on with the numbers that another one gave; false where one of them is taken. */
  resumeNumbers(numbers: readonly InodePrefix[]): boolean {
    return numbers.every((each) => this.#inodes.add(each));
  }

  /** Takes the entry `name` out of a directory of the upper layer in one step, and then to pieces. */
  async dispose(directory: FsNode, name: ByteString): Promise<number> {
    const look = await lookAt(directory, name);
    if (isFailure(look)) return look;
    look.node.release();
    const place = this.newName();
    const error = await directory.rename(name, this.work, place);
    return error < 0 ? error : removeTree(this.work, place);
  }

  release(): void {
    this.work.release();
    this.upperRoot.release();
    this.lowerRoot.release();
  }
}
