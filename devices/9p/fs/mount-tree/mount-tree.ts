/**
 * Many mounts in one: a file system whose root shows other file systems as directories, which come and go while the guest has it
 * mounted, with no change to the guest's hardware. What is to be mounted elsewhere in the guest, the helper in `ctl` sees to.
 */
import { Errno } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import type { ByteString, FileSystem } from '../file-system.js';
import { encodeText, isEntryName, NAME_MAX_BYTES } from '../node-fs/names.js';
import type { Acks } from './ack-lines.js';
import { Child, type Lost } from './child.js';
import { ChildTable } from './child-table.js';
import { CTL_NAME } from './ctl-nodes.js';
import { DeviceNumbers } from './device-numbers.js';
import { EXEC_SCRIPT } from './exec/exec-script.js';
import { GuestCommands } from './exec/guest-commands.js';
import { EventReaders } from './event-readers.js';
import { HELPER_SCRIPT } from './helper-script.js';
import { Mounting, type ChildState } from './mounting.js';
import { RootNode } from './root-node.js';
import type { TreeChild } from './tree-child.js';
import { restoreTree, saveTree } from './tree-state.js';
import { TreeError } from './tree-error.js';

/** PATH_MAX of Linux without its NUL. */
const TARGET_MAX_BYTES = 4095;

export interface MountTreeOptions {
  /** Told the name of a child of which the guest's helper has said something new. */
  readonly onChange?: (name: string) => void;
  /** Told when the guest's helper begins to read what is to be told it, and when it has stopped. */
  readonly onHelper?: (there: boolean) => void;
  /** Told of bugs in children's file systems. */
  readonly log: (message: string, error?: unknown) => void;
}

export interface AddOptions {
  /** Refuses every change of it with EROFS. */
  readonly readOnly: boolean;
  /** An absolute path in the guest, where its helper is to mount the child. */
  readonly target?: string;
  /** The guest's helper is told of changes on the host (see `changed`), and wakes who watches the files in the guest. */
  readonly watched?: boolean;
}

/** How long to wait for the guest's helper. */
export interface Patience {
  readonly timeoutMs: number;
}

export interface TreeEntry {
  readonly name: string;
  readonly target?: string;
  readonly readOnly: boolean;
  readonly state: ChildState;
  /** What the guest said last of why it could not mount or unmount it; '' where it had no reason to. */
  readonly detail: string;
  /** What the guest has of it now: files and directories that it knows, and open files. */
  readonly fids: number;
  readonly openFiles: number;
}

export class MountTree implements FileSystem {
  readonly #options: MountTreeOptions;
  readonly #devices = new DeviceNumbers();
  readonly #table = new ChildTable();
  readonly #readers = new EventReaders(this.#table, (there) => this.#options.onHelper?.(there));
  /** Children that are removed, and whose file systems are not closed yet. */
  readonly #closing = new Set<Promise<void>>();
  readonly #root: RootNode;
  /** What runs in the guest, where it lets itself be told to. */
  readonly commands = new GuestCommands();
  /** The next one to attach looks for what the guest has, and is not the guest. */
  #goesOn = false;

