/** A guest of nothing but a bus and the block driver, with disks plugged into it. */
import { onTestFinished } from 'vitest';
import type { BlockBackend } from '../../../devices/blk/backends/block-backend.js';
import { VirtioBlk, type VirtioBlkOptions } from '../../../devices/blk/virtio-blk.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import type { VirtioBlkBinding } from '../../../guest/blk/virtio-driver.js';
import { type BlkOptions, virtioBlkDriver } from '../../../guest/blk/virtio-driver.js';
import type { Disk } from '../../../guest/blk/disk.js';
import { GuestRam } from '../../../guest/memory/ram.js';
import type { DriverServices } from '../../../guest/pci/driver.js';
import { HotplugDriver } from '../../../guest/pci/hotplug.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { RootBus } from '../../../guest/pci/root-bus.js';
import { InProcessBus } from '../../../manager/ports/in-process/in-process-bus.js';

export interface MachineOptions {
  readonly guest?: BlkOptions;
  readonly msix?: boolean;
  readonly device?: Partial<VirtioBlkOptions>;
  readonly ramSizeBytes?: number;
}

export interface Machine {
  readonly device: VirtioBlk;
  readonly disk: Disk;
  readonly binding: VirtioBlkBinding;
  readonly bus: InProcessBus;
  readonly ram: GuestRam;
  /** What device and transport reported. */
  readonly logs: string[];
}

/** Boots a guest on a machine with one disk; everything is closed with the test. */
export async function machineWith(backend: BlockBackend, options: MachineOptions = {}): Promise<Machine> {
  const bus = new InProcessBus({ ramSizeBytes: options.ramSizeBytes ?? 16 << 20 });
  const logs: string[] = [];
  const log = (line: string) => logs.push(line);
  const device = new VirtioBlk(backend, { serial: 'test-disk', log, ...options.device });
  const fn = new VirtioPciFunction(device, bus.memory, { msix: options.msix ?? true, log });
  bus.plug(1, [{ number: 0, function: fn }]);
  const root = new RootBus(bus, [virtioBlkDriver(options.guest)], { added: () => {}, removed: () => {} });
  const services: DriverServices = {
    ram: new GuestRam(bus.ram),
    interrupts: new InterruptController(bus, () => root.disableAssertedIntx()),
  };
  const hotplug = new HotplugDriver(bus, root, services, () => {});
  await hotplug.start();
  const [found] = root.functions();
  if (found.error !== undefined) throw found.error;
  const binding = found.binding as VirtioBlkBinding;
  const disk = await binding.open();
  onTestFinished(async () => {
    await hotplug.stop();
    bus.powerOff();
    await device.close();
  });
  return { device, disk, binding, bus, ram: services.ram, logs };
}
