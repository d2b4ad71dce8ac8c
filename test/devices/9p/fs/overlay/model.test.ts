/** Random changes to an overlay, against the same ones to a plain copy of its lower layer. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Volume } from 'memfs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FileSystem, FsNode } from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { memoryVolume } from '../../../../../devices/9p/fs/node-fs/memory-volume.js';
import type { NodeFsLike } from '../../../../../devices/9p/fs/node-fs/node-fs-like.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { OverlayError, OverlayFs } from '../../../../../devices/9p/fs/overlay/overlay-fs.js';
import { ok } from '../suite/driver.js';
import { describeTree, perform, type Operation } from './trees.js';

const path = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 })
  .map((names) => `/${names.join('/')}`);
const content = fc.string({ maxLength: 4, unit: fc.constantFrom('x', 'y', 'z') });

/** Many directories, so that many paths lead somewhere. */
const making: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('mkdir' as const), path }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('write' as const), path, content }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('symlink' as const), path, target: fc.constant('t') }),
  },
);

const changing: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 2, arbitrary: making },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('append' as const), path, content }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), path, sizeBytes: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('unlink' as const, 'rmdir' as const), path }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('rename' as const), path, to: path }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('link' as const), path, to: path }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('chmod' as const), path, mode: fc.constantFrom(0o700, 0o711) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('xattr' as const), path, value: content }) },
);

const scenario = fc.record({
  start: fc.array(making, { maxLength: 25 }),
  steps: fc.array(changing, { maxLength: 40 }),
});

interface Bench {
  /** Opened anew each time, as after a restart. */
  lower(): Promise<FileSystem>;
  upper(): Promise<FileSystem>;
  plain(): Promise<FileSystem>;
  /** The plain one becomes a copy of the lower one. */
  copyLower(): void;
}

async function using<T>(fs: FileSystem, work: (root: FsNode) => Promise<T>): Promise<T> {
  const root = await ok<FsNode>(fs.attach());
  try {
    return await work(root);
  } finally {
    root.release();
    await fs.close();
  }
}

async function overlayOf(bench: Bench): Promise<OverlayFs> {
  return new OverlayFs(await bench.lower(), await bench.upper());
}

async function describeOf(fs: FileSystem): Promise<string[]> {
  return using(fs, () => describeTree(fs));
}

async function changesIn(overlay: OverlayFs): Promise<string[]> {
  const changes: string[] = [];
  for await (const { kind, path: at, from } of overlay.diff())
    changes.push(`${kind} ${at}${from === undefined ? '' : ` from ${from}`}`);
  return changes;
}

/** Where several errors apply, file systems choose differently. */
function outcome(answer: string): string {
  return /^(EEXIST|EISDIR|ENOTDIR|ENOTEMPTY|EPERM|EINVAL)$/.test(answer) ? 'refused' : answer;
}

/** Does the steps in an overlay and in the plain copy, and expects the same of both all along. */
async function play(bench: Bench, start: readonly Operation[], steps: readonly Operation[]): Promise<void> {
  await using(await bench.lower(), async (root) => {
    for (const operation of start) await perform(root, operation);
  });
  bench.copyLower();
  const overlay = await overlayOf(bench);
  const plain = await bench.plain();
  await using(overlay, async (root) => {
    await using(plain, async (plainRoot) => {
      for (const operation of steps) {
        const expected = outcome(await perform(plainRoot, operation));
        expect(outcome(await perform(root, operation)), JSON.stringify(operation)).toBe(expected);
      }
      expect(await describeTree(overlay)).toEqual(await describeTree(plain));
    });
  });
}

async function expectCommit(bench: Bench): Promise<void> {
  const expected = await describeOf(await bench.plain());
  const again = await overlayOf(bench);
  await using(again, async () => {
    expect(await describeTree(again), 'after a restart').toEqual(expected);
    await again.commit();
    expect(await describeTree(again), 'while mounted').toEqual(expected);
    expect(await changesIn(again)).toEqual([]);
  });
  expect(await describeOf(await bench.lower()), 'the lower layer').toEqual(expected);
}

