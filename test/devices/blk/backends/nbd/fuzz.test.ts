/** Bytes of a server that were right before they were changed, cut anywhere: nothing throws, and nothing is written but what was asked for. */
import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { NbdHandshake } from '../../../../../devices/blk/backends/nbd/handshake.js';
import { NbdCall } from '../../../../../devices/blk/backends/nbd/nbd-call.js';
import { ReplyParser } from '../../../../../devices/blk/backends/nbd/reply-parser.js';
import { randomFrom, vectorOver } from '../../support/vectors.js';
import { optionReply, u16, u32, u64 } from './nbd-server.js';

const CASES = Number(process.env.NBD_FUZZ_CASES ?? 10_000);
const SEED = Number(process.env.NBD_FUZZ_SEED ?? 1);
const READS = 4;
const LENGTH = 64;
const GUARD = 0x5a;

type Random = (below: number) => number;

/** Flips bits, sets bytes to numbers of interest, repeats and drops parts. */
function mutate(bytes: Buffer, random: Random): Buffer {
  let mutated = Buffer.from(bytes);
  for (let i = random(4); i > 0 && mutated.length > 0; i--) {
    const at = random(mutated.length);
    const length = random(Math.min(24, mutated.length - at) + 1);
    switch (random(4)) {
      case 0:
        mutated[at] ^= 1 << random(8);
        break;
      case 1:
        mutated[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
        break;
      case 2:
        mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(at + length)]);
        break;
      default:
        mutated = Buffer.concat([mutated.subarray(0, at + length), mutated.subarray(at)]);
    }
  }
  return mutated;
}

/** Feeds in pieces of any length until `feed` answers that it is over. */
function inPieces(bytes: Buffer, random: Random, feed: (start: number, end: number) => boolean): void {
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random(random(2) === 0 ? 8 : 200));
    if (feed(at, end)) return;
    at = end;
  }
}

/** Calls under way, with their memory between guards. */
class Calls {
  readonly results: number[] = [];
  readonly memory = new Uint8Array(READS * 2 * LENGTH + LENGTH).fill(GUARD);
  readonly calls: (NbdCall | undefined)[] = [];

  constructor() {
    for (let i = 0; i < READS; i++) {
      const call = new NbdCall({ replied: () => {} });
      // The last one is a write, which no reply has data for.
      call.prepare(i === READS - 1 ? 1 : 0, 1024 * i, LENGTH);
      call.vector = vectorOver(
        this.memory.subarray(LENGTH + 2 * LENGTH * i, 2 * LENGTH + 2 * LENGTH * i),
        [7, 9],
      );
      call.encode(i, i + 1);
      this.calls.push(call);
    }
  }

  find(slot: number, serial: number): NbdCall | undefined {
    const call = this.calls[slot];
    return call?.serial === serial ? call : undefined;
  }

  replied(call: NbdCall, result: number): void {
    if (this.calls[call.slot] !== call) throw new Error('a call was replied to twice');
    this.calls[call.slot] = undefined;
    this.results.push(result);
  }

  get guardsHold(): boolean {
    for (let i = 0; i <= READS; i++) {
      const guard = this.memory.subarray(2 * LENGTH * i, 2 * LENGTH * i + LENGTH);
      if (!guard.every((byte) => byte === GUARD)) return false;
    }
    return true;
  }
}

