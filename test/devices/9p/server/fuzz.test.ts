/** THREATS: protocol arithmetic, leaks on error paths. Messages that were valid before they were mutated, in every dialect. */
import { describe, expect, it } from 'vitest';
import { Server } from '../../../../devices/9p/server/server.js';
import type { MaybePromise } from '../../../../devices/9p/fs/file-system.js';
import { Errno, type Failure } from '../../../../devices/errno.js';
import { CORPORA, Fuzzer, fuzzPlan, randomFrom, type Random } from './support/fuzzer.js';
import { MemoryFileSystem } from './support/memory-file-system.js';

const { messages, seed } = fuzzPlan(200_000);
const MESSAGES_PER_SESSION = 250;
const TIMEOUT_MS = 120_000 + messages;

/** Sometimes later, sometimes failing, but for closing. */
function moods(random: Random): (operation: string) => MaybePromise<Failure | undefined> {
  return (operation) => {
    const mood = random(20);
    if (mood < 5) return Promise.resolve(undefined);
    if (operation === 'close') return undefined;
    if (mood === 5) return -Errno.EACCES;
    return mood === 6 ? Promise.resolve(-Errno.ESTALE) : undefined;
  };
}

/** The same tree for each session. */
function fill(fs: MemoryFileSystem): void {
  fs.root.entries.clear();
  fs.directory('b', fs.directory('a'));
  fs.file('file', 'text');
  fs.make(fs.root, 'symbolic', 0o120777).target = 'file';
  fs.calls.length = 0;
}

describe(`${messages} mutated messages of seed ${seed}`, () => {
  it(
    'each end exactly once, with a well-formed reply or none, and leave nothing behind',
    async () => {
      const random = randomFrom(seed);
      const log: string[] = [];
      const fs = new MemoryFileSystem();
      const server = new Server(fs, {
        maxMsizeBytes: 8192,
        readOnly: false,
        maxFids: 40,
        maxOpenFiles: 10,
        log: (message, error) => log.push(`${message} ${String(error)}`),
      });
      const fuzzer = new Fuzzer(server, random);
      for (let i = 0; i < messages; i++) {
        const corpus = CORPORA[Math.floor(i / MESSAGES_PER_SESSION) % CORPORA.length];
        if (i % MESSAGES_PER_SESSION === 0) {
          await fuzzer.quiet();
          if (random(4) === 0) await server.dropAll();
          fs.before = undefined;
          fs.fillsAttributes = random(2) === 0;
          fill(fs);
          for (const message of corpus.setup) await fuzzer.send(message);
          await fuzzer.quiet();
          expect(server.statistics.fids).toBe(6);
          fs.before = moods(random);
        }
        await fuzzer.sendMutant(corpus);
      }
      await fuzzer.quiet();
      fs.before = undefined;
      await server.dropAll();
      expect(fuzzer.complaints).toEqual([]);
      expect(log).toEqual([]);
      expect([fuzzer.ended, fs.liveNodes, fs.liveFiles, server.statistics.openFiles]).toEqual([
        fuzzer.sent,
        0,
        0,
        0,
      ]);
      expect(fuzzer.sent).toBeGreaterThan(messages);
      // Every message but Tauth gets through at times, so that its handler is reached.
      expect([...fuzzer.types].sort((a, b) => a - b)).toEqual([
        7, 9, 13, 15, 17, 19, 21, 23, 25, 27, 31, 33, 41, 51, 53, 55, 71, 73, 75, 77, 101, 105, 107, 109, 111,
        113, 115, 117, 119, 121, 123, 125, 127,
      ]);
      console.log(`${fuzzer.sent} messages, seed ${seed}`);
    },
    TIMEOUT_MS,
  );
});
