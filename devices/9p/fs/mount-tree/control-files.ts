/** What the files in `ctl` have in common. */
import type { IoVector } from '../../../io-vector.js';
import { OpenFile, SetAttr, type AttributeChanges, type Attributes } from '../file-system.js';
import type { SyntheticNode } from './synthetic-node.js';

/** A shell's `>` cuts what it writes to, which is nothing here. */
export function truncates({ valid }: AttributeChanges): boolean {
  const { P9_ATTR_SIZE, P9_ATTR_MTIME, P9_ATTR_CTIME } = SetAttr;
  return (valid & ~(P9_ATTR_SIZE | P9_ATTR_MTIME | P9_ATTR_CTIME)) === 0;
}

/** A file whose bytes are always the same. */
export class BytesFile extends OpenFile {
  readonly #node: SyntheticNode;
  readonly #bytes: Uint8Array;

  constructor(node: SyntheticNode, bytes: Uint8Array) {
    super();
    this.#node = node;
    this.#bytes = bytes;
  }

  override read(offset: number, into: IoVector): number {
    const left = Math.max(0, this.#bytes.length - offset);
    return into.scatter(0, this.#bytes, offset, Math.min(left, into.byteLength));
  }

  override getattr(out: Attributes): number {
    return this.#node.getattr(out);
  }

  override close(): void {}
}
