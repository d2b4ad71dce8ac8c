import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisError, type AttachRequest } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { BUILT_MAIN } from './built.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { temporaryFolders } from './temporary-folder.js';

/** Why attaches failed, and how many of each. */
function codes(results: readonly PromiseSettledResult<unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const result of results) {
    const code = result.status === 'fulfilled' ? 'OK' : ((result.reason as ChassisError).code ?? 'other');
    counts[code] = (counts[code] ?? 0) + 1;
  }
  return counts;
}

describe('500 attaches at once, to the daemon', () => {
  const folder = temporaryFolders();
  let daemon: ChildProcess;
  let client: ChassisClient;

  beforeEach(async () => {
    const directory = join(folder(), 'state');
    client = new ChassisClient({ directory });
    daemon = spawn(process.execPath, [BUILT_MAIN, '--dir', directory], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(daemon.stdout as NodeJS.ReadableStream, 'data');
  });
  afterEach(async () => {
    daemon.kill('SIGTERM');
    await once(daemon, 'exit');
  });

  it('each win a function of their own or get one error, whichever tags and slots they fight over', async () => {
    await client.create('dev', { slots: 100 });
    const results = await Promise.allSettled(
      Array.from({ length: 500 }, (_, i) =>
        client.attach('dev', {
          // 250 tags, each asked for twice, in cards of one to three.
          mounts: Array.from({ length: 1 + (i % 3) }, (_, j) => ({
            tag: `t${(i + j * 7) % 250}`,
            source: { type: 'memory' as const },
          })),
          via: 'function',
        }),
      ),
    );
    const counts = codes(results);
    expect(Object.keys(counts).sort()).toEqual(['NO_SLOT_FREE', 'OK', 'TAG_IN_USE']);
    expect(counts.OK).toBe(100);
    const mounts = await client.mounts('dev');
    const won = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    expect(mounts.map(({ tag }) => tag).sort()).toEqual(won.map(({ tag }) => tag).sort());
    expect(new Set(mounts.map(({ tag }) => tag)).size).toBe(mounts.length);
    expect(new Set(mounts.map(({ slot, function: fn }) => `${slot}.${fn}`)).size).toBe(mounts.length);
    expect((await client.get('dev')).slotsFree).toBe(0);
  });
});

describe('attaches and detaches that all come at once', () => {
  const lab = ControllerHarness.perTest(8);

  it('leave no slot half plugged, though the VMM refuses some', async () => {
    const vmm = await lab.boot();
    let plugs = 0;
    vmm.refusePlug = () =>
      plugs++ % 3 === 0 ? new ChassisError('VMM_REFUSED', 'not in this mood') : undefined;
    const jobs: Promise<unknown>[] = [];
    for (let i = 0; i < 60; i++) {
      const options: Partial<AttachRequest> = i % 4 === 0 ? { slot: 1 + (i % 8) } : {};
      jobs.push(lab.controller.attach(request([`a${i % 20}`, `b${i % 20}`], options)));
      if (i % 5 === 4) jobs.push(lab.controller.detach(`a${i % 20}`, { ...QUERY, slot: true }));
    }
    const counts = codes(await Promise.allSettled(jobs));
    expect(counts.OK).toBeGreaterThan(6);
    const mounts = await lab.controller.mounts();
    const expected = new Map<number, number>();
    for (const { slot, function: fn, state } of mounts) {
      expect(state).toBe('plugged');
      expected.set(slot, (expected.get(slot) ?? 0) | (1 << fn));
    }
    expect([...vmm.has].sort()).toEqual([...expected].sort());
    for (const functions of expected.values()) expect(functions).toBe(0b11);
    expect([...lab.devices.functions.keys()].sort()).toEqual(
      mounts.map(({ slot, function: fn }) => `slot${slot}-fn${fn}`).sort(),
    );
  });

  it('end when the VM goes in their middle, with every mount parked or gone', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    const jobs = ['c', 'd', 'e'].map((tag) => lab.controller.attach(request([tag])));
    jobs.push(lab.controller.detach('a', { ...QUERY, slot: true }).then(() => []));
    vmm.stall();
    await Promise.allSettled(jobs.slice(0, 3));
    await new Promise(setImmediate);
    vmm.die();
    lab.controller.vmLost();
    await Promise.allSettled(jobs);
    expect(await lab.states()).toEqual(['c 2.0 parked', 'd 3.0 parked', 'e 4.0 parked']);
    expect((await lab.boot()).calls).toEqual(['plug 2: 0', 'plug 3: 0', 'plug 4: 0']);
  });
});
