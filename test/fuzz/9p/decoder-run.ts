/** A session of a 9p server into which a case's messages go, and what must hold of it whatever they are. */
import { Server } from '../../../devices/9p/server/server.js';
import type { MaybePromise } from '../../../devices/9p/fs/file-system.js';
import { Errno, type Failure } from '../../../devices/errno.js';
import { CORPORA, ROOM_MAX, Slot, type Corpus } from '../../devices/9p/server/support/fuzzer.js';
import { MemoryFileSystem } from '../../devices/9p/server/support/memory-file-system.js';
import { Fields } from '../../devices/9p/server/support/wire.js';
import { randomFrom, type Random } from '../../support/random.js';
import { mutatedMessage } from './mutated-message.js';
import { checkShape } from './reply-shapes.js';

export const StepKind = {
  /** base, tag, room, cut, and changes to the message. */
  MESSAGE: 0,
  /** The bytes themselves. */
  RAW: 1,
  /** One of the answers that the file system keeps back, which. */
  RELEASE: 2,
  /** All of them. */
  SETTLE: 3,
  /** The transport is gone, and a new session begins. */
  DROP: 4,
  /** Other limits. */
  LIMIT: 5,
} as const;

const MSIZE_BYTES = 8192;
const MAX_FIDS = 40;
const MAX_OPEN_FILES = 10;
const TAGS = 100;
/** Turns of the microtask queue in which all that is not kept back has ended. No request takes more than a few for each name of a walk. */
const TURNS = 400;
/** Turns that pass where nothing has to have ended. */
const FEW_TURNS = 12;
const TVERSION = 100;
const RVERSION = 101;
const RERROR = 107;
const RLERROR = 7;

/** How the file system answers: a bit each. */
const Mood = { WAITS: 1, FAILS: 2, FILLS: 4, BLOCKS: 8, LOCKED: 16, READ_ONLY: 32 } as const;

/** A request under way. */
interface Sent {
  readonly slot: Slot;
  readonly bytes: Uint8Array;
  isOver: boolean;
}

export class DecoderRun {
  sent = 0;
  #ended = 0;
  readonly #fs = new MemoryFileSystem();
  readonly #server: Server;
  readonly #corpus: Corpus;
  readonly #dialect: number;
  readonly #mood: number;
  readonly #random: Random;
  readonly #saw: (what: number) => void;
  readonly #held: (() => void)[] = [];
  readonly #spare: Slot[] = [];
  #isUnix = false;
  /** What is wrong: a server contains what is thrown into it, so that it is kept for the end. */
  #complaint: string | undefined;

