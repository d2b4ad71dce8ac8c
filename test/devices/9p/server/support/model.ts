/** A model of what fids and directories are, and the requests that are held against it. */
import fc from 'fast-check';
import { Errno } from '../../../../../devices/errno.js';
import { Fields, T } from './wire.js';

const O_RDWR = 2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;

/** A file or directory of the model. */
interface Thing {
  entries: Map<string, Thing> | undefined;
  parent: Thing | undefined;
  data: string;
  /** A directory that was removed: nothing can be made in it any more. */
  removed: boolean;
}

interface ModelFid {
  thing: Thing;
  /** Undefined while it is not open. */
  flags: number | undefined;
}

/** A request: its bytes, and what the model says of it. */
export interface Command {
  bytes: Uint8Array;
  /** Answers the errno, and otherwise what the reply should say. */
  expected: (model: Model) => Outcome;
}
export type Outcome = number | { says: unknown };

export class Model {
  readonly root: Thing = { entries: new Map(), parent: undefined, data: '', removed: false };
  readonly fids = new Map<number, ModelFid>([[0, { thing: this.root, flags: undefined }]]);
  /** As Linux has it in every detail: the file system in memory is simpler where directories were removed. */
  readonly exact: boolean;

  constructor(exact: boolean) {
    this.exact = exact;
  }

  /** True where nothing can be made in the directory. */
  isClosed(directory: Thing): boolean {
    return this.exact && directory.removed;
  }

  /** The directory that a fid names, or an errno. */
  directory(fid: number): Thing | number {
    const thing = this.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    return thing.entries === undefined ? Errno.ENOTDIR : thing;
  }

  add(directory: Thing, name: string, isDirectory: boolean): Thing {
    const thing = {
      entries: isDirectory ? new Map<string, Thing>() : undefined,
      parent: directory,
      data: '',
      removed: false,
    };
    directory.entries?.set(name, thing);
    return thing;
  }

  unlink(directory: Thing, name: string, wantsDirectory: boolean): number {
    const thing = directory.entries?.get(name);
    if (thing === undefined) return Errno.ENOENT;
    if ((thing.entries !== undefined) !== wantsDirectory)
      return wantsDirectory ? Errno.ENOTDIR : Errno.EISDIR;
    if ((thing.entries?.size ?? 0) > 0) return Errno.ENOTEMPTY;
    directory.entries?.delete(name);
    thing.removed = wantsDirectory;
    return 0;
  }

  move(from: Thing, name: string, to: Thing, newName: string): number {
    const thing = from.entries?.get(name);
    if (thing === undefined) return Errno.ENOENT;
    if (isAbove(thing, to)) return Errno.EINVAL;
    const there = to.entries?.get(newName);
    if (there === thing) return 0;
    if (this.exact && there !== undefined && isAbove(there, from)) return Errno.ENOTEMPTY;
    if (this.isClosed(to)) return Errno.ENOENT;
    const failure = there === undefined ? 0 : this.unlink(to, newName, thing.entries !== undefined);
    if (failure !== 0) return failure;
    from.entries?.delete(name);
    to.entries?.set(newName, thing);
    thing.parent = to;
    return 0;
  }
}

function walk(fid: number, newfid: number, names: string[]): Command {
  const expected = (model: Model): Outcome => {
    const from = model.fids.get(fid);
    if (from === undefined) return Errno.EBADF;
    if (newfid === fid ? from.flags !== undefined : model.fids.has(newfid)) return Errno.EINVAL;
    let thing = from.thing;
    for (let found = 0; found < names.length; found++) {
      const next =
        names[found] === '..' ? thing.entries && (thing.parent ?? thing) : thing.entries?.get(names[found]);
      if (next === undefined)
        return found > 0 ? { says: found } : thing.entries === undefined ? Errno.ENOTDIR : Errno.ENOENT;
      thing = next;
    }
    model.fids.set(newfid, { thing, flags: undefined });
    return { says: names.length };
  };
  return { bytes: T.walk(1, fid, newfid, ...names), expected };
}

