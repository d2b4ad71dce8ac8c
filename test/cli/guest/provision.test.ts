import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { provision } from '../../../cli/apply/guests/provision.js';
import type { DesiredStep } from '../../../cli/apply/plan/desired.js';
import { copyIn } from '../../../cli/guest/copy/copy-in.js';
import { copyOut } from '../../../cli/guest/copy/copy-out.js';
import { isProvisioned } from '../../../cli/guest/provision/record.js';
import { canHaveLocalGuest, LocalGuest } from './local-guest.js';

const LIMITS = { maxBytes: 1 << 24, maxEntries: 1000 };

describe.skipIf(!canHaveLocalGuest)('in a guest', () => {
  let folder: string;
  let guest: LocalGuest;
  const lines: string[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'provision-'));
    guest = new LocalGuest(join(folder, 'guest'));
    lines.length = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const root = (name: string) => join(folder, 'guest', 'root', name);
  const run = (name: string, script: string, change: Partial<DesiredStep> = {}): DesiredStep => ({
    ...{ name, at: { file: 'a.yaml', line: 1, column: 1 }, when: 'changed', timeoutMs: 30_000 },
    action: { type: 'run', script },
    ...change,
  });

  async function ran(...steps: DesiredStep[]): Promise<string[]> {
    const options = {
      logs: join(folder, 'logs'),
      bootTimeoutMs: 1000,
      onStep: (line: string) => lines.push(line),
    };
    const done = await provision(guest.address, steps, options);
    return done.filter((step) => step.ran).map(({ step }) => step);
  }

  it('steps are done once each, in order, and again where they are others', async () => {
    const first = run('first', 'echo 1 >> /root/log');
    const second = run('second', '#!/bin/cat\necho 2', { when: 'once' });
    expect(await isProvisioned(guest.address)).toBe(false);
    expect(await ran(first, second)).toEqual(['first', 'second']);
    expect(readFileSync(join(folder, 'logs/02-second.log'), 'utf8')).toBe('#!/bin/cat\necho 2');
    expect(await isProvisioned(guest.address)).toBe(true);
    expect(await ran(first, second)).toEqual([]);
    expect(await ran(run('first', 'echo 3 >> /root/log'), run('second', 'echo 4'))).toEqual([
      'first',
      'second',
    ]);
    expect(readFileSync(root('log'), 'utf8')).toBe('1\n3\n');
  });

  it('a step that fails is named, with its exit code, its last words and its log, and the next ones are left', async () => {
    const bad = run('bad', 'echo out; echo "why not" >&2; false; echo never');
    const failing = ran(run('good', 'true'), bad, run('next', 'touch /root/next'));
    await expect(failing).rejects.toMatchObject({
      code: 'PROVISION_FAILED',
      message: expect.stringMatching(/^the step bad of dev failed: exit code 1\nout\nwhy not$/) as string,
      details: { step: 'bad', log: join(folder, 'logs/02-bad.log') },
    });
    expect(await isProvisioned(guest.address)).toBe(false);
    expect(() => statSync(root('next'))).toThrow();
    expect(await ran(run('good', 'true'), run('bad', 'true'), run('next', 'touch /root/next'))).toEqual([
      'bad',
      'next',
    ]);
  });

  it('a step that takes too long is ended', async () => {
    await expect(ran(run('slow', 'echo begun; sleep 1000', { timeoutMs: 500 }))).rejects.toMatchObject({
      message: expect.stringMatching(/it took longer than 0.5 s\nbegun$/) as string,
    });
  });

  it('what is copied in and out again is the same, below existing directories and as new ones', async () => {
    const site = join(folder, 'site');
    mkdirSync(join(site, 'deep'), { recursive: true, mode: 0o750 });
    writeFileSync(join(site, 'deep', '-@ it’s'), 'x'.repeat(300_000), { mode: 0o640 });
    symlinkSync('/etc/shadow', join(site, 'link'));
    await copyIn(guest.address, site, '/root/new');
    await copyIn(guest.address, site, '/root/new');
    await copyIn(guest.address, `${site}/.`, '/root/new/site/deep');
    expect(readlinkSync(root('new/site/deep/link'))).toBe('/etc/shadow');
    expect(statSync(root('new/deep/-@ it’s')).mode & 0o777).toBe(0o640);
    const back = join(folder, 'back');
    expect(await copyOut(guest.address, '/root/new', back, LIMITS)).toMatchObject({ skipped: 0 });
    await copyOut(guest.address, '/root/new', back, LIMITS);
    await copyOut(guest.address, '/root/new/.', back, LIMITS);
    expect(readFileSync(join(back, 'new/site/deep/deep/-@ it’s'), 'utf8')).toHaveLength(300_000);
    expect(readlinkSync(join(back, 'link'))).toBe('/etc/shadow');
    await copyOut(guest.address, '/root/new/deep/-@ it’s', join(folder, 'one'), LIMITS);
    expect(statSync(join(folder, 'one')).mode & 0o777).toBe(0o640);
    await copyIn(guest.address, join(folder, 'one'), '/root/one');
    await copyIn(guest.address, join(folder, 'one'), '/root');
    expect(readFileSync(root('one'), 'utf8')).toHaveLength(300_000);
  });

  it('a copy that cannot be says why, and leaves nothing behind', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, 'x');
    mkdirSync(root('directory/file'), { recursive: true });
    for (const [from, to, code] of [
      ['/nowhere', '/root', 'SOURCE_MISSING'],
      [file, '/root/no/such', 'BAD_REQUEST'],
      [file, '/root/directory', 'BAD_REQUEST'],
      [file, '/root/new/', 'BAD_REQUEST'],
    ])
      await expect(copyIn(guest.address, from, to), to).rejects.toMatchObject({ code });
    await expect(copyOut(guest.address, '/nowhere', folder, LIMITS)).rejects.toMatchObject({
      code: 'SOURCE_MISSING',
    });
    const small = { ...LIMITS, maxBytes: 0 };
    await copyIn(guest.address, file, '/root/file');
    await expect(copyOut(guest.address, '/root/file', join(folder, 'copy'), small)).rejects.toMatchObject({
      code: 'GUEST_REFUSED',
    });
    expect(() => statSync(join(folder, 'copy'))).toThrow();
  });
});
