/** The tree's `ctl` directory: how the guest is told what to mount, how it answers, and the script that does both. */
import { Errno, type Failure } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import {
  FileMode,
  OpenFile,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type FsNode,
} from '../file-system.js';
import { NOTHING_KEPT, type Given } from '../kept.js';
import { ACK_MAX_BYTES, parseAcks, type Acks } from './ack-lines.js';
import { BytesFile, truncates } from './control-files.js';
import { EXEC_NAME, ExecDirectory } from './exec/exec-nodes.js';
import type { GuestCommands } from './exec/guest-commands.js';
import {
  DIRECTORY_MODE,
  dots,
  DT_DIR,
  DT_REG,
  SyntheticListing,
  SyntheticNode,
  TreeInode,
  type SyntheticAttributes,
  type SyntheticEntry,
} from './synthetic-node.js';

/** The directory that no child can be called. */
export const CTL_NAME = 'ctl';

/** What the files in `ctl` are for. */
export interface Ctl {
  readonly helperScript: string;
  readonly execScript: string;
  /** What is run in the guest. */
  readonly commands: GuestCommands;
  /** A new reader of events, or one that goes on for another one elsewhere, whose `details` are given; or -EMFILE. */
  openEvents(node: FsNode, details?: Uint8Array): OpenFile | Failure;
  /** Takes what a helper says; -EINVAL where it is about a child that there is not. */
  acknowledge(acks: Acks): number;
}

export class CtlDirectory extends SyntheticNode {
  readonly #root: FsNode;
  readonly #files: ReadonlyMap<ByteString, CtlFile>;
  readonly #exec: ExecDirectory;

  constructor(root: FsNode, ctl: Ctl) {
    super();
    this.#root = root;
    this.#files = new Map<ByteString, CtlFile>([
      ['events', new EventsNode('events', this, ctl)],
      ['ack', new AckNode('ack', this, ctl)],
      ['helper.sh', new ScriptNode('helper.sh', this, ctl, TreeInode.helper, ctl.helperScript)],
      ['exec.sh', new ScriptNode('exec.sh', this, ctl, TreeInode.execScript, ctl.execScript)],
    ]);
    this.#exec = new ExecDirectory(this, [CTL_NAME, EXEC_NAME], ctl.commands);
  }

  override names(): readonly ByteString[] {
    return [CTL_NAME];
  }

  override walk(name: ByteString): FsNode | Failure {
    return name === EXEC_NAME ? this.#exec : (this.#files.get(name) ?? -Errno.ENOENT);
  }

  override parent(): FsNode {
    return this.#root;
  }

  override open(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
    return new SyntheticListing(this, () => this.#entries());
  }

  protected override attributes(): SyntheticAttributes {
    return { inode: TreeInode.ctl, mode: DIRECTORY_MODE, nlink: 3, sizeBytes: 0, changedMs: 0 };
  }

  *#entries(): Generator<SyntheticEntry> {
    yield* dots(TreeInode.ctl, TreeInode.root);
    let cookie = 3;
    for (const [name, file] of this.#files) yield { name, inode: file.inode, type: DT_REG, cookie: cookie++ };
    yield { name: EXEC_NAME, inode: TreeInode.exec, type: DT_DIR, cookie };
  }
}

abstract class CtlFile extends SyntheticNode {
  abstract readonly inode: number;
  protected readonly ctl: Ctl;
  readonly #name: ByteString;
  readonly #directory: CtlDirectory;

  constructor(name: ByteString, directory: CtlDirectory, ctl: Ctl) {
    super();
    this.#name = name;
    this.#directory = directory;
    this.ctl = ctl;
  }

  override names(): readonly ByteString[] {
    return [CTL_NAME, this.#name];
  }

  override parent(): FsNode {
    return this.#directory;
  }

  protected file(permissions: number, sizeBytes = 0): SyntheticAttributes {
    const mode = FileMode.S_IFREG | permissions;
    return { inode: this.inode, mode, nlink: 1, sizeBytes, changedMs: 0 };
  }
}

class EventsNode extends CtlFile {
  readonly inode: number = TreeInode.events;

  override open(flags: number): OpenFile | Failure {
    return (flags & OpenFlag.O_ACCMODE) === OpenFlag.O_RDONLY ? this.ctl.openEvents(this) : -Errno.EACCES;
  }

  override reopen(_flags: number, { details }: Given): OpenFile | Failure {
    return this.ctl.openEvents(this, details);
  }

  override openAgain(): OpenFile | Failure {
    return this.ctl.openEvents(this, NOTHING_KEPT.details);
  }

  /** Root's alone: names and paths are nobody else's business. */
  protected override attributes(): SyntheticAttributes {
    return this.file(0o400);
  }
}

class AckNode extends CtlFile {
  readonly inode: number = TreeInode.ack;

  override open(flags: number): OpenFile | Failure {
    return (flags & OpenFlag.O_ACCMODE) === OpenFlag.O_WRONLY ? new AckFile(this, this.ctl) : -Errno.EACCES;
  }

  override setattr(changes: AttributeChanges): number {
    return truncates(changes) ? 0 : -Errno.EROFS;
  }

  protected override attributes(): SyntheticAttributes {
    return this.file(0o200);
  }
}

/** Each write stands for itself, whatever its offset: whole lines. */
class AckFile extends OpenFile {
  readonly #node: AckNode;
  readonly #ctl: Ctl;

  constructor(node: AckNode, ctl: Ctl) {
    super();
    this.#node = node;
    this.#ctl = ctl;
  }

  override write(_offset: number, from: IoVector): number {
    const { byteLength } = from;
    if (byteLength > ACK_MAX_BYTES) return -Errno.EMSGSIZE;
    const bytes = new Uint8Array(byteLength);
    from.gather(0, bytes, 0, byteLength);
    const acks = parseAcks(bytes);
    if (acks === undefined) return -Errno.EINVAL;
    return this.#ctl.acknowledge(acks) || byteLength;
  }

  override getattr(out: Attributes): number {
    return this.#node.getattr(out);
  }

  override setattr(changes: AttributeChanges): number {
    return this.#node.setattr(changes);
  }

  override close(): void {}
}

class ScriptNode extends CtlFile {
  readonly inode: number;
  readonly #bytes: Uint8Array;

  constructor(name: ByteString, directory: CtlDirectory, ctl: Ctl, inode: number, script: string) {
    super(name, directory, ctl);
    this.inode = inode;
    this.#bytes = new TextEncoder().encode(script);
  }

  override open(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EACCES;
    return new BytesFile(this, this.#bytes);
  }

  protected override attributes(): SyntheticAttributes {
    return this.file(0o555, this.#bytes.length);
  }
}
