/** A model of what fids and directories are: what a session's requests are held against. */
import { Errno } from '../../../devices/errno.js';

/** A file, a symbolic link or, where it has entries, a directory of the model. */
export interface Thing {
  readonly entries: Map<string, Thing> | undefined;
  /** Of a symbolic link. */
  readonly target: string | undefined;
  parent: Thing | undefined;
  data: string;
  /** It has no name any more. */
  removed: boolean;
}

export interface ModelFid {
  readonly thing: Thing;
  /** Undefined while it is not open. */
  flags: number | undefined;
}

/** What file systems differ in. */
export interface Rules {
  /** Nothing can be made in a directory that was removed; and other details that are as on Linux. */
  readonly exact: boolean;
  /** What has lost its name can be used by its open files only. */
  readonly stale: boolean;
}

/** An errno, or what the reply says. */
export type Outcome = number | { readonly says: unknown };

export class Model {
  readonly root: Thing = directory(undefined);
  readonly fids = new Map<number, ModelFid>();
  readonly rules: Rules;
  /** The first of its fids: there are {@link FIDS} of them. */
  readonly base: number;
  /** Where it attaches. */
  readonly aname: string;

  constructor(rules: Rules, base: number, aname: string) {
    this.rules = rules;
    this.base = base;
    this.aname = aname;
  }

  /** True where nothing can be made in the directory. */
  isClosed(thing: Thing): boolean {
    return this.rules.exact && thing.removed;
  }

  /** True where the file is out of reach, but for its open files. */
  isStale(thing: Thing): boolean {
    return this.rules.stale && thing.removed;
  }

  /** As `isStale`, for what an open file, not a directory, of the same thing can do as well. */
  isLost(thing: Thing): boolean {
    const hasOpenFile =
      thing.entries === undefined &&
      [...this.fids.values()].some((fid) => fid.thing === thing && fid.flags !== undefined);
    return this.isStale(thing) && !hasOpenFile;
  }

  /** The directory that a fid names, or an errno. */
  directory(fid: number): Thing | number {
    const thing = this.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    return thing.entries === undefined ? Errno.ENOTDIR : thing;
  }

  /** Makes `thing` an entry of `parent`: an errno, or 0. */
  add(parent: Thing, name: string, thing: Thing): number {
    if (this.isStale(parent)) return Errno.ESTALE;
    if (parent.entries?.has(name)) return Errno.EEXIST;
    if (this.isClosed(parent)) return Errno.ENOENT;
    parent.entries?.set(name, thing);
    return 0;
  }

  unlink(parent: Thing, name: string, wantsDirectory: boolean): number {
    if (this.isStale(parent)) return Errno.ESTALE;
    const thing = parent.entries?.get(name);
    if (thing === undefined) return Errno.ENOENT;
    if ((thing.entries !== undefined) !== wantsDirectory)
      return wantsDirectory ? Errno.ENOTDIR : Errno.EISDIR;
    if ((thing.entries?.size ?? 0) > 0) return Errno.ENOTEMPTY;
    parent.entries?.delete(name);
    thing.removed = true;
    return 0;
  }

  move(from: Thing, name: string, to: Thing, newName: string): number {
    if (this.isStale(from) || this.isStale(to)) return Errno.ESTALE;
    const thing = from.entries?.get(name);
    if (thing === undefined) return Errno.ENOENT;
    if (isAbove(thing, to)) return Errno.EINVAL;
    const there = to.entries?.get(newName);
    if (there === thing) return 0;
    // The kernel says so whatever is moved there; memfs looks at the types first.
    const { exact, stale } = this.rules;
    if (exact && !stale && there !== undefined && isAbove(there, from)) return Errno.ENOTEMPTY;
    if (this.isClosed(to)) return Errno.ENOENT;
    const failure = there === undefined ? 0 : this.unlink(to, newName, thing.entries !== undefined);
    if (failure !== 0) return failure;
    from.entries?.delete(name);
    to.entries?.set(newName, thing);
    thing.parent = to;
    return 0;
  }
}

export function directory(parent: Thing | undefined): Thing {
  return { entries: new Map(), target: undefined, parent, data: '', removed: false };
}

export function file(parent: Thing): Thing {
  return { entries: undefined, target: undefined, parent, data: '', removed: false };
}

export function symbolicLink(parent: Thing, target: string): Thing {
  return { entries: undefined, target, parent, data: '', removed: false };
}

/** The name of a thing that has one. */
export function nameOf(thing: Thing): string | undefined {
  for (const [name, entry] of thing.parent?.entries ?? []) if (entry === thing) return name;
  return undefined;
}

/** True where `below` is the thing itself, or somewhere in it. */
function isAbove(thing: Thing, below: Thing): boolean {
  for (let up: Thing | undefined = below; up !== undefined; up = up.parent) if (up === thing) return true;
  return false;
}
