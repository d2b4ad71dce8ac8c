import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Card, Chassis } from '../../manager/control/api.js';
import { capturedFrames } from '../support/captured-frames.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';

describe('network cards on the command line, without a VM', () => {
  let daemon: TestDaemon;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-net-'));
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev', '--slots', '3');
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
    await rm(folder, { recursive: true });
  });

  it('adds one, which waits for a VM, and says how the guest finds it', async () => {
    const { stdout } = await daemon.cli('net', 'add', 'lan0', '--mac', '52:54:00:00:00:0A', '--vlan', '9');
    expect(stdout).toBe(
      'lan0 waits in slot 1: it is plugged in once a VM runs\n' +
        '  in the guest: the interface with the address 52:54:00:00:00:0a (ip link)',
    );
    expect(existsSync(join(daemon.directory, '@default', 'switch.sock'))).toBe(true);
  });

  it('refuses what cannot be', async () => {
    const wrong: [string[], string, number][] = [
      [['lan0'], 'TAG_IN_USE', 5],
      [['x', '--mac', '52:54:00:00:00:0a'], 'MAC_IN_USE', 5],
      [['x', '--switch', 'Not/A/Name'], 'BAD_REQUEST', 2],
      [['x', '--passt', '--vlan', '3'], 'BAD_REQUEST', 2],
      [['x', '--tap', 'no-such/interface'], 'BAD_REQUEST', 2],
    ];
    for (const [words, code, exitCode] of wrong) {
      expect(await daemon.failure('net', 'add', ...words)).toMatchObject({ code, exitCode });
    }
  });

  it('lists, shows and draws those that there are, and pulls their cables', async () => {
    await expect
      .poll(async () => (await daemon.cli('net', 'list')).stdout.split('\n')[1])
      .toMatch(/^lan0 +default vlan 9 +52:54:00:00:00:0a +up +1 +parked +vhost-user +0 +0 +0$/);
    expect((await daemon.cli('net', 'link', 'lan0', 'down')).stdout).toBe('the link of lan0 is down');
    const { cards } = await daemon.json<{ cards: Card[] }>('net', 'list', '--chassis', 'dev');
    expect(cards).toMatchObject([{ up: false, carrier: false, switchPort: { sent: 0, dropped: 0 } }]);
    expect(await daemon.json<Chassis>('show')).toMatchObject({ slotsFree: 2, cards: [{ name: 'lan0' }] });
    expect((await daemon.cli('tree')).stdout).toMatch(/00\.0 card lan0 switch default \(parked\)/);
  });

  it('captures until Ctrl-C, and leaves a whole file', async () => {
    const path = join(folder, 'lan0.pcapng');
    const words = [CHASSIS, 'capture', 'lan0', '--out', path, '--dir', daemon.directory];
    const capture = execa(process.execPath, words, { reject: false, stdin: 'ignore' });
    await expect
      .poll(() => existsSync(path) && readFileSync(path).length > 0, { timeout: 20_000 })
      .toBe(true);
    capture.kill('SIGINT');
    const { exitCode, stdout } = await capture;
    expect([exitCode, stdout]).toEqual([0, `0 frames in ${path} (${readFileSync(path).length})`]);
    expect(capturedFrames(readFileSync(path))).toEqual([]);
    expect(await daemon.failure('capture', 'none', '--out', path)).toMatchObject({
      code: 'NO_CARD',
      exitCode: 4,
    });
  });

  it('is removed, and its switch with it', async () => {
    expect(await daemon.failure('remove', 'dev')).toMatchObject({ code: 'CHASSIS_IN_USE', exitCode: 5 });
    expect((await daemon.cli('net', 'remove', 'lan0')).stdout).toBe('lan0 is removed');
    expect(existsSync(join(daemon.directory, '@default'))).toBe(false);
    expect(await daemon.failure('net', 'remove', 'lan0')).toMatchObject({ code: 'NO_CARD', exitCode: 4 });
  });
});
