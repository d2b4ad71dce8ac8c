/** One device, and drivers that reach it by modern and by legacy registers, by messages and by the pin. */
import { afterEach, describe, expect, it } from 'vitest';
import { Guest } from '../../../guest/guest.js';
import { Stack } from '../stack.js';
import { EchoMachine } from './echo-machine.js';

const INTERRUPTS = [
  ['MSI-X', true],
  ['the pin', false],
] as const;
const RINGS = [
  ['indirect, event indices', { indirect: true, eventIndex: true }],
  ['chained, flags', { indirect: false, eventIndex: false }],
] as const;
const CASES = INTERRUPTS.flatMap(([by, msix]) =>
  RINGS.map(([ring, options]) => [`${by}, ${ring}`, { ...options, msix }] as const),
);

describe.each(CASES)('%s', (_name, guest) => {
  it('a transitional function serves legacy and modern drivers, one after the other', async () => {
    const fn = { registers: 'transitional' } as const;
    const machine = await EchoMachine.boot({ fn, guest: { ...guest, registers: 'legacy' }, queueSize: 64 });
    for (const registers of ['legacy', 'modern', 'legacy', 'modern'] as const) {
      await machine.device.close('ENODEV', false);
      await machine.open({ ...guest, registers });
      const isModern = (machine.device.features & (1n << 32n)) !== 0n;
      expect(isModern).toBe(registers === 'modern');
      await machine.exchangeAll(120, 12);
      expect([0, 1].map((queue) => machine.fn.counters(queue).requests)).toEqual([120, 120]);
    }
    expect(machine.faults).toEqual([]);
  });

  it('a legacy function serves the driver, which finds out by itself', async () => {
    const machine = await EchoMachine.boot({ fn: { registers: 'legacy' }, guest, queueSize: 256 });
    expect(machine.device.features & (1n << 27n)).not.toBe(0n);
    expect(machine.device.queues.map(({ size }) => size)).toEqual([256, 256]);
    await machine.exchangeAll(600, 60);
    expect(machine.faults).toEqual([]);
  });
});

describe('the config space', () => {
  it.each([
    ['modern', true],
    ['legacy', true],
    ['legacy', false],
  ] as const)('is where the driver looks for it (%s, MSI-X: %s)', async (registers, msix) => {
    const fn = { registers: 'transitional' } as const;
    const machine = await EchoMachine.boot({ fn, guest: { registers, msix } });
    const text = machine.device.transport.readDeviceConfig((byteAt) =>
      String.fromCharCode(byteAt(2), byteAt(3), byteAt(4)),
    );
    expect(text).toBe('abc');
  });
});

describe('registers that a function does not have', () => {
  it('make it unusable', async () => {
    await expect(EchoMachine.boot({ guest: { registers: 'legacy' } })).rejects.toMatchObject({
      code: 'ENODEV',
      message: expect.stringContaining('BAR 0 has no registers') as string,
    });
    await expect(
      EchoMachine.boot({ fn: { registers: 'legacy' }, guest: { registers: 'modern' } }),
    ).rejects.toMatchObject({ code: 'ENODEV' });
  });
});

describe('a reset of one queue', () => {
  it('is refused where it was not agreed on, and nothing is taken from the device', async () => {
    const machine = await EchoMachine.boot({ fn: { registers: 'legacy' } });
    const [queue] = machine.device.queues;
    await expect(machine.device.resetQueue(0)).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(machine.device.transport.resetQueue(0)).rejects.toMatchObject({ code: 'ENODEV' });
    expect(machine.device.queues[0]).toBe(queue);
    await machine.exchangeAll(10);
  });
});

describe('too few vectors', () => {
  it.each([
    [3, 'one each'],
    [2, 'one for config changes and one for all queues'],
    [1, 'one for everything'],
  ])('of %i the driver makes %s', async (msixVectorCount) => {
    const machine = await EchoMachine.boot({ fn: { msixVectorCount } });
    await machine.exchangeAll(40, 4);
    expect(machine.found.readConfig(4, 2) & 0x400).toBe(0x400);
    expect(machine.faults).toEqual([]);
  });
});

describe('a mount by legacy registers', () => {
  let stack: Stack;
  afterEach(() => stack.close());

  it.each([true, false])('reads and writes (MSI-X: %s)', async (msix) => {
    stack = new Stack();
    const { fn } = await stack.share('old', { registers: 'transitional' });
    stack.machine.plug(3, [{ number: 0, function: fn }]);
    const guest = await Guest.boot(stack.machine, { registers: 'legacy', msix });
    const mount = await guest.mount('old');
    const text = 'as in 2008 '.repeat(20_000);
    await mount.writeFile('file', text);
    expect(new TextDecoder().decode(await mount.readFile('file'))).toBe(text);
    await mount.unmount();
    await guest.shutdown();
    expect(stack.logs).toEqual([]);
  });
});
