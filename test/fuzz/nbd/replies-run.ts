/**
 * Calls of an NBD client whose server replies with anything, cut anywhere. Right is: a call is replied to once, by a reply that names it; a
 * read succeeds with all of its bytes or not at all; and nothing is written but the memory of reads that wait.
 */
import { NbdCall } from '../../../devices/blk/backends/nbd/nbd-call.js';
import { NbdCommand } from '../../../devices/blk/backends/nbd/protocol.js';
import { ReplyParser } from '../../../devices/blk/backends/nbd/reply-parser.js';
import { u16, u32, u64 } from '../../devices/blk/backends/nbd/nbd-server.js';
import { vectorOver } from '../../devices/blk/support/vectors.js';

export const StepKind = { SIMPLE: 0, DATA: 1, HOLE: 2, NONE: 3, ERROR: 4, RAW: 5, CALL: 6 } as const;
export type StepKind = (typeof StepKind)[keyof typeof StepKind];

const KIND_COUNT = Object.keys(StepKind).length;
const SLOTS = 4;
const LENGTH_BYTES = 64;
/** Of memory that nothing has been written to. Neither data has it, nor data with one bit that is another. */
const UNSET = 0x5a;
const DATA = 0xa5;
const COMMANDS = [NbdCommand.NBD_CMD_READ, NbdCommand.NBD_CMD_READ, NbdCommand.NBD_CMD_WRITE];
const ERRORS = [0, 1, 5, 12, 22, 28, 75, 95, 108, 9999, 0xffffffff];
const LENGTHS = [1, 2, 7, 16, 32, 63, 64, 65, 0, 0xffffffff];
const TYPES = [1, 2, 0x8001, 0x8002, 0x8003, 3, 0x7fff];

/** One call, with its memory between guards. */
class Waiting {
  readonly call = new NbdCall({ replied: () => {} });
  readonly memory = new Uint8Array(3 * LENGTH_BYTES).fill(UNSET);
  readonly isRead: boolean;
  /** Where a server that goes on in order would. */
  nextAt = 0;

  constructor(slot: number, serial: number, command: NbdCommand) {
    this.isRead = command === NbdCommand.NBD_CMD_READ;
    this.call.prepare(command, offsetOf(slot), LENGTH_BYTES);
    // A part of a longer request's memory, as calls of the NBD backend are.
    this.call.vector = vectorOver(this.memory, [LENGTH_BYTES + 7, 9]);
    this.call.vectorOffset = LENGTH_BYTES;
    this.call.encode(slot, serial);
  }

  get own(): Uint8Array {
    return this.memory.subarray(LENGTH_BYTES, 2 * LENGTH_BYTES);
  }

  check(): void {
    const isGuarded = (start: number) =>
      this.memory.subarray(start, start + LENGTH_BYTES).every((byte) => byte === UNSET);
    if (!isGuarded(0) || !isGuarded(2 * LENGTH_BYTES)) throw new Error('memory beside a call was written');
    if (!this.isRead && !isGuarded(LENGTH_BYTES)) throw new Error('what is to be written was overwritten');
  }
}

export class RepliesRun {
  states = 0;
  readonly #saw: (what: number) => void;
  readonly #structured: boolean;
  readonly #piece: number;
  readonly #slots: (Waiting | undefined)[] = new Array<Waiting | undefined>(SLOTS).fill(undefined);
  readonly #all: Waiting[] = [];
  readonly #parser: ReplyParser;
  #serial = 0;
  #problem: string | undefined;