  constructor(options: MountTreeOptions) {
    this.#options = options;
    this.#root = new RootNode(this.#table, {
      helperScript: HELPER_SCRIPT,
      execScript: EXEC_SCRIPT,
      commands: this.commands,
      openEvents: (node, details) => this.#readers.open(node, details),
      acknowledge: (acks) => this.#acknowledge(acks),
    });
  }

  /**
   * Shows `fs`, which is the tree's from then on, as the directory `name`, at once.
   *
   * @param name text of up to 255 bytes of UTF-8
   * @throws TreeError ILLEGAL or NAME_IN_USE; `fs` is the caller's still
   */
  add(name: string, fs: FileSystem, { readOnly, target, watched = false }: AddOptions): void {
    const bytes = encodeText(name);
    const targetBytes = target === undefined ? undefined : encodeText(target);
    checkName(name, bytes);
    checkTarget(name, targetBytes);
    if (this.#table.byName.has(bytes)) throw new TreeError('NAME_IN_USE', name, 'the name is in use');
    const child = new Child(fs, {
      name: bytes,
      readOnly,
      watched,
      devices: this.#devices,
      above: () => this.#root,
      log: this.#options.log,
    });
    const mounting = new Mounting(name, target, () => this.#readers.announce(added));
    const added: TreeChild = {
      id: this.#table.lastId + 1,
      name: bytes,
      target: targetBytes,
      child,
      mounting,
      removed: false,
    };
    this.#table.add(added);
    this.#readers.announce(added);
  }

  /**
   * Tells the guest's helper that a file of a watched child has changed, come or gone, so that those who watch it in the guest look. Cheap:
   * each path is told once, however often it changes until then, and beyond some thousand paths all of the child's files are said to have
   * changed.
   *
   * @param path below the child's root, names joined by '/'; '.' for anything
   * @throws TreeError NO_SUCH_CHILD
   */
  changed(name: string, path: ByteString): void {
    const found = this.#find(name);
    if (found.child.watched) this.#readers.announceChange(found, path);
  }

  /**
   * Resolves once the guest's helper has mounted it at its target.
   *
   * @throws TreeError NO_SUCH_CHILD, NO_TARGET, FAILED with what the guest said, RELEASING, TIMEOUT
   */
  async mounted(name: string, { timeoutMs }: Patience): Promise<void> {
    await this.#find(name).mounting.mounted(timeoutMs);
  }

  /**
   * Has the guest's helper unmount it, and resolves once that is done, or at once where the guest has nothing of it. Then it can be
   * removed. Otherwise all is as it was.
   *
   * @throws TreeError NO_SUCH_CHILD, BUSY with who uses it in the guest's words, RELEASING where another call is at it, TIMEOUT
   */
  async release(name: string, { timeoutMs }: Patience): Promise<void> {
    const { child, mounting } = this.#find(name);
    await mounting.release(timeoutMs, child.fids > 0);
  }

  /**
   * Takes it away now, whatever uses it: operations under way end, later ones answer ESTALE. Its file system is closed once the last
   * one is over; see `close`.
   *
   * @returns what the guest had of it
   * @throws TreeError NO_SUCH_CHILD
   */
  remove(name: string): Lost {
    const found = this.#find(name);
    found.removed = true;
    this.#table.delete(found);
    const lost = found.child.remove();
    found.mounting.end();
    const { closed } = found.child;
    this.#closing.add(closed);
    void closed.then(() => this.#closing.delete(closed));
    this.#readers.announce(found);
    return lost;
  }

  /** All children, in the order in which they were added. */
  entries(): TreeEntry[] {
    return Array.from(this.#table.byName.values(), entryOf);
  }

  /** The guest's helper reads what is to be told it. */
  get hasHelper(): boolean {
    return this.#readers.any;
  }

  /** The child of that name, if there is one. */
  entry(name: string): TreeEntry | undefined {
    const found = this.#table.byName.get(encodeText(name));
    return found && entryOf(found);
  }

  /** The number of the child that was added last. */
  get lastId(): number {
    return this.#table.lastId;
  }

  /** Numbers children, anew, and commands beyond `lastId`: what a guest that knows a tree before this one says is not about others then. */
  numberAfter(lastId: number): void {
    this.commands.numberAfter(lastId);
    this.#table.resume(new Map(), lastId, this.#table.changedMs);
  }

  saveState(to: StateDestination): Uint8Array | string {
    return saveTree(this.#table, to);
  }

  /** Its children have been added again, with nothing of theirs changed. */
  async restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    const problem = await restoreTree(this.#table, bytes, descriptors);
    this.#goesOn = problem === undefined;
    return problem;
  }

  /** A guest that attaches anew may have been started again: what it has nothing of cannot be mounted in it. */
  attach(): RootNode {
    const goesOn = this.#goesOn;
    this.#goesOn = false;
    if (goesOn) return this.#root;
    for (const { child, mounting } of this.#table.byName.values())
      if (child.fids === 0) mounting.forgetMount();
    return this.#root;
  }

  /** Removes all children; resolved once the file systems of all that ever were are closed. */
  async close(): Promise<void> {
    for (const { mounting } of [...this.#table.byName.values()]) this.remove(mounting.name);
    this.#readers.end();
    this.commands.close();
    await Promise.all(this.#closing);
  }

  #find(name: string): TreeChild {
    const found = this.#table.byName.get(encodeText(name));
    if (found === undefined) throw new TreeError('NO_SUCH_CHILD', name, 'there is no such child');
    return found;
  }

  /** Nothing is taken where one of the ids is unknown. */
  #acknowledge({ answers, poked }: Acks): number {
    if (!answers.every(({ id }) => this.#table.byId.has(id))) return -Errno.EINVAL;
    if (poked) this.#readers.poked();
    for (const { id, answer, detail } of answers) {
      const mounting = this.#table.byId.get(id)?.mounting;
      if (mounting?.take(answer, detail) === true) this.#options.onChange?.(mounting.name);
    }
    return 0;
  }
}

function checkName(name: string, bytes: ByteString): void {
  if (bytes.length > NAME_MAX_BYTES)
    throw new TreeError('ILLEGAL', name, `a name has at most ${NAME_MAX_BYTES} bytes`);
  if (!isEntryName(bytes))
    throw new TreeError('ILLEGAL', name, `a name is not empty, '.' or '..', and has no '/' or NUL`);
  if (bytes === CTL_NAME) throw new TreeError('ILLEGAL', name, `'${CTL_NAME}' is the tree's own directory`);
}

function checkTarget(name: string, target: ByteString | undefined): void {
  if (target === undefined) return;
  if (!target.startsWith('/') || target.includes('\0'))
    throw new TreeError('ILLEGAL', name, 'the target must be an absolute path in the guest');
  if (target.length > TARGET_MAX_BYTES)
    throw new TreeError('ILLEGAL', name, `the target has at most ${TARGET_MAX_BYTES} bytes`);
}

function entryOf({ child, mounting }: TreeChild): TreeEntry {
  const { name, target, state, detail } = mounting;
  return {
    name,
    ...(target === undefined ? {} : { target }),
    readOnly: child.readOnly,
    state,
    detail,
    fids: child.fids,
    openFiles: child.files.size,
  };
}
