import { describe, expect, it } from 'vitest';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import { GuestPciFunction } from '../../../guest/pci/function.js';
import { MmioWindow } from '../../../guest/pci/mmio-window.js';
import { InProcessBus } from '../../../manager/ports/in-process/in-process-bus.js';
import { nullDevice } from '../../devices/virtio/null-device.js';

const SLOT = 3;
const COMMAND_IO = 0x1;
const DEVICE_STATUS = 18;

/** A legacy function, whose BAR 0 is 32 ports, and a window for I/O BARs. */
function plugged(ports = 0x40) {
  const bus = new InProcessBus({ ramSizeBytes: 4096 });
  const device = nullDevice({ deviceId: 9 });
  const pci = new VirtioPciFunction(device, new RegionMemory(), { msix: false, registers: 'legacy' });
  bus.plug(SLOT, [{ number: 0, function: pci }]);
  const ioWindow = new MmioWindow({ start: 0x1010, sizeBytes: ports }, 4);
  const memory = new MmioWindow(bus.mmioWindow);
  const address = { bus: 0, device: SLOT, fn: 0 };
  return { bus, ioWindow, fn: new GuestPciFunction(bus, memory, address, ioWindow) };
}

describe('I/O BARs', () => {
  it('are sized, placed in their window by their own size, and decoded once the function is enabled', () => {
    const { bus, fn } = plugged();
    fn.enable();
    expect(fn.ports(0)).toEqual({ port: 0x1020, sizeBytes: 32 });
    expect(fn.locate(0, 0, 4)).toBeUndefined();
    expect(fn.readConfig(0x04, 2) & COMMAND_IO).toBe(COMMAND_IO);
    fn.writePort(0x1020 + DEVICE_STATUS, 1, 1);
    expect(fn.readPort(0x1020 + DEVICE_STATUS, 1)).toBe(1);
    expect(bus.readMemory(0x1020, 4)).toBe(0xffff_ffff);
  });

  it('give their ports back, and decode no longer, when the function is disabled', () => {
    const { bus, fn, ioWindow } = plugged();
    fn.enable();
    expect(fn.isSame()).toBe(true);
    fn.disable();
    expect(fn.ports(0)).toBeUndefined();
    expect(bus.io.read(0x1020, 4)).toBe(0xffff_ffff);
    expect(ioWindow.allocate(32)?.address).toBe(0x1020);
  });

  it('stay unused where there is no room, or no window', () => {
    const { bus, fn } = plugged(16);
    fn.enable();
    expect(fn.ports(0)).toBeUndefined();
    expect(fn.readConfig(0x04, 2) & COMMAND_IO).toBe(0);
    const address = { bus: 0, device: SLOT, fn: 0 };
    const without = new GuestPciFunction(bus, new MmioWindow(bus.mmioWindow), address);
    without.enable();
    expect(without.ports(0)).toBeUndefined();
  });
});

describe('ports', () => {
  it('are all ones where no BAR is, and unaligned', () => {
    const { bus, fn } = plugged();
    fn.enable();
    for (const port of [0, 0x60, 0x1000, 0x1040, 0xffff, 0x1_0000]) {
      expect(bus.io.read(port, 1)).toBe(0xff);
      bus.io.write(port, 1, 1);
    }
    expect(bus.io.read(0x1021, 2)).toBe(0xffff);
    bus.io.write(0x1020 + DEVICE_STATUS + 1, 2, 1);
    expect(fn.readPort(0x1020 + DEVICE_STATUS, 1)).toBe(0);
  });

  it('of a function that was pulled out are nobody’s', () => {
    const { bus, fn } = plugged();
    fn.enable();
    bus.remove(SLOT);
    expect(fn.readPort(0x1020 + DEVICE_STATUS, 1)).toBe(0xff);
  });
});
