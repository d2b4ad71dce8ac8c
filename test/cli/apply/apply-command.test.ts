import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Chassis, Mount } from '../../../manager/control/api.js';
import { CHASSIS, TestDaemon } from '../../support/daemon.js';

interface Applied {
  readonly manifest: string;
  readonly drift: boolean;
  readonly plan: { readonly action: string; readonly kind: string; readonly name: string }[];
  readonly done: { readonly operation: string }[];
}

/** A busy machine starts the command line slowly. */
describe('chassis apply', { timeout: 180_000 }, () => {
  let daemon: TestDaemon;
  /** What mounts show stays, so that one test can go on from another. */
  let root: string;
  let count = 0;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'chassis-apply-'));
    daemon = await TestDaemon.start();
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
    rmSync(root, { recursive: true });
  });

  /** A manifest in a folder of its own, with a directory `src`. */
  function manifest(text: string): string {
    const folder = join(root, String(count++));
    mkdirSync(join(folder, 'src'), { recursive: true });
    writeFileSync(join(folder, 'chassis.yaml'), text);
    return join(folder, 'chassis.yaml');
  }

  it('says as JSON what it plans and does, and nothing the second time', async () => {
    const path = manifest(
      'name: one\nchassis: {one: {slots: 2, mounts: {src: {source: src, readOnly: true}}}}\n',
    );
    const applied = await daemon.json<Applied>('apply', '-f', path);
    expect({ ...applied, durationMs: 0, done: applied.done.map(({ operation }) => operation) }).toEqual({
      ...{ manifest: 'one', drift: true, durationMs: 0 },
      plan: [
        {
          ...{ action: 'add', kind: 'chassis', chassis: 'one', name: 'one', notes: [] },
          at: { file: path, line: 2, column: 11 },
          differences: [{ what: 'slots', to: 2 }],
        },
        {
          ...{ action: 'add', kind: 'mount', chassis: 'one', name: 'src', notes: [] },
          at: { file: path, line: 2, column: 36 },
          differences: [
            { what: 'source', to: { type: 'directory', path: join(path, '..', 'src') } },
            { what: 'readOnly', to: true },
          ],
        },
      ],
      done: ['create chassis one', 'attach src to one'],
    });
    expect(await daemon.json<Applied>('apply', '-f', path)).toMatchObject({ drift: false, done: [] });
    const { mounts, managedBy } = await daemon.json<Chassis>('show', 'one');
    expect([managedBy, mounts[0].managedBy]).toEqual(['one', 'one']);
  });

  it('tells drift by its exit code, and changes nothing in a dry run', async () => {
    const path = manifest('chassis: {one: {mounts: {other: {source: src}}}}\n');
    const { exitCode, stdout } = await daemon.cli('apply', '-f', path, '--dry-run');
    expect([exitCode, stdout.split('\n').at(-1)]).toEqual([8, '1 to add, 1 as wanted']);
    expect((await daemon.json<{ mounts: Mount[] }>('mounts')).mounts).toHaveLength(1);
  });

  it('undoes what it began where a step fails, and says which it was and where', async () => {
    const path = manifest(
      'chassis:\n  two: {mounts: {a: {source: src, target: /a}}, disks: {d: {source: src}}, cards: {c: {network: {type: tap, interface: nosuchtap}}}}\n  one: {mounts: {b: {source: src}}}\n',
    );
    const before = await daemon.json<Chassis>('show', 'one');
    const { code, message, exitCode, ...details } = await daemon.failure('apply', '-f', path);
    expect([code, exitCode]).toEqual(['SOURCE_NOT_DISK', 2]);
    expect(message).toMatch(
      /chassis\.yaml:2:57: cannot add disk d to two: .*\nwhat was begun is undone \(2 steps\)$/,
    );
    expect(details).toMatchObject({
      undone: ['detach a from two', 'remove chassis two'],
      notUndone: [],
      lost: [],
    });
    expect(await daemon.json('list')).toMatchObject({ chassis: [{ name: 'one' }] });
    expect((await daemon.json<Chassis>('show', 'one')).mounts).toEqual(before.mounts);
  });

  it('is interrupted by Ctrl-C after the step that is under way, and undoes what it did', async () => {
    const mounts = Array.from({ length: 200 }, (_, i) => `    m${i}: {source: src, via: tree}`).join('\n');
    const path = manifest(`chassis:\n  stopped:\n   mounts:\n${mounts}\n`);
    const apply = execa(process.execPath, [CHASSIS, 'apply', '-f', path, '--dir', daemon.directory], {
      reject: false,
    });
    let isAsked = false;
    for await (const line of apply.iterable()) {
      if (!isAsked && /^attach /.test(line)) apply.kill('SIGINT');
      isAsked ||= /^attach /.test(line);
    }
    const { exitCode, stdout, stderr } = await apply;
    expect([exitCode, stderr]).toEqual([
      130,
      expect.stringMatching(/interrupted[^]*what was begun is undone \(\d+/) as string,
    ]);
    expect(stdout).toMatch(/^undoing: detach m0 from stopped /m);
    expect(stdout).not.toContain('attach m199');
    expect(await daemon.json('list')).toMatchObject({ chassis: [{ name: 'one' }] });
  });

  it('refuses before it begins what is not for it to change', async () => {
    const path = manifest('chassis: {one: {slots: 3, mounts: {src: {source: src}}}}\n');
    const { code, exitCode, message } = await daemon.failure('apply', '-f', path);
    expect([code, exitCode]).toEqual(['PLAN_BLOCKED', 5]);
    expect(message.split('\n').map((line) => line.replace(/^.*chassis\.yaml/, ''))).toEqual([
      ':1:11: chassis one: one has 2 slots, which cannot be changed while it is there',
      ':1:36: mount src: it is of another manifest: one',
      'nothing was changed',
    ]);
  });

  it('reads standard input, which needs a name, and tells what is wrong with it', async () => {
    const apply = (input: string) =>
      execa(process.execPath, [CHASSIS, 'apply', '-f', '-', '--json', '--dir', daemon.directory], {
        ...{ input, reject: false },
      });
    const text = (await daemon.cli('show', 'one', '--manifest')).stdout;
    expect(JSON.parse((await apply(text)).stdout)).toMatchObject({
      error: { code: 'MANIFEST_INVALID', suggestion: 'add a line to it: name: NAME' },
    });
    expect(JSON.parse((await apply(`name: one\n${text}`)).stdout)).toMatchObject({ drift: false });
    const { stdout, exitCode } = await apply('chassis: {one: {mount: {}}}\n');
    expect(exitCode).toBe(2);
    expect((JSON.parse(stdout) as { error: object }).error).toMatchObject({
      problems: [{ file: '-', line: 1, column: 17, suggestion: 'did you mean "mounts"?' }],
    });
  });

  it('removes with --prune what it made, and the chassis last', async () => {
    const path = manifest('name: one\nchassis: {}\n');
    expect((await daemon.json<Applied>('apply', '-f', path)).done).toEqual([]);
    const { done } = await daemon.json<Applied>('apply', '-f', path, '--prune');
    expect(done.map(({ operation }) => operation)).toEqual(['detach src from one', 'remove chassis one']);
    expect(await daemon.json('list')).toEqual({ chassis: [] });
  });

  it('attaches 500 mounts at once, and takes them out again', async () => {
    const mounts = Array.from({ length: 500 }, (_, i) => `    m${i}: {source: src, via: tree}`).join('\n');
    const path = manifest(`name: many\nchassis:\n  many:\n   mounts:\n${mounts}\n`);
    expect((await daemon.json<Applied>('apply', '-f', path)).done).toHaveLength(1 + Math.ceil(500 / 8));
    expect(await daemon.json<Applied>('apply', '-f', path)).toMatchObject({ drift: false, done: [] });
    writeFileSync(path, 'name: many\nchassis: {}\n');
    expect((await daemon.json<Applied>('apply', '-f', path, '--prune')).done).toHaveLength(501);
  });

  it('goes on from what is there where a daemon was killed in the middle', async () => {
    const directory = join(root, 'd');
    const serve = async () => {
      const running = execa(process.execPath, [CHASSIS, 'serve', '--end', '--dir', directory], {
        reject: false,
      });
      await running[Symbol.asyncIterator]().next();
      return { end: () => running.kill('SIGTERM'), gone: running.then(() => undefined) };
    };
    const mounts = Array.from({ length: 400 }, (_, i) => `    m${i}: {source: src, via: tree}`).join('\n');
    const path = manifest(`chassis:\n  dev:\n   mounts:\n${mounts}\n`);
    const apply = (...words: string[]) =>
      execa(process.execPath, [CHASSIS, 'apply', '-f', path, '--dir', directory, ...words], {
        reject: false,
      });
    const pidOf = (): number =>
      (JSON.parse(readFileSync(join(directory, 'daemon.lock'), 'utf8')) as { pid: number }).pid;
    const killed = await serve();
    const first = apply();
    let isKilled = false;
    for await (const line of first.iterable()) {
      // As soon as some are attached: the daemon itself, not the command that started it.
      if (!isKilled && /^attach /.test(line)) process.kill(pidOf(), 'SIGKILL');
      isKilled ||= /^attach /.test(line);
    }
    const { exitCode, stderr } = await first;
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/not undone, since it cannot detach/);
    await killed.gone;
    const again = await serve();
    try {
      expect((await apply()).exitCode).toBe(0);
      expect((await apply('--dry-run')).exitCode).toBe(0);
    } finally {
      again.end();
      await again.gone;
    }
  });
});
