import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AddCardRequest, AddDiskRequest } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import type { FakeVmm } from './fakes.js';
import { Killer } from './killer.js';
import { refusal } from './refusal.js';

const SLOTS = 8;
const disk = (name: string): AddDiskRequest => ({
  ...{ name, source: { type: 'memory', sizeBytes: 8192 }, readOnly: false, overlay: false, queues: 1 },
  ...{ permanent: false, port: 'auto', timeoutMs: 1000 },
});
const card = (name: string): AddCardRequest => ({
  ...{ name, network: { type: 'switch', switch: 'lan', isolated: false, macLock: false } },
  ...{ queuePairs: 1, up: true, permanent: false, port: 'auto', timeoutMs: 1000 },
});
const tree = { via: 'tree' } as const;
const queue = { via: 'queue' } as const;

describe('a daemon that is killed at any step, and the next one', () => {
  let harness: ControllerHarness;
  let vmm: FakeVmm;
  let killer: Killer;

  beforeEach(() => {
    harness = new ControllerHarness();
  });
  afterEach(() => harness.stop());

  const controller = () => harness.controller;

  /** A chassis of everything, in a VM. */
  async function begin(): Promise<void> {
    harness.killer = killer = new Killer();
    await harness.start(SLOTS);
    vmm = await harness.boot();
    await controller().attach(request(['base', 'beside']));
    await controller().attach(request(['spare']));
    await controller().detach('spare', { ...QUERY, keepFunction: true });
    await controller().attach(request(['t0'], tree));
    await controller().attach(request(['q0'], queue));
    await controller().disks.add(disk('d0'));
    await controller().networks.add(card('n0'));
  }

  /** Everything that an operator, a guest or a device process can tell states apart by. */
  async function state(): Promise<unknown> {
    const { mounts, disks, cards } = await controller().describe();
    const { functions, inTree, onQueues, diskBytes } = harness.devices;
    return {
      mounts: mounts.map(({ tag, via, slot, function: fn, state, port, readOnly, policy, source }) =>
        [tag, via, slot, fn, state, port, readOnly, JSON.stringify(policy), source?.type].join(' '),
      ),
      disks: disks.map(({ name, slot, state, sizeBytes }) => [name, slot, state, sizeBytes].join(' ')),
      cards: cards.map(({ name, slot, state, up }) => [name, slot, state, up].join(' ')),
      served: [...functions.values()].map(({ function: name, device }) =>
        [
          name,
          device.type,
          device.type === '9p' ? device.source?.type : '',
          'up' in device && device.up,
        ].join(' '),
      ),
      ...{ tree: [...inTree.keys()], queues: [...onQueues.values()].map(({ tag }) => tag) },
      bytes: [...diskBytes],
      vm: [...vmm.has].filter(([, mask]) => mask !== 0).sort(([a], [b]) => a - b),
      ports: [...harness.cardPorts.joined.keys()],
    };
  }

  const sorted = (value: unknown) =>
    JSON.stringify(value, (_, each: unknown) =>
      Array.isArray(each) ? each.map((one) => JSON.stringify(one)).sort() : each,
    );

  const operations: [string, () => Promise<unknown>][] = [
    ['attach', () => controller().attach(request(['a', 'b']))],
    ['attach in a function that was kept', () => controller().attach(request(['spare']))],
    ['detach', () => controller().detach('base', { ...QUERY, slot: true })],
    ['detach that keeps the function', () => controller().detach('beside', { ...QUERY, keepFunction: true })],
    ['disk add', () => controller().disks.add(disk('d1'))],
    ['disk resize', () => controller().disks.resize('d0', { sizeBytes: 16384, shrink: false })],
    ['disk remove', () => controller().disks.remove('d0', { force: false, timeoutMs: 1000 })],
    ['net add', () => controller().networks.add(card('n1'))],
    ['net link', () => controller().networks.setLink('n0', false)],
    ['net remove', () => controller().networks.remove('n0', { force: false, timeoutMs: 1000 })],
    ['tree attach', () => controller().attach(request(['t1', 't2'], tree))],
    ['tree detach', () => controller().detach('t0', QUERY)],
    ['queue attach', () => controller().attach(request(['q1', 'q2'], queue))],
    ['queue detach', () => controller().detach('q0', QUERY)],
    ['policy', () => controller().policies.change('base', { set: { readOnly: true }, unset: [] })],
    ['revoke', () => controller().policies.revoke('t0')],
  ];

  it.each(operations)('are before or after one %s, and nowhere else', async (_, operate) => {
    await begin();
    const before = sorted(await state());
    killer.arm(Infinity, true);
    await operate();
    const { steps } = killer;
    const after = sorted(await state());
    await harness.stop();
    expect(steps).toBeGreaterThan(1);
    const seen = new Set<string>();
    for (let step = 1; step <= steps; step++) {
      for (const isDone of [false, true]) {
        await begin();
        killer.arm(step, isDone);
        void operate().catch(() => undefined);
        await killer.died;
        await harness.takeOver();
        await harness.boot(vmm);
        const now = sorted(await state());
        expect([before, after], `killed ${isDone ? 'after' : 'before'} step ${step} of ${steps}`).toContain(
          now,
        );
        seen.add(now);
        if (step < steps || !isDone) await harness.stop();
      }
    }
    expect([...seen].at(-1)).toBe(after);
  });

  it('finish an attach of which the VM has a part that its guest cannot see', async () => {
    await begin();
    killer.arm(Infinity, true);
    vmm.plug = (slot) => {
      vmm.insert(slot, 1);
      return killer.kill();
    };
    void controller().attach(request(['a', 'b']));
    await killer.died;
    await harness.takeOver();
    const next = await harness.boot(Object.assign(harness.newVmm(), { has: vmm.has }));
    expect(next.calls).toEqual(['take back 7: 1', 'plug 7: 0 1']);
    expect(await harness.states()).toEqual(
      expect.arrayContaining(['a 7.0 plugged', 'b 7.1 plugged', 'base 1.0 plugged']),
    );
  });

  it('ask the guest again for a slot that it had not let go, and not where it has mounted it meanwhile', async () => {
    await begin();
    vmm.guest = 'ignores';
    await expect(controller().detach('base', { ...QUERY, slot: true })).rejects.toThrow(/did not/);
    harness.devices.fids.set('slot1-fn0', 1);
    await harness.takeOver();
    vmm.calls.length = 0;
    await harness.boot(vmm);
    expect(vmm.calls).toEqual([]);
    expect(await harness.states()).toContain('base 1.0 plugged');
    harness.devices.fids.clear();
    await expect(controller().detach('base', { ...QUERY, slot: true })).rejects.toThrow(/did not/);
    await harness.takeOver();
    vmm.guest = 'agrees';
    await harness.boot(vmm);
    expect(await harness.states()).not.toContainEqual(expect.stringContaining('base'));
  });

  it('leave a device process alone that does not answer, until the operator gives it up', async () => {
    await begin();
    const { journaled, devices } = harness;
    harness.unanswering = true;
    await harness.takeOver();
    expect(harness.processes).toEqual([devices]);
    expect(await controller().describe()).toMatchObject({
      deviceProcess: { state: 'lost', reason: 'it does not answer' },
      disks: [{ name: 'd0' }],
    });
    await expect(controller().attach(request(['a']))).rejects.toMatchObject(
      refusal('DEVICE_PROCESS_LOST', /does not answer/, /chassis restart/),
    );
    expect(harness.processes).toEqual([devices]);
    // What the next daemon has to know is not forgotten meanwhile.
    expect(harness.journaled).toEqual(journaled);
    await controller().restart();
    expect(harness.processes).toHaveLength(2);
    expect([...harness.devices.functions.keys()]).toEqual([...devices.functions.keys()]);
  });
});
