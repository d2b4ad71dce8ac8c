/** `ctl/exec`: `requests`, and for each command a directory with its script, streams and status. Root's alone. */
import { Errno, type Failure } from '../../../../errno.js';
import type { IoVector } from '../../../../io-vector.js';
import {
  FileMode,
  OpenFile,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type FsNode,
  type Interruptible,
  type MaybePromise,
} from '../../file-system.js';
import { NOTHING_KEPT, type Given, type Kept } from '../../kept.js';
import { BytesFile, truncates } from '../control-files.js';
import {
  dots,
  DT_DIR,
  DT_REG,
  SyntheticListing,
  SyntheticNode,
  TreeInode,
  type SyntheticAttributes,
  type SyntheticEntry,
} from '../synthetic-node.js';
import type { GuestCommand, OutputName } from './guest-command.js';
import type { GuestCommands } from './guest-commands.js';
import { StreamReader } from './stream-reader.js';

export const EXEC_NAME = 'exec';
const REQUESTS_NAME = 'requests';
const DIRECTORY_MODE = FileMode.S_IFDIR | 0o500;
/** Beyond any that children have. */
const FIRST_COMMAND_INODE = 2 ** 48;
const INODES_EACH = 8;
const FIRST_COMMAND_COOKIE = 4;
const STATUS_MAX_BYTES = 64;

/** A node of the tree's own that is for reading or for writing, and for root. */
abstract class ExecNode extends SyntheticNode {
  readonly #above: FsNode;
  readonly #names: readonly ByteString[];

  constructor(above: FsNode, names: readonly ByteString[]) {
    super();
    this.#above = above;
    this.#names = names;
  }

  override names(): readonly ByteString[] | undefined {
    return this.#names;
  }

  override lastNames(): readonly ByteString[] {
    return this.#names;
  }

  override parent(): FsNode {
    return this.#above;
  }
}

export class ExecDirectory extends ExecNode {
  readonly #commands: GuestCommands;
  readonly #names: readonly ByteString[];
  readonly #requests: RequestsNode;
  /** One for each command, however often the guest walks to it. */
  readonly #directories = new WeakMap<GuestCommand, CommandDirectory>();

  constructor(above: FsNode, names: readonly ByteString[], commands: GuestCommands) {
    super(above, names);
    this.#names = names;
    this.#commands = commands;
    this.#requests = new RequestsNode(this, [...names, REQUESTS_NAME], commands);
  }