function inMemory(): Bench & { readonly volumes: Record<'lower' | 'upper' | 'plain', Volume> } {
  const volumes = { lower: new Volume(), upper: new Volume(), plain: new Volume() };
  const open = async (volume: Volume): Promise<FileSystem> => overVolume(memoryVolume(volume));
  return {
    volumes,
    lower: () => open(volumes.lower),
    upper: () => open(volumes.upper),
    plain: () => open(volumes.plain),
    copyLower: () => {
      volumes.plain = Volume.fromJSON({});
      copyVolume(volumes.lower, volumes.plain, '/');
    },
  };
}

/** Modes are the volume's own, so that they outlive the file system over it. */
function overVolume(object: NodeFsLike): NodeFs {
  return new NodeFs(object, { ownership: { uid: 0, gid: 0 } });
}

function copyVolume(from: Volume, to: Volume, at: string): void {
  for (const name of from.readdirSync(at) as string[]) {
    const each = join(at, name);
    const stats = from.lstatSync(each);
    if (stats.isDirectory()) {
      to.mkdirSync(each, { mode: Number(stats.mode) & 0o7777 });
      copyVolume(from, to, each);
    } else if (stats.isSymbolicLink()) {
      to.symlinkSync(from.readlinkSync(each), each);
    } else {
      to.writeFileSync(each, from.readFileSync(each), { mode: Number(stats.mode) & 0o7777 });
    }
  }
}

/** Every function fails from the call `left` on, as if the process had been killed there. */
function dying(object: NodeFsLike, budget: { left: number }): NodeFsLike {
  return new Proxy(object, {
    get: (target, key, receiver) => {
      const value: unknown = Reflect.get(target, key, receiver);
      if (typeof value !== 'function') return value;
      return (...parameters: unknown[]) => {
        const done = parameters.at(-1);
        if (budget.left-- > 0 || typeof done !== 'function')
          return (value as (...all: unknown[]) => unknown).apply(target, parameters);
        queueMicrotask(() =>
          (done as (error: unknown) => void)(Object.assign(new Error('dead'), { code: 'EIO' })),
        );
        return undefined;
      };
    },
  });
}

describe('an overlay of memory over memory', () => {
  it('does what a plain copy of the lower layer does, and commits to the same', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async ({ start, steps }) => {
        const bench = inMemory();
        await play(bench, start, steps);
        await expectCommit(bench);
      }),
      { numRuns: 60 },
    );
  });

  it('shows the lower layer as it was once all is discarded', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async ({ start, steps }) => {
        const bench = inMemory();
        await play(bench, start, steps);
        const before = await describeOf(await bench.lower());
        const overlay = await overlayOf(bench);
        await using(overlay, async () => {
          await overlay.discard();
          expect(await describeTree(overlay)).toEqual(before);
          expect(await changesIn(overlay)).toEqual([]);
        });
        expect(await describeOf(await bench.lower())).toEqual(before);
      }),
      { numRuns: 25 },
    );
  });

  it('loses nothing where a commit is killed, as often as it is, and commits the rest later', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, fc.array(fc.nat(400), { maxLength: 3 }), async ({ start, steps }, kills) => {
        const bench = inMemory();
        await play(bench, start, steps);
        const expected = await describeOf(await bench.plain());
        for (const left of kills) {
          const budget = { left: Number.MAX_SAFE_INTEGER };
          const { lower, upper } = bench.volumes;
          const doomed = new OverlayFs(
            overVolume(dying(memoryVolume(lower), budget)),
            overVolume(dying(memoryVolume(upper), budget)),
          );
          await using(doomed, async () => {
            budget.left = left;
            await doomed.commit().catch((error: unknown) => expect(error).toBeInstanceOf(OverlayError));
            budget.left = Number.MAX_SAFE_INTEGER;
          });
          expect(withoutLinks(await describeOf(await overlayOf(bench)))).toEqual(withoutLinks(expected));
        }
        const last = await overlayOf(bench);
        await using(last, () => last.commit());
        expect(withoutLinks(await describeOf(await bench.lower()))).toEqual(withoutLinks(expected));
      }),
      { numRuns: 50 },
    );
  });
});

