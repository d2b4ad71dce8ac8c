/**
 * A session of a 9p server whose replies are held against models. Requests are under way together where the order in which they are done
 * cannot matter: each lane has a directory, fids and a model of its own, and a request that changes something waits for the lane's others.
 */
import { Server } from '../../../devices/9p/server/server.js';
import { IoVector } from '../../../devices/io-vector.js';
import { Fields, NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { randomFrom } from '../../support/random.js';
import { ATTACH, COMMANDS, FIDS, said } from './commands.js';
import { Delays, DelayedFs } from './delayed-fs.js';
import type { Ground } from './grounds.js';
import { Model, type Outcome } from './model.js';

/** Steps that are no command of `COMMANDS`, whose indices are the kinds before these. */
export const StepKind = {
  /** Tflush of a lane's latest request. */
  FLUSH: 100,
  /** Tversion while others are under way. */
  VERSION: 101,
  /** Lets operations of the file system begin. */
  RELEASE: 102,
  /** The transport is gone while requests are under way. */
  DROP: 103,
} as const;

export const LANES = ['one', 'two', 'three'];
const MSIZE_BYTES = 8192;
const LANE_TAGS = 64;
const FLUSH_TAG = 1000;
/** Most requests of a lane at a time. */
const LANE_REQUESTS = 8;
/** How long nothing may happen. */
const PATIENCE_MS = 20_000;
const RLERROR = 7;

interface Lane {
  readonly model: Model;
  /** Under way are queries only. */
  isShared: boolean;
  underWay: number;
  nextTag: number;
  latest: Sent | undefined;
}

interface Sent {
  readonly bytes: Uint8Array;
  readonly reply: Uint8Array;
  /** Undefined for Tversion and Tflush. */
  readonly lane: Lane | undefined;
  readonly kind: number;
  readonly outcome: Outcome;
  /** Those that have to have ended before it. */
  readonly after: readonly Sent[];
  isOver: boolean;
  /** Its session is gone: it ends without a reply. */
  isVoid: boolean;
}

export class SequenceRun {
  sent = 0;
  readonly #ground: Ground;
  readonly #groundNumber: number;
  readonly #server: Server;
  readonly #delays: Delays;
  readonly #waits: boolean;
  readonly #saw: (what: number) => void;
  readonly #underWay = new Set<Sent>();
  #lanes: Lane[];
  #complaint: string | undefined;

  constructor(ground: Ground, setup: readonly number[], groundNumber: number, saw: (what: number) => void) {
    this.#ground = ground;
    this.#groundNumber = groundNumber;
    this.#waits = setup[1] % 2 === 1;
    this.#saw = saw;
    this.#delays = new Delays(randomFrom(setup[2]));
    this.#server = new Server(new DelayedFs(ground.fs, this.#delays), {
      maxMsizeBytes: MSIZE_BYTES,
      readOnly: false,
      maxFids: 1000,
      maxOpenFiles: 100,
      log: (message, error) => this.#complain(`the server reports: ${message} ${String(error)}`),
    });
    this.#lanes = LANES.map((name, i) => ({
      model: new Model(ground.rules, i * FIDS, `${ground.path}${name}`),
      isShared: true,
      underWay: 0,
      nextTag: 0,
      latest: undefined,
    }));
  }

  /** Begins a session: each lane's first fid is its directory. */
  start(): void {
    this.#version();
    this.#delays.isOn = this.#waits;
  }

  async take([kind, ...numbers]: readonly number[]): Promise<void> {
    const lane = this.#lanes[numbers[0] % LANES.length];
    switch (kind) {
      case StepKind.FLUSH:
        return this.#flush(lane);
      case StepKind.VERSION:
        return this.#version();
      case StepKind.RELEASE:
        this.#delays.release(numbers[0]);
        return turns();
      case StepKind.DROP:
        return this.#drop();
      default:
        return this.#command(lane, kind % COMMANDS.length, numbers.slice(1));
    }
  }

  /** Throws what was wrong. */
  async finish(): Promise<void> {
    await this.#settle(() => this.#underWay.size === 0);
    await this.#dropAll();
    if (this.#complaint !== undefined) throw new Error(this.#complaint);
    const { fids, openFiles } = this.#server.statistics;
    const left = this.#ground.end();
    if (fids + openFiles > 0 || left !== '')
      throw new Error(`left are ${fids} fids, ${openFiles} open files; ${left}`);
  }

  #complain(what: string): void {
    this.#complaint ??= what;
  }

  async #command(lane: Lane, kind: number, numbers: readonly number[]): Promise<void> {
    const isQuery = COMMANDS[kind].isQuery === true;
    const mayGo = (): boolean =>
      lane.underWay === 0 || (lane.isShared && isQuery && lane.underWay < LANE_REQUESTS);
    if (!mayGo()) await this.#settle(mayGo);
    this.#issue(lane, kind, numbers);
  }

  #issue(lane: Lane, kind: number, numbers: readonly number[]): void {
    const { make, isQuery } = COMMANDS[kind];
    const { bytes, outcome } = make(lane.model, numbers);
    lane.isShared = isQuery === true;
    lane.underWay++;
    lane.latest = this.#send(
      bytes,
      lane.model.base * LANE_TAGS + (lane.nextTag++ % LANE_TAGS),
      kind,
      outcome,
      [],
      lane,
    );
  }

  #flush(lane: Lane): void {
    const { latest } = lane;
    if (latest === undefined || latest.isVoid) return;
    const oldtag = latest.bytes[5] | (latest.bytes[6] << 8);
    // Of those before it only the one that it names has to have ended.
    const after = latest.isOver ? [] : [latest];
    this.#send(T.flush(0, oldtag), FLUSH_TAG + (this.sent % 1000), StepKind.FLUSH, { says: null }, after);
  }

  /** Ends all that is under way, and all fids; what follows is sent at once, and waits its turn in the server. */
  #version(): void {
    const bytes = T.version(0, MSIZE_BYTES, '9P2000.L');
    this.#send(bytes, NOTAG, StepKind.VERSION, { says: null }, [...this.#underWay]);
    for (const lane of this.#lanes) {
      lane.model.fids.clear();
      this.#issue(lane, ATTACH, [0]);
    }
  }

  async #drop(): Promise<void> {
    for (const sent of this.#underWay) sent.isVoid = true;
    await this.#dropAll();
    this.#version();
  }

  async #dropAll(): Promise<void> {
    let isIdle = false;
    void Promise.resolve(this.#server.dropAll()).then(() => (isIdle = true));
    await this.#settle(() => isIdle && this.#underWay.size === 0);
  }

  /** Lets operations begin until it is so. */
  async #settle(isSo: () => boolean): Promise<void> {
    const endMs = performance.now() + PATIENCE_MS;
    await turns();
    while (!isSo()) {
      const isHeld = this.#delays.held > 0;
      this.#delays.release(this.sent);
      await turns();
      if (isHeld || isSo()) continue;
      if (performance.now() > endMs)
        throw new Error(
          `${this.#underWay.size} requests never end, of types ${[...this.#underWay].map(({ bytes }) => bytes[4]).join()}`,
        );
      await new Promise(setImmediate);
    }
  }

  #send(
    bytes: Uint8Array,
    tag: number,
    kind: number,
    outcome: Outcome,
    after: readonly Sent[],
    lane?: Lane,
  ): Sent {
    new DataView(bytes.buffer).setUint16(5, tag, true);
    const [request, reply] = [new IoVector(), new IoVector()];
    const sent: Sent = {
      bytes,
      reply: new Uint8Array(MSIZE_BYTES),
      lane,
      kind,
      outcome,
      after,
      isOver: false,
      isVoid: false,
    };
    request.push(bytes, 0, bytes.length, 0);
    reply.push(sent.reply, 0, MSIZE_BYTES, 0);
    this.sent++;
    this.#underWay.add(sent);
    this.#server.handle(request, reply, this.#done, sent);
    return sent;
  }

  readonly #done = (sent: Sent, replyBytes: number): void => {
    const { lane, bytes, kind } = sent;
    if (sent.isOver) return this.#complain(`a request of type ${bytes[4]} ended twice`);
    sent.isOver = true;
    this.#underWay.delete(sent);
    if (lane !== undefined) lane.underWay--;
    if (sent.isVoid) {
      if (replyBytes !== 0) this.#complain(`a request of type ${bytes[4]} was answered after its session`);
      return;
    }
    const late = sent.after.find(({ isOver }) => !isOver);
    if (late !== undefined) this.#complain(`type ${bytes[4]} was answered before type ${late.bytes[4]}`);
    const errno = this.#compare(sent, replyBytes);
    this.#saw(((this.#groundNumber * 128 + kind) * 2 + Math.min(this.#underWay.size, 1)) * 256 + errno);
  };

  /** Compares the reply with what the model says of it; answers its errno. */
  #compare({ bytes, reply, outcome }: Sent, replyBytes: number): number {
    const fields = new Fields(reply.subarray(0, replyBytes));
    if (replyBytes < 7 || fields.number(4) !== replyBytes) {
      this.#complain(`a reply to type ${bytes[4]} of ${replyBytes} bytes`);
      return 0;
    }
    const type = fields.number(1);
    const tag = fields.number(2);
    const answer: Outcome = type === RLERROR ? fields.number(4) : { says: said(type, fields) };
    if (tag !== (bytes[5] | (bytes[6] << 8))) this.#complain(`a reply to type ${bytes[4]} with tag ${tag}`);
    const [is, ought] = [JSON.stringify(answer), JSON.stringify(outcome)];
    if (is !== ought)
      this.#complain(`type ${bytes[4]} (${bytes.subarray(7).join()}) says ${is}, and ought to say ${ought}`);
    return typeof answer === 'number' ? answer : 0;
  }
}

/** Turns of the microtask queue: an operation of a file system that answers at once is over by then. */
async function turns(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}