  constructor([structured, piece, commands]: readonly number[], saw: (what: number) => void) {
    this.#saw = saw;
    this.#structured = structured % 3 !== 0;
    this.#piece = piece;
    this.#parser = new ReplyParser(this.#structured, {
      find: (slot, serial) => {
        const call = this.#slots[slot]?.call;
        return call?.serial === serial ? call : undefined;
      },
      replied: (call, result) => this.#replied(call, result),
    });
    for (let slot = 0; slot < SLOTS; slot++) this.#call(slot, commands >> (2 * slot));
  }

  take([kind, a, b, c, d]: readonly number[]): void {
    // After what makes no sense the connection is over.
    if (this.#problem !== undefined) return;
    this.states++;
    const step = this.#sensible(kind % KIND_COUNT, a, b);
    if (step === StepKind.CALL) {
      if (this.#slots[a % SLOTS] === undefined) this.#call(a % SLOTS, b);
      return;
    }
    const bytes = this.#reply(step, a, b, c);
    if (d % 16 === 0) bytes[b % bytes.length] ^= 1 << (c % 8);
    if (d % 16 === 1) this.#feed(bytes.subarray(0, c % bytes.length));
    else this.#feed(bytes);
    for (const waiting of this.#all) waiting.check();
    const ended = this.#problem === undefined ? 0 : 1 + (hashOf(this.#problem) % 61);
    this.#saw(((step * 64 + ended) * 4 + (a % SLOTS)) * 2 + Number(this.#structured));
  }

  /** Mostly what a server may say to the call. */
  #sensible(step: number, a: number, b: number): number {
    const waiting = this.#slots[a % SLOTS];
    if (step === StepKind.CALL || step === StepKind.RAW || b % 32 === 31) return step;
    if (waiting === undefined) return StepKind.CALL;
    if (!this.#structured) return StepKind.SIMPLE;
    if (step === StepKind.SIMPLE && waiting.isRead) return StepKind.DATA;
    return waiting.isRead || step > StepKind.HOLE ? step : StepKind.SIMPLE;
  }

  #call(slot: number, command: number): void {
    const waiting = new Waiting(slot, ++this.#serial, COMMANDS[command % COMMANDS.length]);
    this.#slots[slot] = waiting;
    this.#all.push(waiting);
  }

  #replied(call: NbdCall, result: number): void {
    const waiting = this.#slots[call.slot];
    if (waiting?.call !== call) throw new Error('a call was replied to twice');
    this.#slots[call.slot] = undefined;
    if (!Number.isInteger(result) || result > 0) throw new Error(`a call ended with ${result}`);
    if (waiting.isRead && result === 0 && waiting.own.includes(UNSET))
      throw new Error('a read succeeded without all of its bytes');
    this.#saw(10_000 + -result * 4 + Number(waiting.isRead) * 2 + Number(this.#structured));
  }

  #reply(step: number, a: number, b: number, c: number): Buffer {
    const slot = a % SLOTS;
    // Now and then of the call that was there before, or of none.
    const serial = (this.#slots[slot]?.call.serial ?? 0) - (a % 23 === 22 ? 1 : 0);
    const cookie = Buffer.concat([u32(serial >>> 0), u32(a % 29 === 28 ? SLOTS : slot)]);
    const { nextAt = 0, isRead = false } = this.#slots[slot] ?? {};
    // Mostly as a server should, since whatever else is the end.
    const isInOrder = b % 16 < 13;
    const length = isInOrder
      ? Math.min(LENGTHS[(b >> 4) % 7], LENGTH_BYTES - nextAt)
      : LENGTHS[(b >> 4) % LENGTHS.length];
    const at = offsetOf(slot) + (isInOrder ? nextAt : ((b >> 4) % (LENGTH_BYTES + 3)) - 1);
    const chunk = (type: number, payload: Buffer, isLast = c % 3 === 0 || nextAt + length >= LENGTH_BYTES) =>
      Buffer.concat([u32(0x668e33ef), u16(Number(isLast)), u16(type), cookie, u32(payload.length), payload]);
    switch (step) {
      case StepKind.SIMPLE: {
        const error = c % 3 === 0 ? ERRORS[b % ERRORS.length] : 0;
        const data = Buffer.alloc(isRead && error === 0 ? LENGTH_BYTES : 0, DATA);
        return Buffer.concat([u32(0x67446698), u32(error), cookie, data]);
      }
      case StepKind.DATA:
        this.#goOn(slot, length);
        return chunk(1, Buffer.concat([u64(at), Buffer.alloc(Math.min(length, 100), DATA)]));
      case StepKind.HOLE:
        this.#goOn(slot, length);
        return chunk(2, Buffer.concat([u64(at), u32(length)]));
      case StepKind.NONE:
        return chunk(
          b % 11 === 10 ? TYPES[c % TYPES.length] : 0,
          Buffer.alloc(b % 13 === 12 ? 4 : 0, DATA),
          c % 7 !== 6,
        );
      case StepKind.ERROR: {
        const message = Buffer.alloc([0, 0, 3, 200, 5000][b % 5], 'x');
        const announced = c % 9 === 8 ? message.length + 1 : message.length;
        const offset = b % 2 === 0 ? [] : [u64(at)];
        const payload = Buffer.concat([
          u32(ERRORS[(b >> 3) % ERRORS.length]),
          u16(announced),
          message,
          ...offset,
        ]);
        return chunk(0x8001 + (b % 2) + (c % 17 === 16 ? 5 : 0), payload);
      }
      default:
        return Buffer.from([a, b, c].map((byte) => ((byte & 0xff) === UNSET ? 0 : byte & 0xff)));
    }
  }

  #goOn(slot: number, lengthBytes: number): void {
    const waiting = this.#slots[slot];
    if (waiting !== undefined) waiting.nextAt = Math.min(LENGTH_BYTES, waiting.nextAt + lengthBytes);
  }

  /** In pieces of a length that has nothing to do with replies. */
  #feed(bytes: Buffer): void {
    const length = 1 + (this.#piece % 97);
    for (let at = 0; at < bytes.length && this.#problem === undefined; at += length)
      this.#problem = this.#parser.feed(bytes, at, Math.min(bytes.length, at + length));
  }
}

function offsetOf(slot: number): number {
  return 2 ** 32 - LENGTH_BYTES + 1024 * slot;
}

/** Tells one complaint from another. */
function hashOf(text: string): number {
  return Array.from(text).reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
}
