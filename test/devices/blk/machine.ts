/** A guest of nothing but a bus and the block driver, with disks plugged into it. */
import { onTestFinished } from 'vitest';
import type { BlockBackend } from '../../../devices/blk/backends/block-backend.js';
import { VirtioBlk, type VirtioBlkOptions } from '../../../devices/blk/virtio-blk.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import type { VirtioBlkBinding } from '../../../guest/blk/virtio-driver.js';
import { type BlkOptions, virtioBlkDriver } from '../../../guest/blk/virtio-driver.js';
import type { Disk } from '../../../guest/blk/disk.js';
import type { GuestRam } from '../../../guest/memory/ram.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';

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
  /** The disk is in slot 1. */
  readonly machine: InProcessMachine;
  readonly ram: GuestRam;
  /** What device and transport reported. */
  readonly logs: string[];
}

/** Boots a guest on a machine with one disk; everything is closed with the test. */
export async function machineWith(backend: BlockBackend, options: MachineOptions = {}): Promise<Machine> {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: options.ramSizeBytes ?? 16 << 20 });
  const logs: string[] = [];
  const log = (line: string) => logs.push(line);
  const device = new VirtioBlk(backend, { serial: 'test-disk', log, ...options.device });
  machine.plug(1, [
    {
      number: 0,
      function: new VirtioPciFunction(device, machine.memory, { msix: options.msix ?? true, log }),
    },
  ]);
  const pci = new GuestPci(machine.bus, { drivers: [virtioBlkDriver(options.guest)] });
  await pci.start();
  const [found] = pci.functions();
  if (found.error !== undefined) throw found.error;
  const binding = found.binding as VirtioBlkBinding;
  const disk = await binding.open();
  onTestFinished(async () => {
    await pci.stop();
    machine.bus.powerOff();
    await device.close();
  });
  return { device, disk, binding, machine, ram: pci.services.ram, logs };
}
