import { describe, expect, it } from 'vitest';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import type { GuestBus } from '../../../guest/bus.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';
import { nullDevice } from '../../devices/virtio/null-device.js';

const COMMAND_IO = 0x1;
const DEVICE_STATUS = 18;

/** A legacy function, whose BAR 0 is 32 ports, as a guest found it; `bend` changes the machine that the guest is shown. */
async function plugged(bend: (bus: GuestBus) => GuestBus = (bus) => bus) {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4096 });
  const device = nullDevice({ deviceId: 9 });
  machine.plug(1, [
    {
      number: 0,
      function: new VirtioPciFunction(device, new RegionMemory(), { msix: false, registers: 'legacy' }),
    },
  ]);
  const bus = bend(machine.bus);
  const pci = new GuestPci(bus, { drivers: [] });
  await pci.start();
  const [{ fn }] = pci.functions();
  const io = machine.bus.io!;
  return { machine, io, fn };
}

/** The machine with so many ports for I/O BARs. Its methods stay bound to it: they have private fields. */
function asSeenBy(bus: GuestBus, sizeBytes: number): GuestBus {
  return new Proxy(bus, {
    get(target, name) {
      if (name === 'io') return sizeBytes && { ...target.io!, window: { start: 0x1000, sizeBytes } };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

describe('I/O BARs', () => {
  it('are placed by their own size, and decoded once the function is enabled', async () => {
    const { machine, io, fn } = await plugged();
    expect(fn.ports(0)).toMatchObject({ sizeBytes: 32 });
    const { port } = fn.ports(0)!;
    expect(port % 32).toBe(0);
    expect(io.read(port, 1)).toBe(0xff);
    fn.enable();
    expect(fn.locate(0, 0, 4)).toBeUndefined();
    expect(fn.readConfig(0x04, 2) & COMMAND_IO).toBe(COMMAND_IO);
    fn.writePort(port + DEVICE_STATUS, 1, 1);
    expect(fn.readPort(port + DEVICE_STATUS, 1)).toBe(1);
    expect(machine.bus.readMemory(port, 4)).toBe(0xffff_ffff);
  });

  it('decode no longer when the function is disabled', async () => {
    const { io, fn } = await plugged();
    fn.enable();
    fn.disable();
    expect(io.read(fn.ports(0)!.port, 4)).toBe(0xffff_ffff);
  });

  it.each([0, 16])('stay unused where the window has %i bytes', async (sizeBytes) => {
    const { fn } = await plugged((bus) => asSeenBy(bus, sizeBytes));
    fn.enable();
    expect(fn.ports(0)).toBeUndefined();
    expect(fn.readConfig(0x04, 2) & COMMAND_IO).toBe(0);
  });
});

describe('ports', () => {
  it('are all ones where no BAR is, and unaligned', async () => {
    const { io, fn } = await plugged();
    fn.enable();
    const { port } = fn.ports(0)!;
    for (const other of [0, 0x60, port - 4, port + 32, 0xffff, 0x1_0000]) {
      expect(io.read(other, 1)).toBe(0xff);
      io.write(other, 1, 1);
    }
    expect(io.read(port + 1, 2)).toBe(0xffff);
    io.write(port + DEVICE_STATUS + 1, 2, 1);
    expect(fn.readPort(port + DEVICE_STATUS, 1)).toBe(0);
  });

  it('of a function that was pulled out are nobody’s', async () => {
    const { machine, fn } = await plugged();
    fn.enable();
    const { port } = fn.ports(0)!;
    machine.remove(1);
    expect(fn.readPort(port + DEVICE_STATUS, 1)).toBe(0xff);
  });
});
