/** A guest of nothing but a bus and the network driver, with a card plugged into it. */
import { onTestFinished } from 'vitest';
import type { NetBackend } from '../../../devices/net/backends/net-backend.js';
import { VirtioNet, type VirtioNetOptions } from '../../../devices/net/virtio-net.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../devices/virtio/transport/virtio-pci.js';
import { GuestRam } from '../../../guest/memory/ram.js';
import type { NetworkCard } from '../../../guest/net/network-card.js';
import type { ReceivedFrame } from '../../../guest/net/receive-ring.js';
import { virtioNetDriver, type NetOptions, type VirtioNetBinding } from '../../../guest/net/virtio-driver.js';
import type { DriverServices } from '../../../guest/pci/driver.js';
import { HotplugDriver } from '../../../guest/pci/hotplug.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { RootBus } from '../../../guest/pci/root-bus.js';
import { InProcessBus } from '../../../manager/ports/in-process/in-process-bus.js';
import { MAC_A } from './support/packets.js';

export interface MachineOptions {
  readonly guest?: NetOptions;
  readonly device?: Partial<VirtioNetOptions>;
  readonly transport?: Partial<VirtioPciOptions>;
}

export interface Machine {
  readonly device: VirtioNet;
  readonly fn: VirtioPciFunction;
  readonly card: NetworkCard;
  readonly binding: VirtioNetBinding;
  /** What the guest has received, in order. */
  readonly received: ReceivedFrame[];
  readonly bus: InProcessBus;
  /** What device and transport reported. */
  readonly logs: string[];
  /** Resolves once the guest has received `count` frames in all. */
  receives(count: number): Promise<ReceivedFrame[]>;
}

/** Boots a guest on a machine with one card; everything is closed with the test. */
export async function machineOn(backend: NetBackend, options: MachineOptions = {}): Promise<Machine> {
  const bus = new InProcessBus({ ramSizeBytes: 16 << 20 });
  const logs: string[] = [];
  const log = (line: string) => logs.push(line);
  const device = new VirtioNet(backend, { mac: MAC_A, ...options.device });
  const fn = new VirtioPciFunction(device, bus.memory, { msix: true, log, ...options.transport });
  bus.plug(1, [{ number: 0, function: fn }]);
  const root = new RootBus(bus, [virtioNetDriver(options.guest)], { added: () => {}, removed: () => {} });
  const services: DriverServices = {
    ram: new GuestRam(bus.ram),
    interrupts: new InterruptController(bus, () => root.disableAssertedIntx()),
  };
  const hotplug = new HotplugDriver(bus, root, services, () => {});
  await hotplug.start();
  const [found] = root.functions();
  if (found.error !== undefined) throw found.error;
  const binding = found.binding as VirtioNetBinding;
  const card = binding.open();
  const received: ReceivedFrame[] = [];
  let wake = () => {};
  card.onFrame((frame) => {
    received.push(frame);
    wake();
  });
  const receives = async (count: number): Promise<ReceivedFrame[]> => {
    while (received.length < count) await new Promise<void>((resolve) => (wake = resolve));
    return received;
  };
  onTestFinished(async () => {
    await hotplug.stop();
    bus.powerOff();
    await device.close();
  });
  return { device, fn, card, binding, received, bus, logs, receives };
}

/** Lets everything happen that is about to. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
}
