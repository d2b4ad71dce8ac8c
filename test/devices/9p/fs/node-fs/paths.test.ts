/** THREATS rows 1 and 2 for objects that look paths up themselves: what they are asked for stays below the root, link-free. */
import * as nodeFs from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { createFsFromVolume, Volume, type IFs } from 'memfs';
import { describe, expect, it } from 'vitest';
import { isFailure } from '../../../../../devices/errno.js';
import {
  Attributes,
  OpenFlag,
  SetAttr,
  type Created,
  type FsNode,
  type MaybePromise,
} from '../../../../../devices/9p/fs/file-system.js';
import { NodeFs, type NodeFsLike } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { attributesOf, changes, contentOf, failure, ok, self, text, vector } from '../suite/driver.js';

/** Functions whose first argument, or first two, are paths. */
const ONE_PATH = 'lstat readdir open mkdir rmdir unlink readlink chmod lchown lutimes utimes statfs'.split(
  ' ',
);
const TWO_PATHS = ['rename', 'link'];

/** A generator of numbers that repeats itself from run to run (mulberry32). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/**
 * Passes calls on to memfs after some turns of the event loop, as a thread pool would, and notes each path that leaves the root
 * or passes through a symbolic link at the moment when it is looked up.
 */
function slowAndWatched(target: IFs, root: string, pick: (below: number) => number): [NodeFsLike, string[]] {
  const offences: string[] = [];
  const check = (call: string, path: string, followsLast: boolean) => {
    if (path !== posix.normalize(path) || !(path === root || path.startsWith(`${root}/`)))
      offences.push(`${call} ${path}`);
    const parts = path.split('/');
    const length = followsLast ? parts.length : parts.length - 1;
    for (let i = 2; i <= length; i++) {
      const above = parts.slice(0, i).join('/');
      const stats = target.lstatSync(above, { throwIfNoEntry: false });
      if (stats?.isSymbolicLink() === true) offences.push(`${call} ${path} through ${above}`);
    }
  };
  const later = (turns: number, work: () => void): void => {
    if (turns === 0) work();
    else setImmediate(later, turns - 1, work);
  };
  const object = new Proxy(target, {
    get(fs, property: string) {
      const value: unknown = Reflect.get(fs, property);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        later(pick(12), () => {
          const paths = ONE_PATH.includes(property) ? 1 : TWO_PATHS.includes(property) ? 2 : 0;
          const follows = ['chmod', 'utimes', 'readdir', 'statfs'].includes(property);
          for (let i = 0; i < paths; i++) check(property, String(args[i]), follows);
          if (property === 'symlink') check(property, String(args[1]), false);
          Reflect.apply(value, fs, args);
        });
      };
    },
  });
  return [object, offences];
}

describe('a guest that puts links in the place of directories while other requests are under way', () => {
  const TREE = {
    '/outside/b/f': 'not for guests',
    '/outside/f': 'not for guests',
    '/export/a/b/f': 'harmless',
  };
  const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC } = OpenFlag;

  async function openAndClose(opening: ReturnType<FsNode['open']>): Promise<void> {
    const file = await opening;
    if (isFailure(file)) return;
    await file.readdir(0, { entry: () => true });
    await file.close();
  }

  async function createAndClose(directory: FsNode): Promise<void> {
    const created = await directory.create('made', O_CREAT | O_RDWR, 0o600, self);
    if (isFailure(created)) return;
    await created.file.write(0, vector(text('made')));
    await created.file.close();
    created.node.release();
  }

  async function releaseMade(making: MaybePromise<FsNode | number>): Promise<void> {
    const made = await making;
    if (typeof made !== 'number') made.release();
  }

  /** What is tried below the directories that are swapped: `b` is a directory, `f` a file in it. */
  const requests: ((b: FsNode, f: FsNode) => MaybePromise<unknown>)[] = [
    (b) => releaseMade(b.walk('f')),
    (b) => createAndClose(b),
    (b) => releaseMade(b.mkdir('d', 0o755, self)),
    (b) => releaseMade(b.symlink('s', 'x', self)),
    (b) => b.unlink('f', false),
    (b) => b.rename('f', b, 'g'),
    (b, f) => b.link('l', f),
    (b) => openAndClose(b.open(O_RDONLY)),
    (_b, f) => openAndClose(f.open(O_RDWR | O_TRUNC)),
    (_b, f) => f.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 1 })),
    (_b, f) => f.setattr(changes(SetAttr.P9_ATTR_MODE | SetAttr.P9_ATTR_MTIME, { mode: 0o600 })),
    (_b, f) => f.remove(),
    (_b, f) => f.getattr(new Attributes()),
  ];

  async function swap(directory: FsNode, name: string): Promise<void> {
    await directory.rename(name, directory, 'moved');
    await releaseMade(directory.symlink(name, '/outside', self));
  }

  it('never leads the object through a link or out of the root', async () => {
    const pick = generator(7);
    for (let round = 0; round < 300; round++) {
      const volume = Volume.fromJSON(TREE);
      const before = JSON.stringify(volume.toJSON('/outside'));
      const [object, offences] = slowAndWatched(createFsFromVolume(volume), '/export', pick);
      const root = await ok<FsNode>(new NodeFs(object, { root: '/export', ownership: 'kept' }).attach());
      const a = await ok<FsNode>(root.walk('a'));
      const b = await ok<FsNode>(a.walk('b'));
      const f = await ok<FsNode>(b.walk('f'));
      const tried = Array.from({ length: 4 }, () => requests[pick(requests.length)](b, f));
      const swapped = pick(2) === 0 ? swap(root, 'a') : swap(a, 'b');
      const late = Array.from({ length: 4 }, () => requests[pick(requests.length)](b, f));
      await Promise.all([...tried, swapped, ...late]);
      expect(offences).toEqual([]);
      expect(JSON.stringify(volume.toJSON('/outside'))).toBe(before);
      for (const node of [f, b, a, root]) node.release();
    }
  });
});

