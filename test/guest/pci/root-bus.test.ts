import { describe, expect, it } from 'vitest';
import { GuestError } from '../../../guest/errors.js';
import { GuestRam } from '../../../guest/memory/ram.js';
import type { DriverServices, PciBinding, PciDriver } from '../../../guest/pci/driver.js';
import { HotplugDriver } from '../../../guest/pci/hotplug.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { RootBus } from '../../../guest/pci/root-bus.js';
import { FakeFunction, FakeMachine, memoryBar } from '../fake-machine.js';

class TestBinding implements PciBinding {
  inUse = false;
  readonly removed: boolean[] = [];

  async remove(gone: boolean): Promise<void> {
    this.removed.push(gone);
  }
}

/** A bus whose driver takes device id 1, and cannot use device id 2. */
function setUp() {
  const machine = new FakeMachine();
  const log: string[] = [];
  const bindings: TestBinding[] = [];
  const driver: PciDriver = {
    name: 'test',
    matches: (fn) => fn.deviceId <= 2,
    probe: async (fn) => {
      if (fn.deviceId === 2) throw new GuestError('ENODEV', { syscall: 'probe' });
      const binding = new TestBinding();
      bindings.push(binding);
      return binding;
    },
  };
  const bus = new RootBus(machine, [driver], {
    added: ({ fn }) => log.push(`+${fn.name}`),
    removed: ({ fn }) => log.push(`-${fn.name}`),
  });
  const services: DriverServices = {
    ram: new GuestRam(machine.ram),
    interrupts: new InterruptController(machine, () => bus.disableAssertedIntx()),
  };
  const ejectRequests: string[][] = [];
  const hotplug = new HotplugDriver(machine, bus, services, (functions) =>
    ejectRequests.push(functions.map(({ fn }) => fn.name)),
  );
  return {
    machine,
    bus,
    hotplug,
    log,
    bindings,
    ejectRequests,
    settle: () => hotplug.released(99).then(flush),
  };
}

