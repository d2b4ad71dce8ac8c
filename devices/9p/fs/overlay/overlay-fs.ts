/**
 * A copy-on-write overlay of one file system over another: guests read both, and write to the upper one only. What they changed can be
 * listed, brought to the lower one, or dropped.
 *
 * Any file system may be either layer, but for the same one. The upper layer is the overlay's own: nobody else may change it, and it
 * lasts as an overlay of the same lower one. The lower layer may be changed by others; what they change shows, unless the guest
 * has changed the same file.
 */
import { isFailure, type Failure } from '../../../errno.js';
import { Attributes, type FileSystem, type FsNode } from '../file-system.js';
import { setAttributes } from './copy-node.js';
import { lookAt } from './layer.js';
import { Marks } from './marks.js';
import { Layer, OverlayContext } from './overlay-context.js';
import { OverlayNode } from './overlay-node.js';
import { MARKS_DIRECTORY } from './reserved-names.js';

export class OverlayFs implements FileSystem {
  readonly #lower: FileSystem;
  readonly #upper: FileSystem;
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

  async #open(): Promise<OverlayNode | Failure> {
    const lower = await this.#lower.attach();
    if (isFailure(lower)) return lower;
    const upper = await this.#upper.attach();
    if (isFailure(upper)) {
      lower.release();
      return upper;
    }
    const root = await makeRoot(lower, upper);
    if (!isFailure(root)) return root;
    upper.release();
    lower.release();
    return root;
  }
}

async function makeRoot(lower: FsNode, upper: FsNode): Promise<OverlayNode | Failure> {
  const error = await dressRoot(lower, upper);
  if (error < 0) return error;
  const context = await OverlayContext.make(lower, upper);
  if (isFailure(context)) return context;
  const look = { node: lower, attributes: new Attributes() };
  const above = { node: upper, attributes: new Attributes() };
  const marks = await Marks.load(upper);
  const failed = isFailure(marks) ? marks : await lower.getattr(look.attributes);
  if (failed < 0 || isFailure(marks)) {
    context.work.release();
    return failed;
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
