import { describe, expect, it } from 'vitest';
import { GuestError } from '../../../guest/errors.js';
import type { PciBinding, PciDriver } from '../../../guest/pci/driver.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';
import { TestFunction } from '../../devices/pci/topology/test-function.js';
import { FakeFunction, FakeMachine, memoryBar } from '../fake-machine.js';

class TestBinding implements PciBinding {
  inUse = false;
  readonly removed: boolean[] = [];

  async remove(gone: boolean): Promise<void> {
    this.removed.push(gone);
  }
}

/** A driver that takes device id 1, cannot use device id 2 and has a bug with 3. */
function testDriver(bindings: TestBinding[]): PciDriver {
  return {
    name: 'test',
    matches: (fn) => fn.deviceId <= 3,
    probe: async (fn) => {
      if (fn.deviceId === 2) throw new GuestError('ENODEV', { syscall: 'probe' });
      if (fn.deviceId === 3) throw new TypeError('a bug');
      const binding = new TestBinding();
      bindings.push(binding);
      return binding;
    },
  };
}

/** A machine of bytes with everything on bus 0. */
function setUp() {
  const machine = new FakeMachine();
  const bindings: TestBinding[] = [];
  const pci = new GuestPci(machine, { drivers: [testDriver(bindings)] });
  return { machine, pci, bindings, found: () => [...pci.functions()] };
}

function device(id: number, multiFunction = false): FakeFunction {
  const fake = new FakeFunction(0x1234, id).addBar(0, memoryBar(0x1000));
  if (multiFunction) fake.config[0x0e] = 0x80;
  return fake;
}

describe('at boot', () => {
  it('single devices are found, and all functions of multi-function ones', async () => {
    const { machine, pci, found } = setUp();
    machine.plug(0, 0, device(1));
    machine.plug(5, 0, device(1, true));
    machine.plug(5, 3, device(9));
    machine.plug(31, 0, device(1));
    await pci.start();
    expect(found().map(({ fn }) => fn.name)).toEqual([
      '0000:00:00.0',
      '0000:00:05.0',
      '0000:00:05.3',
      '0000:00:1f.0',
    ]);
  });

  it('no other function is looked for where function 0 does not say so, or is missing', async () => {
    const { machine, pci, found } = setUp();
    machine.plug(1, 0, device(1));
    machine.plug(1, 1, device(1));
    machine.plug(2, 4, device(1, true));
    await pci.start();
    expect(found().map(({ fn }) => fn.name)).toEqual(['0000:00:01.0']);
  });

  it('a function without a driver is listed, and one that its driver cannot use, and the others go on', async () => {
    const { machine, pci, found } = setUp();
    for (const id of [2, 9, 1, 3]) machine.plug(id, 0, device(id));
    await pci.start();
    const [good, refused, failed, unknown] = found();
    expect([good, refused, failed, unknown].map(({ driver }) => driver?.name)).toEqual([
      'test',
      undefined,
      undefined,
      undefined,
    ]);
    expect([refused.error?.code, failed.error?.code, unknown.error]).toEqual(['ENODEV', 'EIO', undefined]);
    expect(failed.error?.message).toMatch(/a bug/);
    expect([2, 3, 9].map((id) => machine.functions.get(`${id}.0`)?.command)).toEqual([0, 0, 0]);
    expect(machine.functions.get('1.0')?.command).toBe(0x6);
  });
});

describe('hot-plug', () => {
  async function booted() {
    const machine = new InProcessMachine({ slots: 2, ramSizeBytes: 4096 });
    const bindings: TestBinding[] = [];
    const log: string[] = [];
    const pci = new GuestPci(machine.bus, {
      drivers: [testDriver(bindings)],
      events: {
        added: ({ fn }) => log.push(`+${fn.deviceId}`),
        removed: ({ fn }) => log.push(`-${fn.deviceId}`),
        ejectRequested: (functions) => log.push(`?${functions.map(({ fn }) => fn.deviceId).join()}`),
      },
    });
    await pci.start();
    return { machine, pci, bindings, log };
  }

  function turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  it('brings drivers what is plugged in, and takes it from them; the host bridge and ports are nobody’s', async () => {
    const { machine, pci, bindings, log } = await booted();
    expect([...pci.functions()]).toEqual([]);
    machine.plug(2, [
      { number: 0, function: new TestFunction(1) },
      { number: 1, function: new TestFunction(9) },
    ]);
    await turn();
    await machine.requestUnplug(2);
    expect(log).toEqual(['+1', '+9', '-1', '-9']);
    expect(bindings[0].removed).toEqual([false]);
    machine.plug(2, [{ number: 0, function: new TestFunction(1) }]);
    await turn();
    machine.remove(2);
    await turn();
    expect(bindings[1].removed).toEqual([true]);
    expect([...pci.functions()]).toEqual([]);
  });

  it('keeps the whole slot while one function is in use, and lets it go when that ends', async () => {
    const { machine, pci, bindings, log } = await booted();
    machine.plug(1, [
      { number: 0, function: new TestFunction(1) },
      { number: 1, function: new TestFunction(1) },
    ]);
    await turn();
    const [, { fn }] = pci.functions();
    bindings[1].inUse = true;
    const unplugged = machine.requestUnplug(1);
    await turn();
    expect(log).toEqual(['+1', '+1', '?1,1']);
    expect(pci.isLeaving(fn)).toBe(true);
    bindings[1].inUse = false;
    pci.released(fn);
    await unplugged;
    expect(machine.freeSlots()).toEqual([1, 2]);
  });
});

describe('the shared interrupt line', () => {
  it('is given up on for the functions that hold it when nobody claims it', async () => {
    const { machine, pci } = setUp();
    const noisy = device(9);
    const quiet = device(9);
    noisy.config[0x06] |= 0x8;
    machine.plug(1, 0, noisy);
    machine.plug(2, 0, quiet);
    await pci.start();
    for (let i = 0; i < 1100 && (noisy.command & 0x400) === 0; i++) machine.intx(true);
    expect(noisy.command & 0x400).toBe(0x400);
    expect(quiet.command & 0x400).toBe(0);
  });

  it('asks every driver, since two functions can hold it', () => {
    const machine = new FakeMachine();
    const interrupts = new InterruptController(machine, () => {});
    const asked: string[] = [];
    interrupts.addIntx(() => asked.push('a') > 0);
    const second = () => asked.push('b') > 0;
    interrupts.addIntx(second);
    machine.intx(true);
    interrupts.removeIntx(second);
    machine.intx(true);
    machine.intx(false);
    expect(asked).toEqual(['a', 'b', 'a']);
  });

  it('leaves messages to whoever holds their number now', () => {
    const machine = new FakeMachine();
    const interrupts = new InterruptController(machine, () => {});
    const got: string[] = [];
    const first = interrupts.allocateMessage(() => got.push('first'));
    interrupts.freeMessage(first);
    machine.message(0xfee0_0000, first);
    const second = interrupts.allocateMessage(() => got.push('second'));
    machine.message(0xfee0_0000, second);
    machine.message(0xfee0_1000, second);
    machine.message(0xfee0_0000, 0xffff_ffff);
    expect(got).toEqual(['second']);
  });
});
