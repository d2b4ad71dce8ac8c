/** Sequences of requests, held against a model of what fids and directories are. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { Fields, T } from './support/wire.js';

const O_RDWR = 2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;

/** A file or directory of the model. */
interface Thing {
  entries: Map<string, Thing> | undefined;
  parent: Thing | undefined;
  data: string;
}

interface ModelFid {
  thing: Thing;
  /** Undefined while it is not open. */
  flags: number | undefined;
}

/** A request: its bytes, and what the model says of it. */
interface Command {
  bytes: Uint8Array;
  /** Answers the errno, and otherwise what the reply should say. */
  expected: (model: Model) => Outcome;
}
type Outcome = number | { says: unknown };

class Model {
  readonly root: Thing = { entries: new Map(), parent: undefined, data: '' };
  readonly fids = new Map<number, ModelFid>([[0, { thing: this.root, flags: undefined }]]);

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
    const thing = from.entries?.get(name);
    if (thing === undefined) return Errno.ENOENT;
    for (let up: Thing | undefined = to; up !== undefined; up = up.parent)
      if (up === thing) return Errno.EINVAL;
    const there = to.entries?.get(newName);
    if (there === thing) return { says: null };
    const failure = there === undefined ? 0 : model.unlink(to, newName, thing.entries !== undefined);
    if (failure !== 0) return failure;
    from.entries?.delete(name);
    to.entries?.set(newName, thing);
    if (thing.entries !== undefined) thing.parent = to;
    return { says: null };
  };
  return { bytes: T.renameat(1, fid, name, dfid, newName), expected };
}

function readdir(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const target = model.fids.get(fid);
    if (target?.flags === undefined) return Errno.EBADF;
    const { entries } = target.thing;
    return entries === undefined ? Errno.ENOTDIR : { says: ['.', '..', ...entries.keys()] };
  };
  return { bytes: T.readdir(1, fid, 0, 4000), expected };
}

function getattr(fid: number): Command {
  const expected = (model: Model): Outcome => {
    const thing = model.fids.get(fid)?.thing;
    return thing === undefined
      ? Errno.EBADF
      : { says: [thing.entries === undefined ? 0 : 0x80, thing.data.length] };
  };
  return { bytes: T.getattr(1, fid), expected };
}

/** What a reply says, as far as the model knows it. */
function said(type: number, fields: Fields): unknown {
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
      return [qidType, fields.number(8)];
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
  return names;
}

const fid = fc.nat(4);
const name = fc.constantFrom('a', 'b', 'c');
const step = fc.constantFrom('a', 'b', 'c', '..');
const command = fc.oneof(
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
  { weight: 2, arbitrary: fid.map(readdir) },
  { weight: 1, arbitrary: fid.map(getattr) },
);

describe('any sequence of requests', () => {
  it.each([
    ['that answers at once', false],
    ['that answers with promises', true],
  ])('does with a file system %s what the model says, and leaks nothing', async (_how, later) => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 60 }), async (commands) => {
        const client = await Client.attached();
        const model = new Model();
        if (later) client.fs.before = () => Promise.resolve(undefined);
        for (const { bytes, expected } of commands) {
          const outcome = expected(model);
          const reply = await client.call(bytes, { room: 8192 });
          if (reply.errno !== 0) expect(reply.errno).toBe(outcome);
          else expect({ says: said(reply.type, reply.fields) }).toEqual(outcome);
        }
        client.fs.before = undefined;
        await client.expectNoLeaks();
      }),
      { numRuns: 200 },
    );
  });
});
