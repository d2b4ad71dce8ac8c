/**
 * What changes on the host in the directories that the guest has been in. Only those are watched, the latest few thousand of an export,
 * each by its descriptor and never through a path: what is beneath a directory is not watched because that is, and no swapped link leads
 * a watch elsewhere. Changes are gathered as names, and looked at a moment later: what is then as the guest made it, or was told, is
 * not told again.
 */
import { InotifyMask } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { EVERYTHING, type ChangeListener } from '../change-listener.js';
import { FileMode, type ByteString } from '../file-system.js';
import type { ExportContext } from './export-context.js';
import type { HostNode } from './host-node.js';
import type { StatxBuffer } from './statx-buffer.js';

/** What tells of changes: one for all exports of a process. */
export interface ChangeSource {
  /** Watches the directory behind `fd`, which the caller may close. A watch descriptor, or a negative errno. */
  watch(fd: number, watch: ChangeWatch): number;
  unwatch(wd: number, watch: ChangeWatch): void;
}

export interface ChangeWatchOptions {
  readonly source: ChangeSource;
  readonly listener: ChangeListener;
  /** Told when the system's limit of watches is met; every now and then, while it is. */
  readonly onLimit?: () => void;
  /** Most directories watched. With what the kernel keeps, some 2 KB each. Default: 4,096. */
  readonly maxDirectories?: number;
}

const DEFAULT_MAX_DIRECTORIES = 4096;
/** Most changed names gathered at a time: where there are more, everything has changed, and the latest are told as well. */
const PENDING_MAX = 4096;
/** Most files of which it is remembered how the guest knows them. */
const KNOWN_MAX = 8192;
/** PATH_MAX of Linux without its NUL: what is longer is told as everything. */
const PATH_MAX_BYTES = 4095;
/** How long nothing more is watched after the system's limit was met. */
const LIMITED_MS = 5000;
/** A directory that cannot be watched: it may be searched, say, but not read. */
const UNWATCHABLE = -1;

const { IN_IGNORED, IN_UNMOUNT, IN_DELETE_SELF, IN_MOVE_SELF } = InotifyMask;
const OF_ITSELF = IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF;

/** A directory that is watched. Its node is held meanwhile. */
export interface WatchedDirectory {
  readonly node: HostNode;
  readonly wd: number;
  /** The guest was here since somebody last looked for a directory to give up. */
  used: boolean;
  readonly changed: Set<ByteString>;
  /** How the guest knows entries that changed of late, by name: since changes were last told here, and before that. */
  known: Map<ByteString, string>;
  knownBefore: Map<ByteString, string>;
}

export class ChangeWatch {
  readonly #context: ExportContext;
  readonly #source: ChangeSource;
  readonly #listener: ChangeListener;
  readonly #onLimit: (() => void) | undefined;
  readonly #maxDirectories: number;
  /** From the one watched longest, or looked at last by `#giveUpOne`. */
  readonly #directories = new Map<HostNode, WatchedDirectory>();
  readonly #byWd = new Map<number, WatchedDirectory>();
  readonly #dirty = new Set<WatchedDirectory>();
  #pending = 0;
  #known = 0;
  #everything = false;
  #limitedMs = -Infinity;

  constructor(context: ExportContext, options: ChangeWatchOptions) {
    this.#context = context;
    this.#source = options.source;
    this.#listener = options.listener;
    this.#onLimit = options.onLimit;
    this.#maxDirectories = options.maxDirectories ?? DEFAULT_MAX_DIRECTORIES;
  }

  /** Directories watched now. */
  get size(): number {
    return this.#byWd.size;
  }

  /** True where the system's limit of watches has kept directories from being watched of late. */
  get limited(): boolean {
    return performance.now() - this.#limitedMs < LIMITED_MS;
  }

  /** The guest is in this directory, which `fd` is a descriptor of. */
  used(node: HostNode, fd: number): void {
    if (node.watched === null) this.#begin(node, fd);
    else node.watched.used = true;
  }

  #begin(node: HostNode, fd: number): void {
    if (node.detached || this.limited) return;
    if (this.#directories.size >= this.#maxDirectories) this.#giveUpOne();
    let wd = this.#source.watch(fd, this);
    if (isLimit(wd) && this.#giveUpOne()) wd = this.#source.watch(fd, this);
    if (isLimit(wd)) {
      this.#limitedMs = performance.now();
      this.#onLimit?.();
      return;
    }
    // Under another name it is watched already, as with a bind mount: one of its paths is told.
    if (this.#byWd.has(wd)) return;
    this.#add({
      node,
      wd: wd < 0 ? UNWATCHABLE : wd,
      used: true,
      changed: new Set(),
      known: new Map(),
      knownBefore: new Map(),
    });
  }

