/**
 * Requests of a guest that does everything at random, with what it knows of its fids. Fids of files that lost their names are
 * only clunked: they do not outlive their server.
 */
import type { Random } from '../../../../support/random.js';
import { T, type Reply } from '../support/wire.js';

const NAMES = ['a', 'b', 'c', '\xff\x01 \x80', 'a long name, longer than the others are'];
/** Names of links alone, which are not renamed: a rename between two names of one file does nothing. */
const LINKS = ['link', 'other link'];
const FIDS = 12;
const ROOT = 0;
const [O_RDWR, O_EXCL, O_TRUNC, O_APPEND] = [2, 0o200, 0o1000, 0o2000];
const FLAGS = [0, 1, O_RDWR, O_RDWR | O_APPEND, 1 | O_APPEND, O_RDWR | O_TRUNC];
const ATTRIBUTES = ['user.x', 'user.y'];

interface GuestFid {
  path: string;
  isDirectory: boolean;
  flags: number | undefined;
  xattr: 'read' | 'write' | undefined;
  /** Bytes of an attribute that are still to be written. */
  left: number;
  nameless: boolean;
}

export interface Action {
  readonly message: Uint8Array;
  readonly done: (reply: Reply) => void;
  /** A killed server's next one may answer otherwise: the file has no name. */
  readonly mayDiffer?: boolean;
}

export class RandomSession {
  readonly fids = new Map<number, GuestFid>();
  readonly #random: Random;
  #serial = 0;

  constructor(random: Random) {
    this.#random = random;
    this.fids.set(ROOT, fidAt('', true));
  }