describe('a commit that is killed', () => {
  /** Two directories that change places, one that goes into another, a file in place of a directory, and the like. */
  const start: Operation[] = [
    { kind: 'mkdir', path: '/a' },
    { kind: 'mkdir', path: '/b' },
    { kind: 'mkdir', path: '/b/c' },
    { kind: 'write', path: '/a/x', content: 'in a' },
    { kind: 'write', path: '/b/c/y', content: 'in c' },
    { kind: 'write', path: '/z', content: 'z' },
  ];
  const steps: Operation[] = [
    { kind: 'rename', path: '/b/c', to: '/a/c' },
    { kind: 'rename', path: '/a', to: '/t' },
    { kind: 'rename', path: '/b', to: '/a' },
    { kind: 'rename', path: '/t', to: '/b' },
    { kind: 'append', path: '/b/c/y', content: 'changed' },
    { kind: 'unlink', path: '/z' },
    { kind: 'mkdir', path: '/z' },
  ];

  /** Every third call of the layers will do: most do not change anything. */
  const STRIDE = 3;

  it('anywhere leaves the overlay showing the same, and the next one ends it', async () => {
    let isDone = false;
    for (let left = 0; !isDone; left += STRIDE) {
      const bench = inMemory();
      await play(bench, start, steps);
      const expected = await describeOf(await bench.plain());
      const budget = { left: Number.MAX_SAFE_INTEGER };
      const doomed = new OverlayFs(
        overVolume(dying(memoryVolume(bench.volumes.lower), budget)),
        overVolume(dying(memoryVolume(bench.volumes.upper), budget)),
      );
      await using(doomed, async () => {
        budget.left = left;
        isDone = await doomed.commit().then(
          () => true,
          () => false,
        );
        budget.left = Number.MAX_SAFE_INTEGER;
      });
      expect(await describeOf(await overlayOf(bench)), `killed at call ${left}`).toEqual(expected);
      const last = await overlayOf(bench);
      await using(last, () => last.commit());
      expect(await describeOf(await bench.lower()), `killed at call ${left}, and again`).toEqual(expected);
    }
  });
});

describe('an overlay whose process is killed while guests change it', () => {
  it('can be opened again, listed and discarded, and has not touched the lower layer', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, fc.nat(600), async ({ start, steps }, left) => {
        const bench = inMemory();
        await play(bench, start, []);
        const before = await describeOf(await bench.lower());
        const budget = { left: Number.MAX_SAFE_INTEGER };
        const { lower, upper } = bench.volumes;
        const doomed = new OverlayFs(
          overVolume(dying(memoryVolume(lower), budget)),
          overVolume(dying(memoryVolume(upper), budget)),
        );
        await using(doomed, async (root) => {
          budget.left = left;
          for (const operation of steps) await perform(root, operation).catch(() => 'dead');
          budget.left = Number.MAX_SAFE_INTEGER;
        });
        const again = await overlayOf(bench);
        await using(again, async () => {
          await describeTree(again);
          await changesIn(again);
        });
        expect(await describeOf(await bench.lower())).toEqual(before);
        const last = await overlayOf(bench);
        await using(last, () => last.discard());
        expect(await describeOf(await overlayOf(bench))).toEqual(before);
      }),
      { numRuns: 40 },
    );
  });
});

/** Names of one file become files of their own where a commit is killed between them. */
function withoutLinks(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/ = .*$/, '').replace(/^(\S+ \d+) \d+/, '$1'));
}

describe('an overlay of a directory of the host over another', () => {
  let base: string;

  beforeAll(() => {
    base = mkdtempSync(join(tmpdir(), 'overlay-model-'));
  });

  afterAll(() => {
    execFileSync('rm', ['-rf', base]);
  });

  it('does what a plain copy of the lower layer does, and commits to the same', async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async ({ start, steps }) => {
        const at = join(base, `${run++}`);
        for (const each of ['lower', 'upper']) mkdirSync(join(at, each), { recursive: true });
        const bench: Bench = {
          lower: () => HostDirectory.open(join(at, 'lower')),
          upper: () => HostDirectory.open(join(at, 'upper')),
          plain: () => HostDirectory.open(join(at, 'plain')),
          copyLower: () => {
            cpSync(join(at, 'lower'), join(at, 'plain'), { recursive: true, verbatimSymlinks: true });
          },
        };
        await play(bench, start, steps);
        await expectCommit(bench);
      }),
      { numRuns: 25 },
    );
  });
});
