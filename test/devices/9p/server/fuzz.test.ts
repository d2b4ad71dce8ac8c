/** Messages that were valid before they were mutated, many at a time, into replies of any room. */
import { describe, expect, it } from 'vitest';
import { Server } from '../../../../devices/9p/server/server.js';
import type { MaybePromise } from '../../../../devices/9p/fs/file-system.js';
import { Errno, type Failure } from '../../../../devices/errno.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { MemoryFileSystem } from './support/memory-file-system.js';
import { NOFID, NOTAG, T } from './support/wire.js';

const CASES = 200_000;
const CASES_PER_SESSION = 250;
const SLOTS = 64;
const ROOM_MAX = 512;
const CANARY = 0xa5;

/** A small reproducible random generator: mulberry32. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const CORPUS: Uint8Array[] = [
  T.version(NOTAG, 8192, '9P2000.L'),
  T.auth(1, 9, 'user', '', 0),
  T.attach(1, 9, NOFID, 'user', 'a/b', 0),
  T.flush(1, 2),
  T.walk(1, 0, 5, 'a', 'b'),
  T.walk(1, 0, 6, 'file'),
  T.walk(1, 1, 1, '..', 'a'),
  T.walk(1, 3, 7),
  T.read(1, 3, 0, 100),
  T.write(1, 3, 2, [1, 2, 3, 4]),
  T.clunk(1, 5),
  T.remove(1, 6),
  T.statfs(1, 0),
  T.lopen(1, 5, 2),
  T.lopen(1, 1, 0),
  T.lcreate(1, 7, 'new', 0o102, 0o644, 0),
  T.symlink(1, 0, 'link', 'target', 0),
  T.mknod(1, 0, 'node', 0o10644, 0, 0, 0),
  T.rename(1, 2, 0, 'renamed'),
  T.readlink(1, 10),
  T.getattr(1, 3),
  T.setattr(1, 2, { valid: 8, size: 3 }),
  T.xattrwalk(1, 2, 8, ''),
  T.xattrwalk(1, 2, 8, 'user.a'),
  T.xattrcreate(1, 6, 'user.b', 4, 0),
  T.write(1, 6, 0, [1, 2, 3, 4]),
  T.readdir(1, 4, 0, 400),
  T.fsync(1, 3, 0),
  T.lock(1, 3, 1, 0, 0, 0, 1, 'host'),
  T.getlock(1, 3, 1, 0, 0, 1, 'host'),
  T.link(1, 0, 2, 'second'),
  T.mkdir(1, 0, 'directory', 0o755, 0),
  T.renameat(1, 0, 'file', 1, 'moved'),
  T.unlinkat(1, 0, 'file', 0),
];

/** Fids 1 (a directory), 2 (a file), 3 (open on it), 4 (the root, open) and 10 (a link). */
const SETUP: Uint8Array[] = [
  T.version(NOTAG, 8192, '9P2000.L'),
  T.attach(1, 0, NOFID, 'user', '', 0),
  T.walk(1, 0, 1, 'a'),
  T.walk(1, 0, 2, 'file'),
  T.walk(1, 0, 3, 'file'),
  T.lopen(1, 3, 2),
  T.walk(1, 0, 4),
  T.lopen(1, 4, 0),
  T.walk(1, 0, 10, 'symbolic'),
];

function mutate(message: Uint8Array, random: (below: number) => number): Uint8Array {
  let bytes = message.slice();
  for (let i = random(4); i > 0; i--) {
    const at = random(bytes.length || 1);
    switch (random(6)) {
      case 0:
        bytes[at] ^= 1 << random(8);
        break;
      case 1:
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0x2f][random(6)];
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3:
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...CORPUS[random(CORPUS.length)].subarray(7)]);
        break;
      case 4:
        if (bytes.length >= 7) bytes[7 + random(4)] = random(10);
        break;
      default:
        if (bytes.length >= 7) bytes[4] = random(128);
    }
  }
  // Most messages keep a size that fits, so that mutations further in are reached.
  if (random(8) !== 0 && bytes.length >= 7) new DataView(bytes.buffer).setUint32(0, bytes.length, true);
  return bytes;
}

/** A place for one request at a time, with canaries around the room of its reply. */
class Slot {
  readonly request = new IoVector();
  readonly reply = new IoVector();
  readonly #memory = new Uint8Array(ROOM_MAX + 32);
  busy = false;
  #room = 0;
  #type = 0;
  #tag = 0;
  #headed = false;