  next(): Action {
    const number = this.#pick([...this.fids.keys()]);
    const fid = this.#fid(number);
    if (fid.nameless) return { ...this.#clunk(number), mayDiffer: true };
    if (fid.xattr !== undefined) return this.#ofXattr(number, fid);
    if (fid.flags !== undefined) return this.#ofOpen(number, fid);
    return fid.isDirectory && this.#random(3) > 0 ? this.#ofDirectory(number, fid) : this.#ofAny(number, fid);
  }

  /** What a last look at every fid asks. */
  looks(): Uint8Array[] {
    return [...this.fids].flatMap(([number, fid]) => {
      if (fid.nameless) return [];
      if (fid.xattr === 'read') return [T.read(1, number, 0, 1000)];
      if (fid.xattr === 'write') return [T.clunk(1, number)];
      const looks = [T.getattr(1, number)];
      if (fid.flags !== undefined && !fid.isDirectory)
        looks.push(T.read(1, number, 0, 1000), T.getlock(1, number, 1, 0, 0, 99, 'other'));
      return looks;
    });
  }

  #ofAny(number: number, fid: GuestFid): Action {
    switch (this.#random(9)) {
      case 0:
      case 1:
        return this.#walk(number, fid, []);
      case 2:
        return number === ROOT ? this.#walk(number, fid, ['..']) : this.#clunk(number);
      case 3: {
        if (number === ROOT) return plain(T.statfs(this.#tag(), ROOT));
        const flags = fid.isDirectory ? 0 : this.#pick(FLAGS);
        return { message: T.lopen(this.#tag(), number, flags), done: () => (fid.flags = flags) };
      }
      case 4:
        return this.#rename(number, fid);
      case 5:
        return this.#xattrCreate(number, fid);
      case 6:
        return this.#xattrWalk(number);
      case 7:
        return plain(T.setattr(this.#tag(), number, { valid: 8, size: this.#random(30) }));
      default: {
        if (number === ROOT || this.#random(3) > 0) return plain(T.getattr(this.#tag(), number));
        const forget = (): boolean => this.fids.delete(number);
        const done = (reply: Reply): void => {
          if (reply.errno === 0) this.#unlinked(fid.path);
          forget();
        };
        return { message: T.remove(this.#tag(), number), done };
      }
    }
  }

  #ofDirectory(number: number, fid: GuestFid): Action {
    const name = this.#pick(NAMES);
    const tag = this.#tag();
    const path = `${fid.path}/${name}`;
    switch (this.#random(10)) {
      case 0:
        return plain(T.mkdir(tag, number, name, 0o755, 0));
      case 1:
        return plain(T.symlink(tag, number, name, `to ${this.#serial++}`, 0));
      case 2: {
        const linked = this.#pick([...this.fids].filter(([, { nameless, xattr }]) => !nameless && !xattr));
        return plain(T.link(tag, number, linked[0], this.#pick(LINKS)));
      }
      case 3: {
        const flags = this.#random(3) === 0 ? 0x200 : 0;
        const removed = this.#pick([...NAMES, ...LINKS]);
        const done = ok(() => this.#unlinked(`${fid.path}/${removed}`));
        return { message: T.unlinkat(tag, number, removed, flags), done };
      }
      case 4: {
        const [toNumber, to] = this.#pick(
          [...this.fids].filter(([, { nameless, isDirectory }]) => isDirectory && !nameless),
        );
        const newName = this.#pick(NAMES);
        const message = T.renameat(tag, number, name, toNumber, newName);
        return { message, done: ok(() => this.#moved(path, `${to.path}/${newName}`)) };
      }
      case 5:
      case 6: {
        if (number === ROOT) return this.#walk(number, fid, [name, this.#pick(NAMES)]);
        const flags = this.#pick(FLAGS) | (this.#random(2) === 0 ? O_EXCL : 0);
        const done = ok(() => this.fids.set(number, { ...fidAt(path, false), flags: flags & ~O_EXCL }));
        return { message: T.lcreate(tag, number, name, flags, 0o644, 0), done };
      }
      case 7:
        return this.#walk(number, fid, [name, '..', this.#pick(NAMES)]);
      default:
        return this.#walk(number, fid, [this.#pick([...NAMES, ...LINKS])]);
    }
  }

  #ofOpen(number: number, fid: GuestFid): Action {
    const tag = this.#tag();
    if (fid.isDirectory) return this.#random(3) === 0 ? this.#clunk(number) : plain(T.getattr(tag, number));
    const data = Buffer.from(`<${this.#serial++}>`);
    switch (this.#random(7)) {
      case 0:
        return plain(T.read(tag, number, this.#random(20), 50));
      case 1: {
        const [type, start, length] = [this.#random(3), this.#random(50), this.#random(20)];
        return plain(T.lock(tag, number, type, 0, start, length, 1 + this.#random(2), 'guest'));
      }
      case 2:
        return this.#clunk(number);
      case 3:
        return plain(T.setattr(tag, number, { valid: 8, size: this.#random(30) }));
      case 4:
        return this.#walk(number, fid, []);
      default:
        return plain(T.write(tag, number, this.#random(40), data));
    }
  }

  #ofXattr(number: number, fid: GuestFid): Action {
    if (fid.xattr === 'read' || fid.left === 0) return this.#clunk(number);
    const offset = 8 - fid.left;
    const count = 1 + this.#random(fid.left);
    const data = Buffer.from('datadata').subarray(offset, offset + count);
    return { message: T.write(this.#tag(), number, offset, data), done: ok(() => (fid.left -= count)) };
  }

  #walk(number: number, from: GuestFid, names: string[]): Action {
    const free = this.#free();
    if (free === undefined)
      return this.#clunk(this.#pick([...this.fids.keys()].filter((each) => each !== ROOT)));
    const done = ok((reply) => {
      const fields = reply.fields;
      if (fields.number(2) !== names.length) return;
      let isDirectory = from.isDirectory;
      let { path } = from;
      for (const name of names) {
        isDirectory = fields.qid().type === 0x80;
        path = name === '..' ? path.slice(0, Math.max(0, path.lastIndexOf('/'))) : `${path}/${name}`;
      }
      this.fids.set(free, fidAt(path, isDirectory));
    });
    return { message: T.walk(this.#tag(), number, free, ...names), done };
  }

  #clunk(number: number): Action {
    if (number === ROOT) return plain(T.getattr(this.#tag(), ROOT));
    return { message: T.clunk(this.#tag(), number), done: () => this.fids.delete(number) };
  }

  #rename(number: number, fid: GuestFid): Action {
    if (LINKS.some((link) => fid.path.endsWith(link))) return plain(T.getattr(this.#tag(), number));
    const [toNumber, to] = this.#pick(
      [...this.fids].filter(([, { nameless, isDirectory }]) => isDirectory && !nameless),
    );
    const name = this.#pick(NAMES);
    const message = T.rename(this.#tag(), number, toNumber, name);
    return { message, done: ok(() => this.#moved(fid.path, `${to.path}/${name}`)) };
  }

  #xattrCreate(number: number, fid: GuestFid): Action {
    if (number === ROOT) return plain(T.statfs(this.#tag(), ROOT));
    const size = this.#random(4) === 0 ? 0 : 8;
    const message = T.xattrcreate(this.#tag(), number, this.#pick(ATTRIBUTES), size, this.#random(3));
    return { message, done: ok(() => this.fids.set(number, { ...fid, xattr: 'write', left: size })) };
  }

  #xattrWalk(number: number): Action {
    const free = this.#free();
    if (free === undefined) return this.#clunk(number);
    const message = T.xattrwalk(this.#tag(), number, free, this.#pick(ATTRIBUTES));
    return { message, done: ok(() => this.fids.set(free, { ...fidAt('', false), xattr: 'read' })) };
  }

  #unlinked(path: string): void {
    for (const fid of this.fids.values())
      if (fid.path === path || fid.path.startsWith(`${path}/`)) fid.nameless = true;
  }

  #moved(from: string, to: string): void {
    if (from === to) return;
    this.#unlinked(to);
    for (const fid of this.fids.values())
      if (fid.path === from || fid.path.startsWith(`${from}/`)) fid.path = to + fid.path.slice(from.length);
  }

  #free(): number | undefined {
    return Array.from({ length: FIDS }, (_, number) => number).find((number) => !this.fids.has(number));
  }

  #fid(number: number): GuestFid {
    const fid = this.fids.get(number);
    if (fid === undefined) throw new Error(`there is no fid ${number}`);
    return fid;
  }

  #pick<T>(of: readonly T[]): T {
    return of[this.#random(of.length)];
  }

  /** Few, so that each comes again soon. */
  #tag(): number {
    return this.#random(3);
  }
}

function fidAt(path: string, isDirectory: boolean): GuestFid {
  return { path, isDirectory, flags: undefined, xattr: undefined, left: 0, nameless: false };
}

function plain(message: Uint8Array): Action {
  return { message, done: () => undefined };
}

function ok(act: (reply: Reply) => unknown): (reply: Reply) => void {
  return (reply) => {
    if (reply.errno === 0) act(reply);
  };
}
