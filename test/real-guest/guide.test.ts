/** docs/guide.md, followed as it stands: what it types on the host and in the guest, in its order. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { QemuArgs } from '../../manager/control/api.js';
import { LinuxGuest } from '../../testbed/guest.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { describeRealGuest, requireRealQemu, tagSeen } from './lab.js';

interface Step {
  readonly where: 'guide' | 'guest';
  readonly script: string;
}

describeRealGuest('the guide', () => {
  let daemon: TestDaemon;
  let home: string;
  let guest: LinuxGuest | undefined;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    home = await mkdtemp(join(tmpdir(), 'chassis-guide-'));
    await mkdir(join(home, 'bin'));
    const shim = `#!/bin/sh\nexec ${process.execPath} ${CHASSIS} "$@"\n`;
    await writeFile(join(home, 'bin', 'chassis'), shim, { mode: 0o755 });
  });
  afterAll(async () => {
    await guest?.shutdown();
    await daemon.stop();
    await rm(home, { recursive: true });
  });

  async function onHost(script: string): Promise<string> {
    const env = {
      HOME: home,
      CHASSIS_DIR: daemon.directory,
      PATH: `${join(home, 'bin')}${delimiter}${process.env.PATH}`,
    };
    return (await execa('sh', ['-e', '-c', script], { env, stdin: 'ignore' })).stdout;
  }

  async function boot(): Promise<void> {
    const { args } = await daemon.json<QemuArgs>('args', '--memory', '256');
    guest = await LinuxGuest.boot({ qemu: requireRealQemu(), kernel: '6.1', machineArgs: args });
  }

  async function inGuest(script: string): Promise<string> {
    for (const [, tag] of script.matchAll(/^mount .* (\w+) \S+$/gm)) await guest?.waitFor(tagSeen(tag));
    return (await guest?.ok(`set -e\n${script}`, { timeoutMs: 60_000 }))?.stdout ?? '';
  }

  it('leads from nothing to three live mounts, and out again', async () => {
    const said: string[] = [];
    for (const { where, script } of await steps()) {
      said.push(where === 'guest' ? await inGuest(script) : await onHost(script));
      // Where the guide has its reader boot an image of their own.
      if (script.includes('chassis create')) await boot();
    }
    expect(said.map((text) => text.trim())).toEqual([
      expect.stringMatching(/dev/),
      expect.stringMatching(/QEMU|qemu/),
      expect.stringMatching(/src.*reference.*project/s),
      'hello from the host',
      '',
      'hello from the host\nand again',
      expect.stringMatching(/^from the guest\nas it was\nM.*notes\.txt/s),
      expect.stringMatching(/as the guest wants it$/),
      '',
      expect.stringMatching(/src.*reference.*project/s),
    ]);
    expect(await readFile(join(home, 'project/notes.txt'), 'utf8')).toBe('as the guest wants it\n');
  });
});

/** The blocks that say where they are typed; the daemon of the test serves already. */
async function steps(): Promise<Step[]> {
  const text = await readFile(new URL('../../docs/guide.md', import.meta.url), 'utf8');
  return [...text.matchAll(/```sh (guide|guest)\n([\s\S]*?)```/g)].map(([, where, script]) => ({
    where: where as Step['where'],
    script: script.replace('chassis serve &\n', ''),
  }));
}
