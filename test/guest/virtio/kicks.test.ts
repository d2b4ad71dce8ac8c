import { describe, expect, it } from 'vitest';
import type { QueueCounters } from '../../../devices/virtio/device.js';
import type { KickMode } from '../../../guest/virtio/transport.js';
import { EchoMachine } from './echo-machine.js';

const BOTH_DOORBELLS = { doorbells: ['queue', 'device'] } as const;
const RINGS = [
  ['split', { packed: false, indirect: false }],
  ['split, indirect', { packed: false, indirect: true }],
  ['packed', { packed: true, indirect: false }],
] as const;
const SUPPRESSION = [
  ['event indices', true],
  ['flags', false],
] as const;
const CASES = RINGS.flatMap(([ring, rings]) =>
  SUPPRESSION.flatMap(([how, eventIndex]) =>
    [true, false].map((notificationData) => {
      const name = `${ring}, ${how}${notificationData ? ', notification data' : ''}`;
      return [name, { ...rings, eventIndex, notificationData }] as const;
    }),
  ),
);

function counters(machine: EchoMachine): Readonly<QueueCounters>[] {
  return Array.from({ length: machine.queueCount }, (_, queue) => machine.fn.counters(queue));
}

describe.each(CASES)('%s', (_name, guest) => {
  it.each([
    ['queue', {}],
    ['device', BOTH_DOORBELLS],
    ['device', { doorbells: ['device'] }],
    ['queue', { doorbells: ['device'] }],
    ['window', {}],
    ['window', { doorbells: ['device'] }],
  ] as const satisfies (readonly [KickMode, object])[])(
    'kicks by %s of %o: one kick and one interrupt a request, and nothing is lost',
    async (kick, fn) => {
      const machine = await EchoMachine.boot({ fn, guest: { ...guest, kick } });
      const page = machine.page();
      for (let i = 0; i < 40; i++) expect(await machine.exchange(i % 2, page)).toBe(0);
      for (const each of counters(machine)) {
        expect(each).toMatchObject({ kicks: 20, interrupts: 20, requests: 20, spuriousWakes: 0 });
      }
      await machine.exchangeAll(60, 6);
      for (const { requests, kicks, interrupts, spuriousWakes } of counters(machine)) {
        expect(requests).toBe(80);
        expect(Math.max(kicks, interrupts)).toBeLessThanOrEqual(80);
        expect(spuriousWakes).toBeLessThanOrEqual(kicks);
      }
      expect(machine.faults).toEqual([]);
    },
  );

  it('needs no kick where the device looks by itself', async () => {
    const machine = await EchoMachine.boot({ fn: { polled: true }, guest: { ...guest, kick: 'none' } });
    await machine.exchangeAll(60, 6);
    for (const each of counters(machine)) {
      expect(each).toMatchObject({ requests: 60, kicks: 0, spuriousWakes: 0 });
      expect(each.polls).toBeGreaterThan(0);
    }
    machine.fn.reset();
  });

  it('is asked not to kick by a device that looks by itself, and obeys', async () => {
    const machine = await EchoMachine.boot({ fn: { polled: true }, guest });
    await machine.exchangeAll(60, 6);
    // With event indices the one that the driver passes first was never put off.
    for (const each of counters(machine)) expect(each.kicks).toBeLessThanOrEqual(1);
    expect(counters(machine).map(({ requests }) => requests)).toEqual([60, 60]);
    machine.fn.reset();
  });
});

describe('a way to kick that a device does not have', () => {
  it('makes the function unusable', async () => {
    await expect(EchoMachine.boot({ guest: { kick: 'device' } })).rejects.toMatchObject({
      code: 'ENODEV',
      message: expect.stringContaining('no doorbell for all its queues') as string,
    });
  });
});
