/** Messages that were valid before they were mutated, many at a time, into replies of any room. */
import type { Server } from '../../../../../devices/9p/server/server.js';
import { IoVector } from '../../../../../devices/io-vector.js';
import { randomFrom, type Random } from '../../../../support/random.js';
import { NOFID, NOTAG, Older, T } from './wire.js';

export { randomFrom, type Random };

/** How many messages a fuzzer sends, and its seed: CHASSIS_FUZZ_MESSAGES asks for more, of a new seed each time. */
export function fuzzPlan(defaultMessages: number): { messages: number; seed: number } {
  const { CHASSIS_FUZZ_MESSAGES: messages, CHASSIS_FUZZ_SEED: seed } = process.env;
  return {
    messages: Number(messages ?? defaultMessages),
    seed: Number(seed ?? (messages === undefined ? 0x9b2000 : Date.now() % 2 ** 31)),
  };
}

/** What a dialect's sessions start with, and which messages are mutated in them. */
export interface Corpus {
  readonly version: string;
  /** Fids 0 (the root), 1 (a directory), 2 (a file), 3 (open on it), 4 (the root, open) and 10 (a link). */
  readonly setup: readonly Uint8Array[];
  readonly messages: readonly Uint8Array[];
}

const COMMON = [
  T.flush(1, 2),
  T.walk(1, 0, 5, 'a', 'b'),
  T.walk(1, 0, 6, 'file'),
  T.walk(1, 1, 1, '..', 'a'),
  T.walk(1, 3, 7),
  T.walk(1, 0, 8, 'symbolic', 'secret'),
  T.read(1, 3, 0, 100),
  T.write(1, 3, 2, [1, 2, 3, 4]),
  T.clunk(1, 5),
  T.remove(1, 6),
];

const WALKS = [
  T.walk(1, 0, 1, 'a'),
  T.walk(1, 0, 2, 'file'),
  T.walk(1, 0, 3, 'file'),
  T.walk(1, 0, 4),
  T.walk(1, 0, 10, 'symbolic'),
];

export const CORPORA: readonly Corpus[] = [
  {
    version: '9P2000.L',
    setup: [
      T.version(NOTAG, 8192, '9P2000.L'),
      T.attach(1, 0, NOFID, 'user', '', 0),
      ...WALKS,
      T.lopen(1, 3, 2),
      T.lopen(1, 4, 0),
    ],
    messages: [
      ...COMMON,
      T.version(NOTAG, 8192, '9P2000.L'),
      T.auth(1, 9, 'user', '', 0),
      T.attach(1, 9, NOFID, 'user', 'a/b', 0),
      T.statfs(1, 0),
      T.lopen(1, 5, 2),
      T.lopen(1, 1, 0),
      T.lcreate(1, 7, 'new', 0o102, 0o644, 0),
      T.symlink(1, 0, 'link', '../outside/secret', 0),
      T.mknod(1, 0, 'node', 0o10644, 0, 0, 0),
      T.rename(1, 2, 0, 'renamed'),
      T.readlink(1, 10),
      T.getattr(1, 3),
      T.setattr(1, 2, { valid: 8, size: 3 }),
      T.setattr(1, 2, { valid: 0x1b7, mode: 0o600, atimeSec: 5, mtimeSec: 6 }),
      T.xattrwalk(1, 2, 8, ''),
      T.xattrwalk(1, 2, 8, 'user.a'),
      T.xattrcreate(1, 6, 'user.b', 4, 0),
      T.write(1, 6, 0, [1, 2, 3, 4]),
      T.readdir(1, 4, 0, 400),
      T.fsync(1, 3, 0),
      T.lock(1, 3, 1, 0, 0, 0, 1, 'host'),
      T.lock(1, 3, 1, 1, 0, 0, 2, 'host'),
      T.getlock(1, 3, 1, 0, 0, 1, 'host'),
      T.link(1, 0, 2, 'second'),
      T.mkdir(1, 0, 'directory', 0o755, 0),
      T.renameat(1, 0, 'file', 1, 'moved'),
      T.unlinkat(1, 0, 'file', 0),
    ],
  },
  ...[false, true].map((unix) => ({
    version: unix ? '9P2000.u' : '9P2000',
    setup: [
      T.version(NOTAG, 8192, unix ? '9P2000.u' : '9P2000'),
      unix ? T.attach(1, 0, NOFID, 'user', '', 0) : Older.attach(1, 0, NOFID, '0', ''),
      ...WALKS,
      Older.open(1, 3, 2),
      Older.open(1, 4, 0),
    ],
    messages: [
      ...COMMON,
      T.version(NOTAG, 8192, unix ? '9P2000.u' : '9P2000'),
      unix ? T.attach(1, 9, NOFID, 'user', 'a/b', 0) : Older.attach(1, 9, NOFID, '0', 'a/b'),
      unix ? T.auth(1, 9, 'user', '', 0) : Older.auth(1, 9, 'user', ''),
      Older.open(1, 5, 0x52),
      Older.open(1, 1, 0),
      T.read(1, 4, 0, 300),
      Older.stat(1, 2),
      Older.stat(1, 10),
      ...(unix ? unixMessages() : plainMessages()),
    ],
  })),
];

