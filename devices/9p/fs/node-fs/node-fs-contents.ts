/**
 * What a NodeFs over a memfs volume is, for one of another process: the volume, what is kept beside it, and how the client's files are found
 * that no name leads to. A state of the session names those by what they have here: a number of 4 bytes.
 */
import type { Volume } from 'memfs';
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import { FileAccount } from '../file-account.js';
import { FileMode, OpenFlag, type ByteString } from '../file-system.js';
import type { Given } from '../kept.js';
import { blocksOf } from '../quota.js';
import type { InodeNumber } from './inode-numbers.js';
import type { KeptAttributes } from './kept-attributes.js';
import { numberIn } from './kept-number.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsFile } from './node-fs-file.js';
import { NodeFsNode } from './node-fs-node.js';
import { objectFlags } from './open-flags.js';
import { whole } from './stats.js';
import { restoreVolume, saveVolume, volumeSize } from './volume-contents.js';

type Link = Volume['_core']['root'];

const ATTRIBUTE_FIELDS = { permissions: 2, uid: 4, gid: 4 } as const;
const NAMELESS_FIELDS = { id: 4, low: 4, high: 4, hasAttributes: 1, ...ATTRIBUTE_FIELDS } as const;
const NO_ATTRIBUTES: KeptAttributes = { permissions: 0, uid: 0, gid: 0 };

/** A file without a name, as another process said it. */
interface Nameless {
  readonly link: Link;
  readonly inode: InodeNumber;
  readonly attributes: KeptAttributes | undefined;
  /** Once a fid is found that has it, with a file that holds it until all are. */
  found:
    | { readonly node: NodeFsNode; readonly holder: NodeFsFile; readonly account: FileAccount | undefined }
    | undefined;
}

export class NodeFsContents {
  readonly #context: NodeFsContext;
  readonly #volume: Volume;
  /** Until `settled`: by the numbers that they had. */
  readonly #nameless = new Map<number, Nameless>();
  readonly #listings = new Map<number, readonly string[]>();

  constructor(context: NodeFsContext, volume: Volume) {
    this.#context = context;
    this.#volume = volume;
  }

  /** Bytes of content, and files of any kind. */
  get size(): { readonly bytes: number; readonly files: number } {
    return volumeSize(this.#volume);
  }

  /** As it is now: nothing is to change any more. */
  save(): Uint8Array {
    const { kept, listings, namelessNodes } = this.#context;
    const writer = new StateWriter();
    const nameless = [...namelessNodes].flatMap((node) =>
      node.someFile ? [{ node, id: node.someFile.fd }] : [],
    );
    saveVolume(
      this.#volume,
      nameless.map(({ id }) => id),
      writer,
    );
    writer.list(nameless, ({ node: { inodeLow, inodeHigh, ownKept }, id }) => {
      const fields = { id, low: inodeLow >>> 0, high: inodeHigh >>> 0, hasAttributes: ownKept ? 1 : 0 };
      writer.record(NAMELESS_FIELDS, { ...fields, ...(ownKept ?? NO_ATTRIBUTES) });
    });
    writer.list([...kept], ([key, attributes]) => {
      writer.text(key);
      writer.record(ATTRIBUTE_FIELDS, attributes);
    });
    writer.list([...listings], ([id, names]) => {
      writer.write(4, id);
      writer.list(names, (name) => writer.blob(Buffer.from(name)));
    });
    return writer.bytes;
  }

  /** Fills an empty file system that nobody has attached yet. False where that is nothing that was saved: then it is of no use. */
  restore(bytes: Uint8Array): boolean {
    const reader = new StateReader(bytes);
    const links = restoreVolume(this.#volume, reader);
    if (links === undefined) return false;
    const nameless = reader.list(() => reader.record(NAMELESS_FIELDS));
    if (nameless.length !== links.length) return false;
    for (const [at, { id, low, high, hasAttributes, ...attributes }] of nameless.entries()) {
      const own = hasAttributes === 0 ? undefined : attributes;
      this.#nameless.set(id, { link: links[at], inode: { low, high }, attributes: own, found: undefined });
    }
    reader.list(() => this.#context.kept.set(reader.text(), reader.record(ATTRIBUTE_FIELDS)));
    reader.list(() =>
      this.#listings.set(
        reader.read(4),
        reader.list(() => Buffer.from(reader.blob()).toString()),
      ),
    );
    return !reader.overrun && reader.leftBytes === 0;
  }

  /** All of the client's files are found: what none of them is goes. */
  async settled(): Promise<void> {
    const found = [...this.#nameless.values()];
    this.#nameless.clear();
    this.#listings.clear();
    for (const { found: its } of found) await its?.holder.close();
  }

  /** The node of a file without a name, below `directory`. */
  async regain(directory: NodeFsNode, name: ByteString, { details }: Given): Promise<NodeFsNode | Failure> {
    const nameless = this.#nameless.get(numberIn(details));
    if (nameless === undefined) return -Errno.ESTALE;
    if (nameless.found === undefined) return this.#find(nameless, directory, name);
    const { node } = nameless.found;
    node.retain();
    return node;
  }

  async #find(nameless: Nameless, directory: NodeFsNode, name: ByteString): Promise<NodeFsNode | Failure> {
    const context = this.#context;
    const fd = this.#open(nameless.link, OpenFlag.O_RDWR);
    const stats = isFailure(fd) ? fd : await context.fstat(fd);
    if (isFailure(fd) || isFailure(stats)) return -Errno.ESTALE;
    const node = new NodeFsNode(context, directory, name, '', stats, nameless.inode);
    directory.adoptNameless(node);
    node.ownKept = nameless.attributes;
    const isGone = nameless.link.getNode().nlink <= 0;
    const account = isGone ? this.#accountOfGone(whole(stats.size)) : context.account(stats);
    nameless.found = { node, holder: node.opened(fd, OpenFlag.O_RDWR, account), account };
    return node;
  }

  /** Of a file that is open alone, and that nobody has counted yet. */
  #accountOfGone(sizeBytes: number): FileAccount | undefined {
    const { quota } = this.#context;
    if (quota === undefined) return undefined;
    quota.addName(FileMode.S_IFREG);
    quota.addBlocks(blocksOf(sizeBytes));
    const account = new FileAccount(quota, '');
    account.holders++;
    account.loseName(sizeBytes);
    return account;
  }

  /** Opens a node without a name that was found. */
  reopen(node: NodeFsNode, flags: number): NodeFsFile | Failure {
    for (const { link, found } of this.#nameless.values()) {
      if (found?.node !== node) continue;
      const fd = this.#open(link, flags);
      if (isFailure(fd)) return fd;
      if (found.account !== undefined) found.account.holders++;
      return node.opened(fd, flags, found.account);
    }
    return -Errno.ESTALE;
  }

  #open(link: Link, flags: number): number {
    const hostFlags = objectFlags(flags, this.#context.fs.constants);
    if (isFailure(hostFlags)) return hostFlags;
    try {
      return this.#volume._core.openLink(link, hostFlags, false).fd;
    } catch {
      return -Errno.EMFILE;
    }
  }

  /** The names that an open directory had, for one that goes on. */
  listing({ details }: Given): readonly string[] | undefined {
    return this.#listings.get(numberIn(details));
  }
}
