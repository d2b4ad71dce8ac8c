/** Requests made of a case's numbers, and what a model says of each. */
import { Errno } from '../../../devices/errno.js';
import { Fields, NOFID, T } from '../../devices/9p/server/support/wire.js';
import { directory, file, nameOf, symbolicLink, type Model, type Outcome, type Thing } from './model.js';

const O_RDWR = 2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const AT_REMOVEDIR = 0x200;
/** How many fids a model has to choose from. */
export const FIDS = 5;
const NAMES = ['a', 'b', 'c'];
const STEPS = ['a', 'b', 'c', '..'];
const OPEN_FLAGS = [0, O_RDWR, O_RDWR | O_TRUNC];
const TEXTS = ['', 'x', 'yyyy'];
const DONE: Outcome = { says: null };
const S_IFLNK_QID = 2;
const S_IFDIR_QID = 0x80;
/** Most bytes of an offset or size. */
const SIZES = 7;

/** A request with no tag yet, and what the model, which has done it by then, says of it. */
export interface Command {
  readonly bytes: Uint8Array;
  readonly outcome: Outcome;
}

type Numbers = readonly number[];
type Make = (model: Model, numbers: Numbers) => Command;

interface Row {
  readonly make: Make;
  /** How much more often than others it is chosen. */
  readonly weight: number;
  /** Changes nothing of its model, so that several may be under way. */
  readonly isQuery?: boolean;
}

/** A request that a model has one of: its fid, and what comes of it where there is that fid. */
function onFid(
  request: (fid: number, numbers: Numbers, model: Model) => Uint8Array,
  outcome: (model: Model, fid: number, numbers: Numbers) => Outcome,
): Make {
  return (model, [which, ...numbers]) => {
    const fid = fidOf(model, which);
    const bytes = request(fid, numbers, model);
    return { bytes, outcome: outcome(model, fid, numbers) };
  };
}

function fidOf(model: Model, number: number): number {
  return model.base + (number % FIDS);
}

function pick<T>(from: readonly T[], number: number): T {
  return from[number % from.length];
}

function steps(numbers: Numbers): string[] {
  return numbers.slice(1, 1 + (numbers[1] % 4)).map((number) => pick(STEPS, number >> 3));
}

const walk = onFid(
  (fid, numbers, model) => T.walk(1, fid, fidOf(model, numbers[0]), ...steps(numbers)),
  (model, fid, numbers) => {
    const from = model.fids.get(fid);
    const newfid = fidOf(model, numbers[0]);
    if (from === undefined) return Errno.EBADF;
    if (newfid === fid ? from.flags !== undefined : model.fids.has(newfid)) return Errno.EINVAL;
    const names = steps(numbers);
    let { thing } = from;
    for (let found = 0; found < names.length; found++) {
      const next = step(model, thing, names[found]);
      if (typeof next === 'number') return found > 0 ? { says: found } : next;
      thing = next;
    }
    model.fids.set(newfid, { thing, flags: undefined });
    return { says: names.length };
  },
);

function step(model: Model, thing: Thing, name: string): Thing | number {
  if (thing.entries === undefined) return Errno.ENOTDIR;
  if (name === '..') {
    const parent = thing.parent ?? thing;
    return model.isLost(parent) ? Errno.ESTALE : parent;
  }
  return model.isStale(thing) ? Errno.ESTALE : (thing.entries.get(name) ?? Errno.ENOENT);
}

const attach = onFid(
  (fid, _, model) => T.attach(1, fid, NOFID, 'user', model.aname, process.geteuid?.() ?? 0),
  (model, fid) => {
    if (model.fids.has(fid)) return Errno.EINVAL;
    model.fids.set(fid, { thing: model.root, flags: undefined });
    return DONE;
  },
);

const clunk = onFid(
  (fid) => T.clunk(1, fid),
  (model, fid) => (model.fids.delete(fid) ? DONE : Errno.EBADF),
);

const lopen = onFid(
  (fid, [flags]) => T.lopen(1, fid, pick(OPEN_FLAGS, flags)),
  (model, fid, [which]) => {
    const flags = pick(OPEN_FLAGS, which);
    const target = model.fids.get(fid);
    if (target === undefined) return Errno.EBADF;
    const { thing } = target;
    if (target.flags !== undefined) return Errno.EINVAL;
    if (thing.target !== undefined && model.rules.exact) return Errno.ELOOP;
    if (thing.entries !== undefined && flags !== 0) return Errno.EISDIR;
    if (model.isStale(thing)) return Errno.ESTALE;
    if ((flags & O_TRUNC) !== 0) thing.data = '';
    target.flags = flags;
    return DONE;
  },
);