  fill(message: Uint8Array, room: number, cut: number): void {
    this.busy = true;
    this.#room = room;
    this.#headed = message.length >= 7;
    this.#type = message[4];
    this.#tag = message[5] | (message[6] << 8);
    this.#memory.fill(CANARY);
    this.request.clear();
    this.request.push(message, 0, Math.min(cut, message.length), 0);
    if (cut < message.length) this.request.push(message, cut, message.length - cut, 0);
    this.reply.clear();
    this.reply.push(this.#memory, 16, Math.min(cut, room), 0);
    if (cut < room) this.reply.push(this.#memory, 16 + cut, room - cut, 0);
  }

  get replyType(): number {
    return this.#memory[16 + 4];
  }

  /** What is wrong with the reply, if anything. */
  complaint(replyBytes: number): string | undefined {
    const memory = this.#memory;
    const view = new DataView(memory.buffer, 16);
    this.busy = false;
    for (let i = 0; i < memory.length; i++) {
      const outside = i < 16 || i >= 16 + this.#room;
      if (outside && memory[i] !== CANARY) return `byte ${i - 16} of ${this.#room} was written`;
    }
    if (replyBytes === 0) return undefined;
    if (replyBytes > this.#room) return `${replyBytes} bytes in ${this.#room}`;
    if (view.getUint32(0, true) !== replyBytes) return 'the size is wrong';
    const type = view.getUint8(4);
    if (type !== 7 && type !== this.#type + 1) return `type ${type} answers ${this.#type}`;
    return this.#headed && view.getUint16(5, true) !== this.#tag ? 'the tag is wrong' : undefined;
  }
}

/** Sometimes later, sometimes failing, but for closing. */
function moods(random: (below: number) => number): (operation: string) => MaybePromise<Failure | undefined> {
  return (operation) => {
    const mood = random(20);
    if (mood < 5) return Promise.resolve(undefined);
    if (operation === 'close') return undefined;
    if (mood === 5) return -Errno.EACCES;
    return mood === 6 ? Promise.resolve(-Errno.ESTALE) : undefined;
  };
}

describe('200,000 mutated messages', () => {
  it('each end exactly once, with a well-formed reply or none, and leave nothing behind', async () => {
    const random = randomFrom(0x9b2000);
    const log: string[] = [];
    const complaints: string[] = [];
    const succeeded = new Set<number>();
    const fs = new MemoryFileSystem();
    fs.file('file', 'text', fs.directory('a'));
    const server = new Server(fs, {
      maxMsizeBytes: 8192,
      readOnly: false,
      maxFids: 40,
      maxOpenFiles: 10,
      log: (message, error) => log.push(`${message} ${String(error)}`),
    });
    const slots = Array.from({ length: SLOTS }, () => new Slot());
    let sent = 0;
    let ended = 0;
    const done = (slot: Slot, replyBytes: number): void => {
      if (!slot.busy) complaints.push('done twice');
      const complaint = slot.complaint(replyBytes);
      if (complaint !== undefined) complaints.push(complaint);
      if (replyBytes > 0) succeeded.add(slot.replyType);
      ended++;
    };
    const send = async (message: Uint8Array, room: number, cut: number): Promise<void> => {
      const slot = slots.find(({ busy }) => !busy);
      if (slot === undefined) {
        await quiet();
        return send(message, room, cut);
      }
      slot.fill(message, room, cut);
      sent++;
      server.handle(slot.request, slot.reply, done, slot);
    };
    const quiet = async (): Promise<void> => {
      while (ended < sent) await new Promise(setImmediate);
    };

    for (let i = 0; i < CASES; i++) {
      if (i % CASES_PER_SESSION === 0) {
        await quiet();
        if (random(4) === 0) await server.dropAll();
        fs.before = undefined;
        fs.root.entries.clear();
        fs.directory('b', fs.directory('a'));
        fs.file('file', 'text');
        fs.make(fs.root, 'symbolic', 0o120777).target = 'file';
        fs.calls.length = 0;
        for (const message of SETUP) await send(message, ROOM_MAX, 1000);
        await quiet();
        expect(server.statistics.fids).toBe(6);
        fs.before = moods(random);
      }
      const message = mutate(CORPUS[random(CORPUS.length)], random);
      if (message.length >= 7 && random(4) !== 0) message[5] = random(100) + 2;
      const room = random(4) === 0 ? random(64) : ROOM_MAX;
      await send(message, room, random(3) === 0 ? random(40) : 1000);
    }
    await quiet();
    fs.before = undefined;
    await server.dropAll();
    expect(complaints).toEqual([]);
    expect(log).toEqual([]);
    expect([ended, fs.liveNodes, fs.liveFiles, server.statistics.openFiles]).toEqual([sent, 0, 0, 0]);
    expect(sent).toBeGreaterThan(CASES);
    // Every message but Tauth gets through at times, so that its handler is reached.
    expect([...succeeded].sort((a, b) => a - b)).toEqual([
      7, 9, 13, 15, 17, 19, 21, 23, 25, 27, 31, 33, 41, 51, 53, 55, 71, 73, 75, 77, 101, 105, 109, 111, 117,
      119, 121, 123,
    ]);
  }, 120_000);
});