describe('a request that the object has not got to yet', () => {
  it('is done before the directory in its path can make way for a link', async () => {
    const volume = Volume.fromJSON({ '/outside/f': 'not for guests', '/export/a/f': 'harmless' });
    const target = createFsFromVolume(volume);
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    const object: NodeFsLike = Object.assign(Object.create(target) as NodeFsLike, {
      open: (...args: Parameters<NodeFsLike['open']>) => {
        void held.then(() => {
          target.open(...args);
        });
      },
    });
    const root = await ok<FsNode>(new NodeFs(object, { root: '/export' }).attach());
    const a = await ok<FsNode>(root.walk('a'));
    const creating = a.create('made', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o644, self);
    const swapped = Promise.resolve(root.rename('a', root, 'b')).then(() =>
      root.symlink('a', '/outside', self),
    );
    // Time enough for the swap, were it not held back.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    letGo();
    const { node, file } = await ok<Created>(creating);
    (await ok<FsNode>(swapped)).release();
    expect(volume.readdirSync('/outside')).toEqual(['f']);
    expect(volume.readdirSync('/export/b')).toEqual(['f', 'made']);
    await file.close();
    for (const each of [node, a, root]) each.release();
  });
});

describe('over node:fs', () => {
  it('links out of the root lead nowhere, and FIFOs are not opened', async () => {
    const base = nodeFs.mkdtempSync(join(tmpdir(), 'node-fs-'));
    nodeFs.mkdirSync(join(base, 'export'));
    nodeFs.writeFileSync(join(base, 'secret'), 'not for guests');
    nodeFs.symlinkSync('..', join(base, 'export', 'up'));
    nodeFs.symlinkSync('../secret', join(base, 'export', 'secret'));
    execFileSync('mkfifo', [join(base, 'export', 'fifo')]);
    const fs = new NodeFs(nodeFs, { root: join(base, 'export') });
    const root = await ok<FsNode>(fs.attach());
    const up = await ok<FsNode>(root.walk('up'));
    expect(await failure(up.walk('secret'))).toBe('ENOTDIR');
    expect(await failure(up.create('made', OpenFlag.O_CREAT, 0o644, self))).toBe('ENOTDIR');
    const secret = await ok<FsNode>(root.walk('secret'));
    expect(await failure(secret.open(OpenFlag.O_RDONLY))).toBe('ELOOP');
    const fifo = await ok<FsNode>(root.walk('fifo'));
    expect(await failure(fifo.open(OpenFlag.O_RDONLY))).toBe('ENXIO');
    expect(await failure(fifo.open(OpenFlag.O_RDWR))).toBe('ENXIO');
    for (const node of [up, secret, fifo, root]) node.release();
    nodeFs.rmSync(base, { recursive: true });
  });

  it('a file that the host exchanges for a link is not followed', async () => {
    const base = nodeFs.mkdtempSync(join(tmpdir(), 'node-fs-'));
    nodeFs.mkdirSync(join(base, 'export'));
    nodeFs.writeFileSync(join(base, 'secret'), 'not for guests');
    nodeFs.writeFileSync(join(base, 'export', 'f'), 'harmless');
    const fs = new NodeFs(nodeFs, { root: join(base, 'export') });
    const root = await ok<FsNode>(fs.attach());
    const node = await ok<FsNode>(root.walk('f'));
    expect(await contentOf(node)).toBe('harmless');
    nodeFs.rmSync(join(base, 'export', 'f'));
    nodeFs.symlinkSync('../secret', join(base, 'export', 'f'));
    expect(await failure(node.open(OpenFlag.O_RDWR | OpenFlag.O_TRUNC))).toBe('ESTALE');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_SIZE, {})))).toBe('ESTALE');
    expect(await failure(node.getattr(await attributesOf(root)))).toBe('ESTALE');
    expect(await failure(node.remove())).toBe('ESTALE');
    expect(nodeFs.readFileSync(join(base, 'secret'), 'utf8')).toBe('not for guests');
    node.release();
    root.release();
    nodeFs.rmSync(base, { recursive: true });
  });
});