function createFlags(number: number): number {
  return number % 2 === 0 ? O_RDWR : O_RDWR | O_EXCL;
}

const lcreate = onFid(
  (fid, [name, flags]) => T.lcreate(1, fid, pick(NAMES, name), createFlags(flags), 0o644, 0),
  (model, fid, [which, whichFlags]) => {
    const [name, flags] = [pick(NAMES, which), createFlags(whichFlags)];
    const target = model.fids.get(fid);
    if (target === undefined) return Errno.EBADF;
    if (target.flags !== undefined) return Errno.EINVAL;
    const parent = target.thing;
    if (parent.entries === undefined) return Errno.ENOTDIR;
    if (model.isStale(parent)) return Errno.ESTALE;
    const there = parent.entries.get(name);
    if (there !== undefined && (flags & O_EXCL) !== 0) return Errno.EEXIST;
    if (there?.entries !== undefined) return Errno.EISDIR;
    if (there?.target !== undefined && model.rules.exact) return Errno.ELOOP;
    const made = there ?? file(parent);
    const failure = there === undefined ? model.add(parent, name, made) : 0;
    if (failure !== 0) return failure;
    model.fids.set(fid, { thing: made, flags });
    return DONE;
  },
);

const read = onFid(
  (fid) => T.read(1, fid, 0, 1000),
  (model, fid) => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined) return Errno.EBADF;
    return target.thing.entries === undefined ? { says: target.thing.data } : Errno.EISDIR;
  },
);

const write = onFid(
  (fid, [offset, text]) => T.write(1, fid, offset % SIZES, Buffer.from(pick(TEXTS, text))),
  (model, fid, [where, which]) => {
    const [offset, text] = [where % SIZES, pick(TEXTS, which)];
    const target = model.fids.get(fid);
    if (target?.flags === undefined || (target.flags & O_RDWR) === 0) return Errno.EBADF;
    const { thing } = target;
    const { data } = thing;
    // Writing nothing past the end makes a file no longer on Linux; the file system in memory is simpler.
    if (text.length === 0 && model.rules.exact) return { says: 0 };
    thing.data = data.slice(0, offset).padEnd(offset, '\0') + text + data.slice(offset + text.length);
    if (text.length === 0) thing.data = data.padEnd(offset, '\0');
    return { says: text.length };
  },
);

/** A request that makes something in a directory. */
function making(bytes: (fid: number, name: string) => Uint8Array, make: (parent: Thing) => Thing): Make {
  return onFid(
    (fid, [name]) => bytes(fid, pick(NAMES, name)),
    (model, fid, [name]) => {
      const parent = model.directory(fid);
      return typeof parent === 'number' ? parent : model.add(parent, pick(NAMES, name), make(parent)) || DONE;
    },
  );
}

const mkdir = making((fid, name) => T.mkdir(1, fid, name, 0o755, 0), directory);
const makeLink = making(
  (fid, name) => T.symlink(1, fid, name, '../../outside', 0),
  (parent) => symbolicLink(parent, '../../outside'),
);

/** memfs cannot move a link: NodeFs makes it anew, of which a model would have to know which fids notice. It gets directories instead. */
const symlink: Make = (model, numbers) => (model.rules.stale ? mkdir : makeLink)(model, numbers);

const readlink = onFid(
  (fid) => T.readlink(1, fid),
  (model, fid) => {
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (thing.target === undefined) return Errno.EINVAL;
    return model.isStale(thing) ? Errno.ESTALE : { says: thing.target };
  },
);

const unlinkat = onFid(
  (fid, [name, wants]) => T.unlinkat(1, fid, pick(NAMES, name), wants % 2 === 0 ? 0 : AT_REMOVEDIR),
  (model, fid, [name, wants]) => {
    const parent = model.directory(fid);
    return typeof parent === 'number'
      ? parent
      : model.unlink(parent, pick(NAMES, name), wants % 2 === 1) || DONE;
  },
);

