/**
 * THREATS: escape from an export, exhaustion of descriptors, leaks on error paths. Mutated messages over a directory of the host:
 * whatever a guest sends, nothing outside changes and no descriptor stays open.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Server } from '../../../../devices/9p/server/server.js';
import { Exported, openDescriptors } from '../fs/host-directory/exported.js';
import { CORPORA, Fuzzer, fuzzPlan, randomFrom } from './support/fuzzer.js';

const { messages, seed } = fuzzPlan(20_000);
const MESSAGES_PER_SESSION = 300;
const TIMEOUT_MS = 120_000 + messages;
/** Tfsync waits for the disk, which is not what is tried here. */
const TFSYNC = 50;

describe(`${messages} mutated messages of seed ${seed} over a directory of the host`, () => {
  it.each([4096, 1])(
    'change nothing outside, and leak no descriptor (of %d at most)',
    async (maxHandles) => {
      const random = randomFrom(seed);
      const log: string[] = [];
      const exported = await Exported.make({ maxHandles });
      const server = new Server(exported.fs, {
        maxMsizeBytes: 8192,
        readOnly: false,
        maxFids: 40,
        maxOpenFiles: 10,
        log: (message, error) => log.push(`${message} ${String(error)}`),
      });
      const corpora = CORPORA.map((corpus) => ({
        ...corpus,
        messages: corpus.messages.filter((message) => message[4] !== TFSYNC),
      }));
      const fuzzer = new Fuzzer(server, random);
      const outside = exported.describeOutside();
      const before = openDescriptors();
      for (let i = 0; i < messages / 2; i++) {
        const session = Math.floor(i / MESSAGES_PER_SESSION);
        const corpus = corpora[session % corpora.length];
        if (i % MESSAGES_PER_SESSION === 0) {
          await server.dropAll();
          await fuzzer.quiet();
          expect([openDescriptors(), exported.describeOutside()]).toEqual([before, outside]);
          renew(exported);
          for (const message of corpus.setup) await fuzzer.send(message);
          expect(server.statistics.fids).toBe(6);
        }
        await fuzzer.sendMutant(corpus);
      }
      await server.dropAll();
      await fuzzer.quiet();
      expect(fuzzer.complaints).toEqual([]);
      expect(log).toEqual([]);
      expect([fuzzer.ended, openDescriptors(), server.statistics.openFiles]).toEqual([
        fuzzer.sent,
        before,
        0,
      ]);
      expect(exported.describeOutside()).toBe(outside);
      console.log(`${fuzzer.sent} messages, seed ${seed}`);
      clear(exported);
      exported.remove();
    },
    TIMEOUT_MS,
  );
});

/** Removes what a session left, whatever permissions it gave that. */
function clear(exported: Exported): void {
  execFileSync('chmod', ['-R', 'u+rwx', exported.path]);
  execFileSync('find', [exported.path, '-mindepth', '1', '-delete']);
}

function renew(exported: Exported): void {
  clear(exported);
  mkdirSync(exported.at('a'));
  mkdirSync(exported.at('a', 'b'));
  writeFileSync(exported.at('file'), 'text');
  symlinkSync('../outside', exported.at('symbolic'));
}
