/** The children of a tree that a device process serves, for the requests of its daemon. */
import type { GuestCommands } from '../../devices/9p/fs/mount-tree/exec/guest-commands.js';
import type { MountTree } from '../../devices/9p/fs/mount-tree/mount-tree.js';
import { TreeError, type TreeErrorCode } from '../../devices/9p/fs/mount-tree/tree-error.js';
import { ChassisError, type ErrorCode, type Lost, type MountTerms, type Source } from '../control/api.js';
import { Watched } from '../host-watch/watched.js';
import { CHILDREN_PAGE, type ChildSpec, type ChildStatus } from './protocol.js';
import type { Beginning, ServedMount } from './served-mount.js';

/** What the operator hears of each, and what helps. */
const ERRORS: Readonly<Record<TreeErrorCode, readonly [code: ErrorCode, suggestion: string]>> = {
  ILLEGAL: ['TAG_INVALID', 'in the tree a tag is a file name, and a target an absolute path'],
  NAME_IN_USE: ['TAG_IN_USE', 'choose another tag, or detach that mount first'],
  NO_SUCH_CHILD: ['NO_MOUNT', 'list them with: chassis mounts'],
  NO_TARGET: ['BAD_REQUEST', 'attach it with --target'],
  FAILED: ['GUEST_REFUSED', 'see that the target can be made and mounted on in the guest'],
  BUSY: ['MOUNT_BUSY', 'end what uses it in the guest, or use --force, which fails what is open'],
  RELEASING: ['MOUNT_BUSY', 'wait for the other request'],
  TIMEOUT: ['GUEST_TIMEOUT', 'start the helper in the guest, see: chassis guest-setup'],
};

/** As `OpenMount`; tells the source's changes on the host to `watched` where that is asked for. */
type OpenWatchedMount = (
  source: Source,
  terms: MountTerms,
  watched?: Watched,
  beginning?: Beginning,
) => Promise<ServedMount>;

export class ServedTree {
  private readonly tree: MountTree;
  private readonly openMount: OpenWatchedMount;
  private readonly onLost: () => void;
  private readonly mounts = new Map<string, ServedMount>();
  /** What each child is now. */
  private readonly children = new Map<string, ChildSpec>();
  private readonly watched = new Map<string, Watched>();

  /** `onLost` is told when a child went of which the guest has fids. */
  constructor(tree: MountTree, openMount: OpenWatchedMount, onLost: () => void = () => undefined) {
    this.tree = tree;
    this.openMount = openMount;
    this.onLost = onLost;
  }

  /** @throws ChassisError TAG_INVALID, TAG_IN_USE, or as the mount cannot be opened */
  async add(child: ChildSpec, beginning?: Beginning): Promise<void> {
    const { name, source, target, watch = false, ...terms } = child;
    const watched = watch ? new Watched((path) => this.changed(name, path)) : undefined;
    const mount = await this.openMount(source, terms, watched, beginning);
    try {
      // Whether it may be changed is for its policy to say, which may be another one later.
      this.tree.add(name, mount.fs, {
        readOnly: false,
        watched: watch,
        ...(target !== undefined && { target }),
      });
      if (watched) this.watched.set(name, watched);
    } catch (error) {
      await mount.fs.close();
      throw asChassisError(error);
    }
    this.mounts.set(name, mount);
    this.children.set(name, child);
  }

  /** The guest's helper reads what it tells. */
  get hasHelper(): boolean {
    return this.tree.hasHelper;
  }

  /** What another process makes the same children of. */
  get specs(): ChildSpec[] {
    return Array.from(this.children, ([name, child]) => ({ ...child, ...this.mounts.get(name)?.terms }));
  }

  /** By name. */
  get all(): ReadonlyMap<string, ServedMount> {
    return this.mounts;
  }

  /** Tells the guest of a change on the host, where it may know the file. */
  private changed(name: string, path: string): void {
    if (this.mounts.get(name)?.shows(path)) this.tree.changed(name, path);
  }

  /** What runs in the guest. */
  get commands(): GuestCommands {
    return this.tree.commands;
  }

  mount(name: string): ServedMount | undefined {
    return this.mounts.get(name);
  }

  /** @throws ChassisError GUEST_REFUSED, GUEST_TIMEOUT, NO_MOUNT or MOUNT_BUSY */
  async mounted(name: string, timeoutMs: number): Promise<void> {
    await this.tree.mounted(name, { timeoutMs }).catch(rethrow);
  }

  /** @throws ChassisError MOUNT_BUSY, naming who holds it, GUEST_TIMEOUT or NO_MOUNT; all is then as before */
  async release(name: string, timeoutMs: number): Promise<void> {
    await this.tree.release(name, { timeoutMs }).catch(rethrow);
  }

  /** One that is not there is gone already. */
  remove(name: string): Lost {
    this.mounts.delete(name);
    this.children.delete(name);
    if (this.tree.entry(name) === undefined) return { fids: 0, openFiles: 0 };
    this.watched.delete(name);
    const { fids, openFiles } = this.tree.remove(name);
    if (fids > 0) this.onLost();
    return { fids, openFiles };
  }

  /** A page of the children, from the one at that place on. */
  list(from: number): ChildStatus[] {
    return this.tree
      .entries()
      .slice(from, from + CHILDREN_PAGE)
      .map(({ name, state, detail, fids, openFiles }) => {
        const watched = this.watched.get(name);
        return { name, state, detail, fids, openFiles, ...(watched && { watching: watched.describe() }) };
      });
  }
}

function rethrow(error: unknown): never {
  throw asChassisError(error);
}

function asChassisError(error: unknown): unknown {
  if (!(error instanceof TreeError)) return error;
  const [code, suggestion] = ERRORS[error.code];
  return new ChassisError(code, error.message, suggestion);
}