const renameat = onFid(
  (fid, [name, other, newName], model) =>
    T.renameat(1, fid, pick(NAMES, name), fidOf(model, other), pick(NAMES, newName)),
  (model, fid, [name, other, newName]) => {
    const to = model.directory(fidOf(model, other));
    if (typeof to === 'number') return to;
    const from = model.directory(fid);
    if (typeof from === 'number') return from;
    return model.move(from, pick(NAMES, name), to, pick(NAMES, newName)) || DONE;
  },
);

const rename = onFid(
  (fid, [other, newName], model) => T.rename(1, fid, fidOf(model, other), pick(NAMES, newName)),
  (model, fid, [other, newName]) => {
    const to = model.directory(fidOf(model, other));
    if (typeof to === 'number') return to;
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (thing.parent === undefined) return Errno.EBUSY;
    const name = nameOf(thing);
    return name === undefined
      ? Errno.ESTALE
      : model.move(thing.parent, name, to, pick(NAMES, newName)) || DONE;
  },
);

const remove = onFid(
  (fid) => T.remove(1, fid),
  (model, fid) => {
    const thing = model.fids.get(fid)?.thing;
    model.fids.delete(fid);
    if (thing === undefined) return Errno.EBADF;
    if (thing.parent === undefined) return Errno.EBUSY;
    const name = nameOf(thing);
    return name === undefined
      ? Errno.ESTALE
      : model.unlink(thing.parent, name, thing.entries !== undefined) || DONE;
  },
);

const truncate = onFid(
  (fid, [size]) => T.setattr(1, fid, { valid: 8, size: size % SIZES }),
  (model, fid, [size]) => {
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (model.isLost(thing)) return Errno.ESTALE;
    if (thing.entries !== undefined) return model.rules.exact ? Errno.EISDIR : DONE;
    if (thing.target !== undefined && model.rules.exact) return Errno.EINVAL;
    thing.data = thing.data.slice(0, size % SIZES).padEnd(size % SIZES, '\0');
    return DONE;
  },
);

const readdir = onFid(
  (fid) => T.readdir(1, fid, 0, 4000),
  (model, fid) => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined) return Errno.EBADF;
    const { entries } = target.thing;
    if (entries === undefined) return Errno.ENOTDIR;
    return { says: model.isClosed(target.thing) ? [] : ['.', '..', ...entries.keys()].sort() };
  },
);

const getattr = onFid(
  (fid) => T.getattr(1, fid),
  (model, fid) => {
    const thing = model.fids.get(fid)?.thing;
    if (thing === undefined) return Errno.EBADF;
    if (model.isLost(thing)) return Errno.ESTALE;
    if (thing.entries !== undefined) return { says: [S_IFDIR_QID, 0] };
    return { says: thing.target === undefined ? [0, thing.data.length] : [S_IFLNK_QID, 0] };
  },
);

/** By the kind of a step. New rows come last: committed cases say their kinds by number. */
export const COMMANDS: readonly Row[] = [
  { make: walk, weight: 6 },
  { make: clunk, weight: 2 },
  { make: lopen, weight: 3 },
  { make: lcreate, weight: 3 },
  { make: read, weight: 2, isQuery: true },
  { make: write, weight: 3 },
  { make: mkdir, weight: 4 },
  { make: unlinkat, weight: 2 },
  { make: renameat, weight: 2 },
  { make: rename, weight: 1 },
  { make: remove, weight: 1 },
  { make: truncate, weight: 1 },
  { make: readdir, weight: 2 },
  { make: getattr, weight: 1, isQuery: true },
  { make: attach, weight: 1 },
  { make: symlink, weight: 1 },
  { make: readlink, weight: 1, isQuery: true },
];

export const ATTACH = COMMANDS.findIndex(({ make }) => make === attach);

/** What a reply says, as far as the model knows it. */
export function said(type: number, fields: Fields): unknown {
  switch (type) {
    case 23:
      return fields.text();
    case 25: {
      fields.number(8);
      const { type: qidType } = fields.qid();
      fields.bytes(12 + 16);
      return [qidType, qidType === 0 ? fields.number(8) : 0];
    }
    case 41:
      return namesIn(new Fields(fields.bytes(fields.number(4))));
    case 111:
      return fields.number(2);
    case 117:
      return Buffer.from(fields.bytes(fields.number(4))).toString('latin1');
    case 119:
      return fields.number(4);
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
