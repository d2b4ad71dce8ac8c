import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stepStates } from '../../../cli/apply/guests/provision.js';
import { stepDigest } from '../../../cli/apply/guests/step-digest.js';
import { StepLog } from '../../../cli/apply/guests/step-log.js';
import type { DesiredStep } from '../../../cli/apply/plan/desired.js';

function step(change: Partial<DesiredStep>): DesiredStep {
  return {
    ...{ name: 'a', at: { file: 'a.yaml', line: 1, column: 1 }, when: 'changed', timeoutMs: 1000 },
    action: { type: 'run', script: 'true' },
    ...change,
  };
}

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'steps-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('a step', () => {
  it.each([
    ['once', undefined, true],
    ['once', 'same', false],
    ['once', 'other', false],
    ['changed', undefined, true],
    ['changed', 'same', false],
    ['changed', 'other', true],
    ['always', 'same', true],
  ] as const)(
    'that is to be done %s, of which the guest has done %s, is due: %s',
    async (when, done, isDue) => {
      const wanted = step({ when });
      const before = done === 'same' ? await stepDigest(wanted) : 'f'.repeat(64);
      const record = new Map(done === undefined ? [] : [['a', before]]);
      expect((await stepStates([wanted], record)).map((state) => state.isDue)).toEqual([isDue]);
    },
  );

  it('is another one with another script or user, and not with another name', async () => {
    const digest = await stepDigest(step({}));
    expect(await stepDigest(step({ name: 'b' }))).toBe(digest);
    expect(await stepDigest(step({ action: { type: 'run', script: 'false' } }))).not.toBe(digest);
    expect(await stepDigest(step({ user: 'www' }))).not.toBe(digest);
  });

  it('that copies is another one with other names, modes, links or contents, and not with other times', async () => {
    const from = join(folder, 'site');
    mkdirSync(join(from, 'deep'), { recursive: true });
    const file = join(from, 'deep', 'file');
    writeFileSync(file, 'a');
    const digest = () => stepDigest(step({ action: { type: 'copy', from, to: '/x' } }));
    const seen = [await digest()];
    utimesSync(file, 1, 1);
    expect(await digest()).toBe(seen[0]);
    for (const change of [
      () => writeFileSync(file, 'b'),
      () => chmodSync(file, 0o700),
      () => writeFileSync(join(from, 'new'), ''),
      () => symlinkSync('new', join(from, 'link')),
    ]) {
      change();
      seen.push(await digest());
    }
    expect(new Set(seen).size).toBe(5);
  });
});

describe('the log of a step', () => {
  it('has a bound, and its last lines are safe to show', () => {
    const log = new StepLog(join(folder, 'deep', 'log'));
    for (let i = 0; i < 100; i++) log.write(Buffer.alloc(100_000, 'x'));
    log.write(Buffer.from('\nlast \x1b[2Jline\n'));
    log.close();
    const { size, mode } = statSync(log.path);
    expect(size).toBeLessThan((4 << 20) + 100);
    expect(mode & 0o777).toBe(0o600);
    expect(readFileSync(log.path, 'utf8').endsWith('(more was printed)\n')).toBe(true);
    expect(log.lastLines.split('\n').at(-1)).toBe('last ?[2Jline');
  });
});