function clunk(fid: number): Command {
  return {
    bytes: T.clunk(1, fid),
    expected: (model) => (model.fids.delete(fid) ? { says: null } : Errno.EBADF),
  };
}

function lopen(fid: number, flags: number): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target === undefined) return Errno.EBADF;
    if (target.flags !== undefined) return Errno.EINVAL;
    if (target.thing.entries !== undefined && flags !== 0) return Errno.EISDIR;
    if ((flags & O_TRUNC) !== 0) target.thing.data = '';
    target.flags = flags;
    return { says: null };
  };
  return { bytes: T.lopen(1, fid, flags), expected };
}

function lcreate(fid: number, name: string, flags: number): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target === undefined) return Errno.EBADF;
    if (target.flags !== undefined) return Errno.EINVAL;
    const directory = target.thing;
    if (directory.entries === undefined) return Errno.ENOTDIR;
    const there = directory.entries.get(name);
    if (there !== undefined && (flags & O_EXCL) !== 0) return Errno.EEXIST;
    if (there?.entries !== undefined) return Errno.EISDIR;
    if (there === undefined && model.isClosed(directory)) return Errno.ENOENT;
    model.fids.set(fid, { thing: there ?? model.add(directory, name, false), flags });
    return { says: null };
  };
  return { bytes: T.lcreate(1, fid, name, flags, 0o644, 0), expected };
}

function read(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined) return Errno.EBADF;
    return target.thing.entries === undefined ? { says: target.thing.data } : Errno.EISDIR;
  };
  return { bytes: T.read(1, fid, 0, 1000), expected };
}

function write(fid: number, offset: number, text: string): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined || (target.flags & O_RDWR) === 0) return Errno.EBADF;
    const { thing } = target;
    const { data } = thing;
    // Writing nothing past the end makes a file no longer on Linux; the file system in memory is simpler.
    if (text.length === 0 && model.exact) return { says: 0 };
    thing.data = data.slice(0, offset).padEnd(offset, '\0') + text + data.slice(offset + text.length);
    if (text.length === 0) thing.data = data.padEnd(offset, '\0');
    return { says: text.length };
  };
  return { bytes: T.write(1, fid, offset, Buffer.from(text)), expected };
}

function mkdir(fid: number, name: string): Command {
  const expected = (model: Model): Outcome => {
    const directory = model.directory(fid);
    if (typeof directory === 'number') return directory;
    if (directory.entries?.has(name)) return Errno.EEXIST;
    if (model.isClosed(directory)) return Errno.ENOENT;
    model.add(directory, name, true);
    return { says: null };
  };
  return { bytes: T.mkdir(1, fid, name, 0o755, 0), expected };
}

function unlinkat(fid: number, name: string, wantsDirectory: boolean): Command {
  const expected = (model: Model): Outcome => {
    const directory = model.directory(fid);
    if (typeof directory === 'number') return directory;
    return model.unlink(directory, name, wantsDirectory) || { says: null };
  };
  return { bytes: T.unlinkat(1, fid, name, wantsDirectory ? 0x200 : 0), expected };
}

function renameat(fid: number, name: string, dfid: number, newName: string): Command {
  const expected = (model: Model): Outcome => {
    const to = model.directory(dfid);
    if (typeof to === 'number') return to;
    const from = model.directory(fid);
    if (typeof from === 'number') return from;
    return model.move(from, name, to, newName) || { says: null };
  };
  return { bytes: T.renameat(1, fid, name, dfid, newName), expected };
}

function rename(fid: number, dfid: number, newName: string): Command {
  const expected = (model: Model): Outcome => {
    const to = model.directory(dfid);
    if (typeof to === 'number') return to;
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (thing.parent === undefined) return Errno.EBUSY;
    const name = nameOf(thing);
    return name === undefined ? Errno.ESTALE : model.move(thing.parent, name, to, newName) || { says: null };
  };
  return { bytes: T.rename(1, fid, dfid, newName), expected };
}

function remove(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const thing = model.fids.get(fid)?.thing;
    model.fids.delete(fid);
    if (thing === undefined) return Errno.EBADF;
    if (thing.parent === undefined) return Errno.EBUSY;
    const name = nameOf(thing);
    if (name === undefined) return Errno.ESTALE;
    return model.unlink(thing.parent, name, thing.entries !== undefined) || { says: null };
  };
  return { bytes: T.remove(1, fid), expected };
}