function replies(structured: boolean, random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < READS; i++) {
    const cookie = Buffer.concat([u32(i + 1), u32(i)]);
    const chunk = (flags: number, type: number, payload: Buffer) =>
      parts.push(
        Buffer.concat([u32(0x668e33ef), u16(flags), u16(type), cookie, u32(payload.length), payload]),
      );
    const at = 1024 * i;
    const isWrite = i === READS - 1;
    if (!structured || isWrite) {
      const error = random(5) === 0 ? 5 : 0;
      const data = isWrite || error !== 0 ? 0 : LENGTH;
      parts.push(Buffer.concat([u32(0x67446698), u32(error), cookie, Buffer.alloc(data, i)]));
      continue;
    }
    const cut = 1 + random(LENGTH - 1);
    chunk(0, 1, Buffer.concat([u64(at + cut), Buffer.alloc(LENGTH - cut, i)]));
    if (random(4) === 0) chunk(0, 0x8002, Buffer.concat([u32(5), u16(1), Buffer.from('x'), u64(at)]));
    if (random(2) === 0) chunk(1, 2, Buffer.concat([u64(at), u32(cut)]));
    else {
      chunk(0, 1, Buffer.concat([u64(at), Buffer.alloc(cut, i)]));
      chunk(1, 0, Buffer.alloc(0));
    }
  }
  return Buffer.concat(parts);
}

describe('replies of a server', () => {
  it(`are taken or refused, ${CASES} of them changed at random`, () => {
    const random = randomFrom(SEED);
    let refused = 0;
    let done = 0;
    for (let i = 0; i < CASES; i++) {
      const calls = new Calls();
      const structured = random(3) > 0;
      const parser = new ReplyParser(structured, calls);
      const bytes = mutate(replies(structured, random), random);
      inPieces(bytes, random, (start, end) => {
        if (parser.feed(bytes, start, end) === undefined) return false;
        refused++;
        return true;
      });
      done += calls.results.filter((result) => result === 0).length;
      if (!calls.guardsHold) throw new Error(`seed ${SEED}, case ${i}: memory beside a read was written`);
      if (calls.results.some((result) => result > 0 || !Number.isInteger(result))) {
        throw new Error(`seed ${SEED}, case ${i}: results ${calls.results.join()}`);
      }
    }
    console.log(`${CASES} streams of replies (seed ${SEED}): ${refused} refused, ${done} calls done`);
    expect(refused).toBeGreaterThan(CASES / 10);
    expect(done).toBeGreaterThan(CASES / 2);
  });
});

describe('handshakes of a server', () => {
  const whole = Buffer.concat([
    Buffer.from('NBDMAGICIHAVEOPT'),
    u16(3),
    optionReply(8, 1, Buffer.alloc(0)),
    optionReply(7, 3, Buffer.concat([u16(1), Buffer.from('name')])),
    optionReply(7, 3, Buffer.concat([u16(0), u64(1 << 20), u16(0x16d)])),
    optionReply(7, 3, Buffer.concat([u16(3), u32(512), u32(4096), u32(1 << 20)])),
    optionReply(7, 1, Buffer.alloc(0)),
    Buffer.from('what comes next'),
  ]);

  it(`lead to an export that makes sense or to an error, ${CASES} of them changed at random`, () => {
    const random = randomFrom(SEED + 1);
    let exports = 0;
    let errors = 0;
    for (let i = 0; i < CASES; i++) {
      let sent = 0;
      const handshake = new NbdHandshake('name', {
        send: (bytes) => (sent += bytes.length),
        done: (info) => {
          exports++;
          const sane =
            info.sizeBytes > 0 &&
            info.sizeBytes % info.minimumBlockBytes === 0 &&
            info.minimumBlockBytes >= 512 &&
            info.maxPayloadBytes >= info.minimumBlockBytes &&
            info.maxPayloadBytes <= 1 << 25;
          if (!sane) throw new Error(`seed ${SEED}, case ${i}: ${JSON.stringify(info)}`);
        },
      });
      const bytes = mutate(whole, random);
      inPieces(bytes, random, (start, end) => {
        try {
          return handshake.feed(bytes, start, end) < end;
        } catch (error) {
          if (!(error instanceof BlockBackendError)) throw error;
          errors++;
          return true;
        }
      });
      expect(sent).toBeLessThan(100);
    }
    console.log(`${CASES} handshakes (seed ${SEED + 1}): ${exports} exports, ${errors} refused`);
    expect(Math.min(exports, errors)).toBeGreaterThan(CASES / 10);
  });
});
