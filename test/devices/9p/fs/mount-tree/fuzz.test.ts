/** Mutated messages to a child of a tree, which is taken away while they are under way. */
import { expect, it } from 'vitest';
import { Errno, isFailure, type Failure } from '../../../../../devices/errno.js';
import type { FileSystem, FsNode, MaybePromise } from '../../../../../devices/9p/fs/file-system.js';
import { MountTree } from '../../../../../devices/9p/fs/mount-tree/mount-tree.js';
import { Server } from '../../../../../devices/9p/server/server.js';
import { CORPORA, Fuzzer, fuzzPlan, randomFrom, type Random } from '../../server/support/fuzzer.js';
import { WatchedFileSystem } from './support.js';

const { messages, seed } = fuzzPlan(30_000);
const MESSAGES_PER_SESSION = 250;

/** Attaches to the tree's child, as a client does that names it in its attach. */
class AtChild implements FileSystem {
  readonly tree: MountTree;

  constructor(tree: MountTree) {
    this.tree = tree;
  }

  attach(): MaybePromise<FsNode | Failure> {
    return this.tree.attach().walk('child');
  }

  close(): Promise<void> {
    return this.tree.close();
  }
}

function newChild(random: Random): WatchedFileSystem {
  const fs = new WatchedFileSystem();
  fs.fillsAttributes = random(2) === 0;
  fs.directory('b', fs.directory('a'));
  fs.file('file', 'text');
  fs.make(fs.root, 'symbolic', 0o120777).target = 'file';
  return fs;
}

it(
  `${messages} mutated messages of seed ${seed}, to children that go at any time, leave nothing behind`,
  async () => {
    const random = randomFrom(seed);
    const log: string[] = [];
    const options = {
      maxMsizeBytes: 8192,
      readOnly: false,
      maxFids: 40,
      maxOpenFiles: 10,
      log: (message: string, error?: unknown) => log.push(`${message} ${String(error)}`),
    };
    const tree = new MountTree(options);
    const server = new Server(new AtChild(tree), options);
    const fuzzer = new Fuzzer(server, random);
    const children: WatchedFileSystem[] = [];
    for (let i = 0; i < messages; i++) {
      const corpus = CORPORA[Math.floor(i / MESSAGES_PER_SESSION) % CORPORA.length];
      if (i % MESSAGES_PER_SESSION === 0) {
        await fuzzer.quiet();
        if (tree.entry('child') !== undefined) tree.remove('child');
        const fs = newChild(random);
        children.push(fs);
        tree.add('child', fs, { readOnly: random(4) === 0 });
        for (const message of corpus.setup) await fuzzer.send(message);
        await fuzzer.quiet();
        fs.before = (operation) => {
          const mood = random(20);
          if (mood < 5) return new Promise((resolve) => setImmediate(() => resolve(undefined)));
          return mood === 5 && operation !== 'close' ? -Errno.EACCES : undefined;
        };
      }
      await fuzzer.sendMutant(corpus);
      if (random(200) === 0 && tree.entry('child') !== undefined) tree.remove('child');
    }
    await fuzzer.quiet();
    await server.close();
    expect(fuzzer.complaints).toEqual([]);
    expect(log).toEqual([]);
    expect(fuzzer.ended).toBe(fuzzer.sent);
    const left = children.filter(
      ({ closes, heldAtClose, liveNodes, liveFiles }) =>
        closes !== 1 || heldAtClose + liveNodes + liveFiles > 0,
    );
    expect(left).toEqual([]);
    expect(isFailure(await new AtChild(tree).attach())).toBe(true);
  },
  120_000 + messages,
);