  override walk(name: ByteString): FsNode | Failure {
    if (name === REQUESTS_NAME) return this.#requests;
    const command = /^[1-9]\d{0,14}$/.test(name) ? this.#commands.byId.get(Number(name)) : undefined;
    if (command === undefined) return -Errno.ENOENT;
    let directory = this.#directories.get(command);
    if (directory === undefined) {
      directory = new CommandDirectory(this, [...this.#names, name], command);
      this.#directories.set(command, directory);
    }
    return directory;
  }

  override open(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
    return new SyntheticListing(this, () => this.#entries());
  }

  protected override attributes(): SyntheticAttributes {
    const nlink = 2 + this.#commands.byId.size;
    return { inode: TreeInode.exec, mode: DIRECTORY_MODE, nlink, sizeBytes: 0, changedMs: 0 };
  }

  *#entries(): Generator<SyntheticEntry> {
    yield* dots(TreeInode.exec, TreeInode.ctl);
    yield { name: REQUESTS_NAME, inode: TreeInode.requests, type: DT_REG, cookie: 3 };
    for (const id of this.#commands.byId.keys())
      yield { name: String(id), inode: inodeOf(id), type: DT_DIR, cookie: FIRST_COMMAND_COOKIE + id };
  }
}

class RequestsNode extends ExecNode {
  readonly #commands: GuestCommands;

  constructor(above: FsNode, names: readonly ByteString[], commands: GuestCommands) {
    super(above, names);
    this.#commands = commands;
  }

  override open(flags: number): OpenFile | Failure {
    return isReading(flags) ? this.#commands.openRequests(this) : -Errno.EACCES;
  }

  override reopen(_flags: number, { details }: Given): OpenFile | Failure {
    return this.#commands.openRequests(this, details);
  }

  override openAgain(): OpenFile | Failure {
    return this.#commands.openRequests(this, NOTHING_KEPT.details);
  }

  protected override attributes(): SyntheticAttributes {
    return file(TreeInode.requests, 0o400);
  }
}

class CommandDirectory extends ExecNode {
  readonly #command: GuestCommand;
  readonly #files: ReadonlyMap<ByteString, CommandFile>;

  constructor(above: FsNode, names: readonly ByteString[], command: GuestCommand) {
    super(above, names);
    this.#command = command;
    const node = (Type: CommandFileType, name: ByteString, index: number): [ByteString, CommandFile] => [
      name,
      new Type(this, [...names, name], command, inodeOf(command.id) + index),
    ];
    this.#files = new Map([
      node(ScriptNode, 'script', 1),
      node(StdinNode, 'stdin', 2),
      node(OutputNode, 'stdout', 3),
      node(OutputNode, 'stderr', 4),
      node(StatusNode, 'status', 5),
    ]);
  }

  override names(): readonly ByteString[] | undefined {
    return this.#command.hasEnded ? undefined : super.names();
  }

  override keep(): Kept | Failure {
    return -Errno.ESTALE;
  }

  override walk(name: ByteString): FsNode | Failure {
    return this.#files.get(name) ?? -Errno.ENOENT;
  }

  override open(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
    return new SyntheticListing(this, () => this.#entries());
  }

  protected override attributes(): SyntheticAttributes {
    const inode = inodeOf(this.#command.id);
    return { inode, mode: DIRECTORY_MODE, nlink: 2, sizeBytes: 0, changedMs: 0 };
  }

  *#entries(): Generator<SyntheticEntry> {
    yield* dots(inodeOf(this.#command.id), TreeInode.exec);
    let cookie = 3;
    for (const [name, { inode }] of this.#files) yield { name, inode, type: DT_REG, cookie: cookie++ };
  }
}

type CommandFileType = new (
  above: FsNode,
  names: readonly ByteString[],
  command: GuestCommand,
  inode: number,
) => CommandFile;

abstract class CommandFile extends ExecNode {
  readonly inode: number;
  readonly name: ByteString;
  readonly command: GuestCommand;

  constructor(above: FsNode, names: readonly ByteString[], command: GuestCommand, inode: number) {
    super(above, names);
    this.name = names[names.length - 1];
    this.command = command;
    this.inode = inode;
  }

  /** Once the command is over, nothing leads here any more. */
  override names(): readonly ByteString[] | undefined {
    return this.command.hasEnded ? undefined : super.names();
  }

  override keep(): Kept | Failure {
    return -Errno.ESTALE;
  }
}

class ScriptNode extends CommandFile {
  override open(flags: number): OpenFile | Failure {
    return isReading(flags) ? new BytesFile(this, this.command.script) : -Errno.EACCES;
  }

  protected override attributes(): SyntheticAttributes {
    return file(this.inode, 0o400, this.command.script.length);
  }
}

class StdinNode extends CommandFile {
  override open(flags: number): OpenFile | Failure {
    if (!isReading(flags)) return -Errno.EACCES;
    if (!this.command.open(this.name)) return -Errno.EBUSY;
    const reader: StreamReader = new StreamReader(
      this,
      this.command.stdinStream(() => reader.wake()),
    );
    return reader;
  }

  protected override attributes(): SyntheticAttributes {
    return file(this.inode, 0o400);
  }
}

/** What the guest writes to. */
abstract class WrittenNode extends CommandFile {
  override open(flags: number): OpenFile | Failure {
    if ((flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_WRONLY) return -Errno.EACCES;
    return this.command.open(this.name) ? this.opened() : -Errno.EBUSY;
  }

  override setattr(changes: AttributeChanges): number {
    return truncates(changes) ? 0 : -Errno.EROFS;
  }

  protected abstract opened(): OpenFile;

  protected override attributes(): SyntheticAttributes {
    return file(this.inode, 0o200);
  }
}

class OutputNode extends WrittenNode {
  protected override opened(): OpenFile {
    return new OutputFile(this);
  }
}

class StatusNode extends WrittenNode {
  protected override opened(): OpenFile {
    return new StatusFile(this);
  }
}

abstract class WrittenFile extends OpenFile {
  readonly node: WrittenNode;

  constructor(node: WrittenNode) {
    super();
    this.node = node;
  }

  override getattr(out: Attributes): number {
    return this.node.getattr(out);
  }

  override setattr(changes: AttributeChanges): number {
    return this.node.setattr(changes);
  }

  override close(): void {
    this.node.command.closed(this.node.name);
  }
}

/** Bytes of the command's, in their order, whatever their offset. A write waits while the host does not take them. */
class OutputFile extends WrittenFile {
  #writing: { readonly from: Interruptible; interrupted: boolean; giveUp: () => void } | undefined;

  override write(_offset: number, from: IoVector): MaybePromise<number> {
    if (this.#writing !== undefined) return -Errno.EBUSY;
    return this.#hasRoom ? this.#print(from) : this.#printLater(from);
  }

  override interrupt(operation: Interruptible): void {
    if (this.#writing?.from !== operation) return;
    this.#writing.interrupted = true;
    this.#writing.giveUp();
  }

  get #hasRoom(): boolean {
    return this.node.command.hasRoom(this.node.name as OutputName);
  }

  async #printLater(from: IoVector): Promise<number> {
    const writing = { from, interrupted: false, giveUp: () => undefined as void };
    this.#writing = writing;
    while (!this.#hasRoom && !writing.interrupted)
      await this.node.command.roomFor((giveUp) => (writing.giveUp = giveUp));
    this.#writing = undefined;
    return writing.interrupted ? -Errno.EINTR : this.#print(from);
  }

  #print(from: IoVector): number {
    return this.node.command.print(this.node.name as OutputName, bytesOf(from));
  }
}

/** Each write is one line. */
class StatusFile extends WrittenFile {
  override write(_offset: number, from: IoVector): number {
    if (from.byteLength > STATUS_MAX_BYTES) return -Errno.EMSGSIZE;
    const text = new TextDecoder('latin1').decode(bytesOf(from));
    return this.node.command.say(text.trimEnd()) || from.byteLength;
  }
}

function bytesOf(from: IoVector): Uint8Array {
  const bytes = new Uint8Array(from.byteLength);
  from.gather(0, bytes, 0, bytes.length);
  return bytes;
}

function isReading(flags: number): boolean {
  return (flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) === OpenFlag.O_RDONLY;
}

function inodeOf(id: number): number {
  return FIRST_COMMAND_INODE + id * INODES_EACH;
}

function file(inode: number, permissions: number, sizeBytes = 0): SyntheticAttributes {
  return { inode, mode: FileMode.S_IFREG | permissions, nlink: 1, sizeBytes, changedMs: 0 };
}