function plainMessages(): Uint8Array[] {
  return [
    Older.create(1, 7, 'new', 0o644, 2),
    Older.create(1, 7, 'directory', 0x800001ed, 0),
    Older.wstat(1, 2, { mode: 0o600 }),
    Older.wstat(1, 2, { name: 'renamed' }),
    Older.wstat(1, 2, { length: 3, mtime: 5, gid: '7' }),
    Older.wstat(1, 3, {}),
  ];
}

function unixMessages(): Uint8Array[] {
  return [
    Older.createUnix(1, 7, 'new', 0o644, 2),
    Older.createUnix(1, 7, 'directory', 0x800001ed, 0),
    Older.createUnix(1, 7, 'link', 0x020001ff, 0, '../outside/secret'),
    Older.createUnix(1, 7, 'second', 0x010001a4, 0, '2'),
    Older.createUnix(1, 7, 'device', 0x008001a4, 0, 'c 1 3'),
    Older.createUnix(1, 7, 'fifo', 0x002001a4, 0),
    Older.wstatUnix(1, 2, { mode: 0x000801ed, nUid: 5, nGid: 6 }),
    Older.wstatUnix(1, 2, { name: 'renamed', length: 3 }),
    Older.wstatUnix(1, 3, {}),
  ];
}

/** Another message like this one, or hardly one at all. */
export function mutate(message: Uint8Array, messages: readonly Uint8Array[], random: Random): Uint8Array {
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
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...messages[random(messages.length)].subarray(7)]);
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

const CANARY = 0xa5;
const SLOTS = 64;
export const ROOM_MAX = 512;
const ERROR_TYPES = [7, 107];

/** A place for one request at a time, with canaries around the room of its reply. */
export class Slot {
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

  /** The reply's fields, of a reply of which there is nothing to complain. */
  body(replyBytes: number): Uint8Array {
    return this.#memory.subarray(16 + 7, 16 + replyBytes);
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
    if (!ERROR_TYPES.includes(type) && type !== this.#type + 1) return `type ${type} answers ${this.#type}`;
    return this.#headed && view.getUint16(5, true) !== this.#tag ? 'the tag is wrong' : undefined;
  }
}

/** Sends to one server, and watches what comes back. */
export class Fuzzer {
  readonly #server: Server;
  readonly #random: Random;
  readonly #slots = Array.from({ length: SLOTS }, () => new Slot());
  readonly complaints: string[] = [];
  /** Types of replies that came. */
  readonly types = new Set<number>();
  sent = 0;
  ended = 0;

  constructor(server: Server, random: Random) {
    this.#server = server;
    this.#random = random;
  }

  /** One of the corpus's messages, mutated, into a room of some size; many wait at a time. */
  async sendMutant({ messages }: Corpus): Promise<void> {
    const random = this.#random;
    const message = mutate(messages[random(messages.length)], messages, random);
    if (message.length >= 7 && random(4) !== 0) message[5] = random(100) + 2;
    const room = random(4) === 0 ? random(64) : ROOM_MAX;
    await this.send(message, room, random(3) === 0 ? random(40) : 1000);
  }

  async send(message: Uint8Array, room = ROOM_MAX, cut = 1000): Promise<void> {
    let slot = this.#slots.find(({ busy }) => !busy);
    while (slot === undefined) {
      await new Promise(setImmediate);
      slot = this.#slots.find(({ busy }) => !busy);
    }
    slot.fill(message, room, cut);
    this.sent++;
    this.#server.handle(slot.request, slot.reply, this.#done, slot);
  }

  readonly #done = (slot: Slot, replyBytes: number): void => {
    if (!slot.busy) this.complaints.push('done twice');
    const complaint = slot.complaint(replyBytes);
    if (complaint !== undefined) this.complaints.push(complaint);
    if (replyBytes > 0) this.types.add(slot.replyType);
    this.ended++;
  };

  /** Waits until every request has ended. */
  async quiet(): Promise<void> {
    while (this.ended < this.sent) await new Promise(setImmediate);
  }
}