/** Everything that notifications asked for has been done. */
async function flush(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

function device(id: number, multiFunction = false): FakeFunction {
  const fake = new FakeFunction(0x1234, id).addBar(0, memoryBar(0x1000));
  if (multiFunction) fake.config[0x0e] = 0x80;
  return fake;
}

describe('enumeration', () => {
  it('finds single devices and all functions of multi-function ones', async () => {
    const { machine, hotplug, bus } = setUp();
    machine.plug(0, 0, device(1));
    machine.plug(5, 0, device(1, true));
    machine.plug(5, 3, device(9));
    machine.plug(31, 0, device(1));
    await hotplug.start();
    expect(bus.functions().map(({ fn }) => fn.name)).toEqual([
      '0000:00:00.0',
      '0000:00:05.0',
      '0000:00:05.3',
      '0000:00:1f.0',
    ]);
  });

  it('looks for no other function where function 0 does not say so, or is missing', async () => {
    const { machine, hotplug, bus } = setUp();
    machine.plug(1, 0, device(1));
    machine.plug(1, 1, device(1));
    machine.plug(2, 4, device(1, true));
    await hotplug.start();
    expect(bus.functions().map(({ fn }) => fn.name)).toEqual(['0000:00:01.0']);
  });

  it('lists a function without a driver, and one that its driver cannot use, and goes on', async () => {
    const { machine, hotplug, bus } = setUp();
    machine.plug(1, 0, device(2));
    machine.plug(2, 0, device(9));
    machine.plug(3, 0, device(1));
    await hotplug.start();
    const [broken, unknown, good] = bus.functions();
    expect(broken.error?.code).toBe('ENODEV');
    expect([broken.driver, unknown.driver, good.driver?.name]).toEqual([undefined, undefined, 'test']);
    expect(machine.functions.get('1.0')?.command).toBe(0);
    expect(machine.functions.get('2.0')?.command).toBe(0);
  });
});

describe('hot-plug', () => {
  it('probes what was plugged in, and tears down what was pulled out without touching it', async () => {
    const { machine, hotplug, log, bindings } = setUp();
    await hotplug.start();
    machine.plug(4, 0, device(1));
    machine.notify(4, 'check');
    await flush();
    machine.unplug(4, 0);
    machine.notify(4, 'check');
    await flush();
    expect(log).toEqual(['+0000:00:04.0', '-0000:00:04.0']);
    expect(bindings[0].removed).toEqual([true]);
  });

  it('sees that a function was replaced by another of its kind in between', async () => {
    const { machine, hotplug, log, bindings } = setUp();
    machine.plug(4, 0, device(1));
    await hotplug.start();
    machine.plug(4, 0, device(1));
    machine.notify(4, 'check');
    await flush();
    expect(log).toEqual(['+0000:00:04.0', '-0000:00:04.0', '+0000:00:04.0']);
    expect(bindings.map(({ removed }) => removed)).toEqual([[true], []]);
  });

  it('changes nothing where nothing changed', async () => {
    const { machine, hotplug, log } = setUp();
    machine.plug(4, 0, device(1));
    await hotplug.start();
    machine.notify(4, 'check');
    await flush();
    expect(log).toEqual(['+0000:00:04.0']);
  });

  it('lets a slot go at once where nothing of it is in use', async () => {
    const { machine, hotplug, bindings, ejectRequests } = setUp();
    machine.plug(4, 0, device(1, true));
    machine.plug(4, 1, device(1));
    await hotplug.start();
    machine.notify(4, 'eject-request');
    await flush();
    expect(machine.ejected).toEqual([4]);
    expect(bindings.map(({ removed }) => removed)).toEqual([[false], [false]]);
    expect(ejectRequests).toEqual([]);
  });

  it('keeps the whole slot while one function is in use, and lets it go when that ends', async () => {
    const { machine, hotplug, bindings, ejectRequests } = setUp();
    machine.plug(4, 0, device(1, true));
    machine.plug(4, 1, device(1));
    await hotplug.start();
    bindings[1].inUse = true;
    machine.notify(4, 'eject-request');
    await flush();
    expect(machine.ejected).toEqual([]);
    expect(ejectRequests).toEqual([['0000:00:04.0', '0000:00:04.1']]);
    expect(hotplug.isLeaving(4)).toBe(true);
    bindings[1].inUse = false;
    await hotplug.released(4);
    expect(machine.ejected).toEqual([4]);
    expect(hotplug.isLeaving(4)).toBe(false);
  });

  it('forgets a request that was taken back', async () => {
    const { machine, hotplug, bindings } = setUp();
    machine.plug(4, 0, device(1));
    await hotplug.start();
    bindings[0].inUse = true;
    machine.notify(4, 'eject-request');
    machine.notify(4, 'eject-cancelled');
    await flush();
    bindings[0].inUse = false;
    await hotplug.released(4);
    expect(machine.ejected).toEqual([]);
    expect(bindings[0].removed).toEqual([]);
  });

  it('does not hold a request against what is plugged in after the slot was emptied', async () => {
    const { machine, hotplug, bindings } = setUp();
    machine.plug(4, 0, device(1));
    await hotplug.start();
    bindings[0].inUse = true;
    machine.notify(4, 'eject-request');
    await flush();
    machine.unplug(4, 0);
    machine.notify(4, 'check');
    await flush();
    machine.plug(4, 0, device(1));
    machine.notify(4, 'check');
    await flush();
    expect(hotplug.isLeaving(4)).toBe(false);
    expect(machine.ejected).toEqual([]);
  });
});

describe('the shared interrupt line', () => {
  it('is given up on for the functions that hold it when nobody claims it', async () => {
    const { machine, hotplug } = setUp();
    const noisy = device(9);
    const quiet = device(9);
    noisy.config[0x06] |= 0x8;
    machine.plug(1, 0, noisy);
    machine.plug(2, 0, quiet);
    await hotplug.start();
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