  #add(directory: WatchedDirectory): void {
    const { node, wd } = directory;
    node.retain();
    node.watched = directory;
    this.#directories.set(node, directory);
    if (wd !== UNWATCHABLE) this.#byWd.set(wd, directory);
  }

  /** Gives up a directory that the guest has not been in for long. False where there is none. */
  #giveUpOne(): boolean {
    for (const [node, directory] of this.#directories) {
      if (!directory.used) {
        this.forget(directory);
        return true;
      }
      directory.used = false;
      this.#directories.delete(node);
      this.#directories.set(node, directory);
    }
    return false;
  }

  /** Watches the directory no more. */
  forget(directory: WatchedDirectory): void {
    const { node, wd, changed, known, knownBefore } = directory;
    if (!this.#directories.delete(node)) return;
    this.#dirty.delete(directory);
    this.#pending -= changed.size;
    this.#known -= known.size + knownBefore.size;
    node.watched = null;
    if (wd !== UNWATCHABLE) {
      this.#byWd.delete(wd);
      this.#source.unwatch(wd, this);
    }
    node.release();
  }

  /** The guest has changed this entry, or `file` where the entry is that, and knows how it is now. */
  changedByGuest(node: HostNode, name: ByteString, file?: HostNode): void {
    const directory = node.watched;
    if (directory === null || directory.wd === UNWATCHABLE) return;
    const dirFd = node.handle();
    const now = dirFd < 0 ? '' : this.#look(dirFd, name);
    if (file === undefined || (now !== '' && file.is(this.#context.changeStatx)))
      this.#remember(directory, name, now);
  }

  /** Takes an event; `flush` comes after the last of those at hand. */
  note(wd: number, mask: number, name: ByteString): void {
    const directory = this.#byWd.get(wd);
    if (directory === undefined) return;
    if ((mask & OF_ITSELF) !== 0) this.forget(directory);
    else if (name !== '' && !directory.changed.has(name)) this.#noteName(directory, name);
  }

  #noteName(directory: WatchedDirectory, name: ByteString): void {
    if (this.#pending >= PENDING_MAX) this.noteLoss();
    directory.changed.add(name);
    this.#dirty.add(directory);
    this.#pending++;
  }

  /** What has changed so far is not known: events were lost, or are too many. */
  noteLoss(): void {
    this.#everything = true;
    for (const directory of this.#dirty) directory.changed.clear();
    this.#dirty.clear();
    this.#pending = 0;
  }

  /** Tells what has been noted. */
  flush(): void {
    if (this.#everything) {
      this.#everything = false;
      this.#listener(EVERYTHING);
    }
    for (const directory of this.#dirty) {
      const names = [...directory.changed];
      directory.changed.clear();
      this.#pending -= names.length;
      this.#tell(directory, names);
    }
    this.#dirty.clear();
  }

  /** The directories watched, by their names from the root. */
  get names(): (readonly ByteString[])[] {
    return Array.from(this.#directories.keys(), (node) => node.names()).filter(
      (names) => names !== undefined,
    );
  }

  close(): void {
    for (const directory of [...this.#directories.values()]) this.forget(directory);
  }

  #tell(directory: WatchedDirectory, names: readonly ByteString[]): void {
    const { node } = directory;
    // Moved away, out of the export maybe, with one above it that is not watched: what is in it is not the guest's to know.
    if (!leadsHere(this.#context, node)) {
      this.forget(directory);
      return;
    }
    const dirFd = node.handle();
    if (dirFd < 0) return;
    const prefix = (node.names() ?? []).map((name) => `${name}/`).join('');
    for (const name of names) {
      if (!this.#isNews(directory, dirFd, name)) continue;
      const path = prefix + name;
      this.#listener(path.length > PATH_MAX_BYTES ? EVERYTHING : path);
    }
    this.#age(directory);
  }

  /** What the guest did is told once more at most: as it began before the last look, and ended after it. */
  #age(directory: WatchedDirectory): void {
    this.#known -= directory.knownBefore.size;
    directory.knownBefore = directory.known;
    directory.known = new Map();
  }

  /** False where the entry is as the guest knows it, or the guest has just written to it. */
  #isNews(directory: WatchedDirectory, dirFd: number, name: ByteString): boolean {
    const now = this.#look(dirFd, name);
    if (now === (directory.known.get(name) ?? directory.knownBefore.get(name))) return false;
    this.#remember(directory, name, now);
    return directory.node.child(name)?.takeWritten() !== true;
  }

  #remember(directory: WatchedDirectory, name: ByteString, how: string): void {
    if (this.#known >= KNOWN_MAX) this.#forgetKnown();
    if (!directory.known.has(name)) this.#known++;
    directory.known.set(name, how);
  }

  /** All at once: to be told of something again does no harm. */
  #forgetKnown(): void {
    for (const { known, knownBefore } of this.#directories.values()) {
      known.clear();
      knownBefore.clear();
    }
    this.#known = 0;
  }

  /** How an entry is now, as a value to compare; '' where there is none. */
  #look(dirFd: number, name: ByteString): string {
    const { changeName, changeStatx } = this.#context;
    if (changeName.setName(name) < 0 || changeStatx.loadName(dirFd, changeName.address) < 0) return '';
    return look(changeStatx);
  }
}

/** A directory's own times and size change with what is in it, of which it is told by itself. */
function look(statx: StatxBuffer): string {
  const { inodeLow, inodeHigh, mode } = statx;
  const isDirectory = (mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
  const rest = isDirectory ? `${mode} ${statx.uid} ${statx.gid}` : statx.changeStamp();
  return `${inodeHigh} ${inodeLow} ${rest}`;
}

function isLimit(wd: number): boolean {
  return wd === -Errno.ENOSPC || wd === -Errno.ENOMEM;
}

/** True where the names from the root on lead to this very directory now. */
function leadsHere(context: ExportContext, node: HostNode): boolean {
  const path: HostNode[] = [];
  for (let at = node; at.parentNode !== null; at = at.parentNode) path.push(at);
  for (let at = path.pop(); at !== undefined; at = path.pop()) {
    const dirFd = at.parentNode?.handle() ?? -Errno.ESTALE;
    const { changeName, changeStatx } = context;
    if (at.detached || dirFd < 0 || changeName.setName(at.name) < 0) return false;
    if (changeStatx.loadName(dirFd, changeName.address) < 0 || !at.is(changeStatx)) return false;
  }
  return true;
}