function truncate(fid: number, size: number): Command {
  const expected = (model: Model): Outcome => {
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (thing.entries !== undefined) return model.exact ? Errno.EISDIR : { says: null };
    thing.data = thing.data.slice(0, size).padEnd(size, '\0');
    return { says: null };
  };
  return { bytes: T.setattr(1, fid, { valid: 8, size }), expected };
}

/** The name of a thing that has one. */
function nameOf(thing: Thing): string | undefined {
  for (const [name, entry] of thing.parent?.entries ?? []) if (entry === thing) return name;
  return undefined;
}

/** True where `below` is the thing itself, or somewhere in it. */
function isAbove(thing: Thing, below: Thing): boolean {
  for (let up: Thing | undefined = below; up !== undefined; up = up.parent) if (up === thing) return true;
  return false;
}

function readdir(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined) return Errno.EBADF;
    const { entries } = target.thing;
    if (entries === undefined) return Errno.ENOTDIR;
    return { says: model.isClosed(target.thing) ? [] : ['.', '..', ...entries.keys()].sort() };
  };
  return { bytes: T.readdir(1, fid, 0, 4000), expected };
}

function getattr(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const thing = model.fids.get(fid)?.thing;
    return thing === undefined
      ? Errno.EBADF
      : { says: thing.entries === undefined ? [0, thing.data.length] : [0x80, 0] };
  };
  return { bytes: T.getattr(1, fid), expected };
}

/** What a reply says, as far as the model knows it. */
export function said(type: number, fields: Fields): unknown {
  switch (type) {
    case 111:
      return fields.number(2);
    case 117:
      return Buffer.from(fields.bytes(fields.number(4))).toString('latin1');
    case 119:
      return fields.number(4);
    case 41:
      return namesIn(new Fields(fields.bytes(fields.number(4))));
    case 25: {
      fields.number(8);
      const { type: qidType } = fields.qid();
      fields.bytes(12 + 16);
      return [qidType, qidType === 0 ? fields.number(8) : 0];
    }
    default:
      return null;
  }
}

function namesIn(fields: Fields): string[] {
  const names: string[] = [];
  while (fields.left > 0) {
    fields.bytes(22);
    names.push(fields.text());
  }
  return names.sort();
}

const fid = fc.nat(4);
const name = fc.constantFrom('a', 'b', 'c');
const step = fc.constantFrom('a', 'b', 'c', '..');
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fid, fid, fc.array(step, { maxLength: 4 })).map((args) => walk(...args)) },
  { weight: 2, arbitrary: fid.map(clunk) },
  {
    weight: 3,
    arbitrary: fc.tuple(fid, fc.constantFrom(0, O_RDWR, O_RDWR | O_TRUNC)).map((args) => lopen(...args)),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(fid, name, fc.constantFrom(O_RDWR, O_RDWR | O_EXCL)).map((args) => lcreate(...args)),
  },
  { weight: 2, arbitrary: fid.map(read) },
  {
    weight: 3,
    arbitrary: fc.tuple(fid, fc.nat(6), fc.constantFrom('', 'x', 'yyyy')).map((args) => write(...args)),
  },
  { weight: 4, arbitrary: fc.tuple(fid, name).map((args) => mkdir(...args)) },
  { weight: 2, arbitrary: fc.tuple(fid, name, fc.boolean()).map((args) => unlinkat(...args)) },
  { weight: 2, arbitrary: fc.tuple(fid, name, fid, name).map((args) => renameat(...args)) },
  { weight: 1, arbitrary: fc.tuple(fid, fid, name).map((args) => rename(...args)) },
  { weight: 1, arbitrary: fid.map(remove) },
  { weight: 1, arbitrary: fc.tuple(fid, fc.nat(6)).map((args) => truncate(...args)) },
  { weight: 2, arbitrary: fid.map(readdir) },
  { weight: 1, arbitrary: fid.map(getattr) },
);
