/** Handshakes that were right before they were changed, cut anywhere: nothing throws but the error that they deserve. What follows a handshake: `npm run fuzz -- nbd-replies`. */
import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { NbdHandshake } from '../../../../../devices/blk/backends/nbd/handshake.js';
import { randomFrom } from '../../../../support/random.js';
import { optionReply, u16, u32, u64 } from './nbd-server.js';

const CASES = Number(process.env.NBD_FUZZ_CASES ?? 10_000);
const SEED = Number(process.env.NBD_FUZZ_SEED ?? 1);

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
