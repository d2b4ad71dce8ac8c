/** Open files and directories with mapped metadata. */
import { isFailure } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import {
  FileMode,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type DirectorySink,
  type MaybePromise,
  type OpenFile,
} from '../file-system.js';
import { ForwardingFile } from './forwarding.js';
import type { MappedNode } from './mapped-node.js';

const DIRENT_TYPE_SHIFT = 12;
const DT_REG = FileMode.S_IFREG >> DIRENT_TYPE_SHIFT;
/** Entries whose types are looked up at a time. */
const BATCH = 64;

/** What open files and open directories have in common. */
abstract class MappedOpenFile extends ForwardingFile {
  protected readonly node: MappedNode;

  constructor(node: MappedNode, inner: OpenFile) {
    super(inner);
    this.node = node;
    node.retain();
  }

  override async getattr(out: Attributes): Promise<number> {
    return this.node.finish(await this.inner.getattr(out), out);
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    return this.node.change(changes, this.inner);
  }

  override async close(): Promise<void> {
    await this.inner.close();
    this.node.release();
  }
}

export class MappedFile extends MappedOpenFile {
  /** Nobody has set a set-id bit since these were dropped. */
  #checkedEpoch = -1;

  override write(offset: number, from: IoVector): MaybePromise<number> {
    return this.#checkedEpoch === this.node.context.setIdEpoch
      ? this.inner.write(offset, from)
      : this.#writeChecked(offset, from);
  }

  async #writeChecked(offset: number, from: IoVector): Promise<number> {
    const { setIdEpoch } = this.node.context;
    const error = await this.node.dropSetId();
    if (error < 0) return error;
    this.#checkedEpoch = setIdEpoch;
    return this.inner.write(offset, from);
  }
}

interface Entry {
  readonly name: ByteString;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly type: number;
  readonly cookie: number;
}

/** Plain files of the host may be anything to the guest, so each is looked at. */
export class MappedDirectory extends MappedOpenFile {
  /** Taken from the host, and not by the guest yet. */
  #entries: Entry[] = [];
  /** The cookie before the first of them. */
  #cookie = -1;

  override async readdir(cookie: number, sink: DirectorySink): Promise<number> {
    if (cookie !== this.#cookie || cookie === 0) this.#entries = [];
    this.#cookie = cookie;
    for (;;) {
      const error = this.#entries.length === 0 ? await this.#fill() : 0;
      if (error < 0 || this.#entries.length === 0) return error;
      for (let entry = this.#entries.at(0); entry !== undefined; entry = this.#entries.at(0)) {
        const { name, inodeLow, inodeHigh, type, cookie: next } = entry;
        if (!sink.entry(name, inodeLow, inodeHigh, type, next)) return 0;
        this.#entries.shift();
        this.#cookie = next;
      }
    }
  }

  async #fill(): Promise<number> {
    const found: Entry[] = [];
    const error = await this.inner.readdir(this.#cookie, {
      entry: (name, inodeLow, inodeHigh, type, cookie) => {
        if (found.length === BATCH) return false;
        found.push({ name, inodeLow, inodeHigh, type, cookie });
        return true;
      },
    });
    for (const entry of found)
      this.#entries.push(entry.type === DT_REG ? { ...entry, type: await this.#typeOf(entry) } : entry);
    return error;
  }

  /** As the host says, where the file is gone by now. */
  async #typeOf({ name, type }: Entry): Promise<number> {
    const inner = await this.node.inner.walk(name);
    if (isFailure(inner)) return type;
    const node = this.node.nodeOf(inner);
    const attributes = await node.attributes();
    node.release();
    return isFailure(attributes) ? type : (attributes.mode & FileMode.S_IFMT) >> DIRENT_TYPE_SHIFT;
  }
}