  constructor(setup: readonly number[], saw: (what: number) => void) {
    this.#dialect = setup[0] % CORPORA.length;
    this.#mood = setup[1];
    this.#random = randomFrom(setup[2]);
    this.#corpus = CORPORA[this.#dialect];
    this.#saw = saw;
    this.#fs.fillsAttributes = this.#has(Mood.FILLS);
    this.#server = new Server(this.#fs, {
      maxMsizeBytes: MSIZE_BYTES,
      readOnly: this.#has(Mood.READ_ONLY),
      maxFids: MAX_FIDS,
      maxOpenFiles: MAX_OPEN_FILES,
      log: (message, error) => this.#complain(`the server reports: ${message} ${String(error)}`),
    });
    this.#fill();
    this.#begin();
  }

  async take([kind, ...numbers]: readonly number[]): Promise<void> {
    switch (kind) {
      case StepKind.MESSAGE:
        this.#sendMutant(numbers);
        break;
      case StepKind.RAW:
        this.#send(Uint8Array.from(numbers), ROOM_MAX, ROOM_MAX);
        break;
      case StepKind.RELEASE:
        this.#release(numbers[0]);
        await turns(FEW_TURNS);
        break;
      case StepKind.SETTLE:
        while (this.#held.length > 0) {
          this.#release(0);
          await turns(FEW_TURNS);
        }
        break;
      case StepKind.DROP:
        void this.#server.dropAll();
        this.#begin();
        break;
      default:
        this.#server.setLimits({ maxFids: numbers[0] % MAX_FIDS, readOnly: numbers[1] % 2 === 1 });
    }
  }

  /** Drops the session: then every request has ended and all is given back. Throws what is wrong. */
  async finish(): Promise<void> {
    this.#fs.before = undefined;
    let isIdle = false;
    void Promise.resolve(this.#server.dropAll()).then(() => (isIdle = true));
    for (let turn = 0; turn < TURNS && !isIdle; turn++) {
      while (this.#held.length > 0) this.#release(0);
      await turns(1);
    }
    if (this.#complaint !== undefined) throw new Error(this.#complaint);
    if (!isIdle || this.#ended !== this.sent)
      throw new Error(`${this.sent - this.#ended} requests never end (idle: ${isIdle})`);
    const { fids, openFiles } = this.#server.statistics;
    const left = [fids, openFiles, this.#fs.liveNodes, this.#fs.liveFiles];
    if (left.some((count) => count !== 0))
      throw new Error(`fids, open files, nodes and files that are left: ${left.join()}`);
  }

  #has(bit: number): boolean {
    return (this.#mood & bit) !== 0;
  }

  #complain(what: string): void {
    this.#complaint ??= what;
  }

  #fill(): void {
    const fs = this.#fs;
    fs.directory('b', fs.directory('a'));
    const file = fs.file('file', 'text');
    if (this.#has(Mood.BLOCKS)) file.target = 'blocks';
    else if (this.#has(Mood.LOCKED)) file.target = 'locked';
    fs.make(fs.root, 'symbolic', 0o120777).target = 'file';
  }

  /** A new session, with the fids that the messages name. Nothing of it waits or fails. */
  #begin(): void {
    this.#fs.before = undefined;
    for (const message of this.#corpus.setup) this.#send(message, ROOM_MAX, ROOM_MAX);
    if (this.#has(Mood.WAITS) || this.#has(Mood.FAILS))
      this.#fs.before = (operation) => this.#answer(operation);
  }

  #answer(operation: string): MaybePromise<Failure | undefined> {
    const choice = this.#random(24);
    // A lock that waits can be interrupted only once it is asked for.
    if (operation === 'lock') return undefined;
    if (this.#has(Mood.FAILS) && operation !== 'close') {
      if (choice === 0) return -Errno.EACCES;
      if (choice === 1) return Promise.resolve(-Errno.ESTALE);
    }
    if (!this.#has(Mood.WAITS) || choice < 12) return undefined;
    if (choice < 17) return Promise.resolve(undefined);
    return new Promise((resolve) => this.#held.push(() => resolve(undefined)));
  }

  #release(which: number): void {
    if (this.#held.length > 0) this.#held.splice(which % this.#held.length, 1)[0]();
  }

  #sendMutant([base, tag, room, cut, ...changes]: readonly number[]): void {
    const { messages } = this.#corpus;
    const message = mutatedMessage(messages[base % messages.length], messages, tag % TAGS, changes);
    // Most replies have the room that they need, and most messages lie in one piece.
    this.#send(message, room % 4 === 3 ? room % 64 : ROOM_MAX, cut % 4 === 3 ? cut % 48 : ROOM_MAX);
  }

  #send(bytes: Uint8Array, room: number, cut: number): void {
    const slot = this.#spare.pop() ?? new Slot();
    slot.fill(bytes, room, cut);
    this.sent++;
    const sent: Sent = { slot, bytes, isOver: false };
    const before = this.#ended;
    this.#server.handle(slot.request, slot.reply, this.#done, sent);
    if (this.#ended === before) this.#saw(this.#kind(bytes[4], 1));
  }

  readonly #done = (sent: Sent, replyBytes: number): void => {
    const { slot, bytes, isOver } = sent;
    this.#ended++;
    if (isOver) return this.#complain(`a request of type ${bytes[4]} ended twice`);
    sent.isOver = true;
    try {
      this.#check(sent, replyBytes);
    } catch (error) {
      this.#complain(`the answer to type ${bytes[4]}: ${String(error)}`);
    }
    this.#spare.push(slot);
  };

  #check({ slot, bytes }: Sent, replyBytes: number): void {
    const complaint = slot.complaint(replyBytes);
    if (complaint !== undefined) throw new Error(complaint);
    if (replyBytes === 0) return this.#saw(this.#kind(bytes[4], 2));
    const body = slot.body(replyBytes);
    const type = slot.replyType;
    if (bytes[4] === TVERSION && type === RVERSION) this.#isUnix = isUnix(body);
    checkShape(type, body, { type: bytes[4], bytes, unix: this.#isUnix });
    this.#saw(this.#kind(bytes[4], 3 + errorOf(type, body)));
  }

  /** What happened, as a number: in which dialect, to which type of message, and how it ended. */
  #kind(type: number, outcome: number): number {
    const known = this.#corpus.messages.some((message) => message[4] === type) ? type : 0;
    return (this.#dialect * 256 + known) * 1024 + outcome;
  }
}

/** 0 for what is no error; else a number for each error. */
function errorOf(type: number, body: Uint8Array): number {
  if (type === RLERROR) return new Fields(body).number(4);
  return type === RERROR ? 256 + (body.reduce((sum, byte) => sum + byte, 0) % 256) : 0;
}

function isUnix(body: Uint8Array): boolean {
  const fields = new Fields(body);
  fields.number(4);
  return fields.text() === '9P2000.u';
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve();
}
