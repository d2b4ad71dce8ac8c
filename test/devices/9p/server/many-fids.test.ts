/** THREATS: exhaustion of descriptors and memory by a guest. */
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Exported, openDescriptors } from '../fs/host-directory/exported.js';
import { Sender } from './support/client.js';
import { Fields, T } from './support/wire.js';
import { IoVector } from '../../../../devices/io-vector.js';

const MILLION = 1_000_000;
const FILES = 1000;
/** Fids that each have a file of their own name for them: memory for each of them is what limits that. */
const TIMEOUT_MS = 120_000;

/** Sends without the checks of `Sender`, which take a hundred times as long as a clone. */
class Quick {
  readonly #sender: Sender;
  readonly #request = new IoVector();
  readonly #reply = new IoVector();
  readonly #replyBytes = new Uint8Array(256);

  constructor(sender: Sender) {
    this.#sender = sender;
    this.#reply.push(this.#replyBytes, 0, 256, 0);
  }

  /** Answers the type of the reply, which must come at once. */
  send(message: Uint8Array): number {
    let replied = 0;
    this.#request.clear();
    this.#request.push(message, 0, message.length, 0);
    this.#sender.server.handle(this.#request, this.#reply, (_token, bytes) => (replied = bytes), undefined);
    return replied === 0 ? 0 : this.#replyBytes[4];
  }

  get errno(): number {
    return this.#replyBytes[4] === 7 ? new Fields(this.#replyBytes.subarray(7)).number(4) : 0;
  }
}

describe('a million fids', () => {
  it(
    'of a thousand files stay under a fixed number of descriptors, work, and past the quota the guest gets EMFILE',
    async () => {
      const exported = await Exported.make({ maxHandles: 64 });
      for (let i = 0; i < FILES; i++) writeFileSync(exported.at(`f${i}`), `content ${i}`);
      const client = new Sender(exported.fs, { maxFids: MILLION, maxOpenFiles: 10 });
      const quick = new Quick(client);
      await client.start();
      const before = openDescriptors();
      const walk = T.walk(1, 0, 0);
      const view = new DataView(walk.buffer);
      for (let i = 1; i <= FILES; i++) await client.ok(T.walk(1, 0, i, `f${i - 1}`));
      let made = 0;
      const heapBefore = process.memoryUsage().heapUsed;
      for (let fid = FILES + 1; fid < MILLION; fid++) {
        view.setUint32(7, 1 + (fid % FILES), true);
        view.setUint32(11, fid, true);
        if (quick.send(walk) === 111) made++;
      }
      const heapBytes = process.memoryUsage().heapUsed - heapBefore;
      console.log(`about ${Math.round(heapBytes / made)} bytes of heap a fid`);
      expect([made, client.server.statistics.fids]).toEqual([MILLION - FILES - 1, MILLION]);
      expect(openDescriptors() - before).toBeLessThanOrEqual(64);
      view.setUint32(11, MILLION, true);
      expect([quick.send(walk), quick.errno]).toEqual([7, Errno.EMFILE]);
      // All of them are alive: any can be looked at, opened and read.
      for (let fid = FILES + 1; fid < MILLION; fid += 99_991) {
        await client.ok(T.getattr(1, fid));
        await client.ok(T.lopen(1, fid, 0));
        const { data } = await client.ok(T.read(1, fid, 0, 100));
        expect(Buffer.from(data).toString()).toBe(`content ${fid % FILES}`);
        await client.ok(T.clunk(1, fid));
      }
      expect(openDescriptors() - before).toBeLessThanOrEqual(64);
      await client.server.dropAll();
      expect(openDescriptors()).toBe(before);
      exported.remove();
    },
    TIMEOUT_MS,
  );
});
