/** A guest of nothing but a bus and the network driver, with a card plugged into it. */
import { onTestFinished } from 'vitest';
import type { NetBackend } from '../../../devices/net/backends/net-backend.js';
import type { VirtioNetOptions } from '../../../devices/net/options.js';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../devices/virtio/transport/virtio-pci.js';
import type { NetworkCard } from '../../../guest/net/network-card.js';
import type { ReceivedFrame } from '../../../guest/net/receive-ring.js';
import { virtioNetDriver, type NetOptions, type VirtioNetBinding } from '../../../guest/net/virtio-driver.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';
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
  /** The card is in slot 1. */
  readonly machine: InProcessMachine;
  /** What device and transport reported. */
  readonly logs: string[];
  /** Resolves once the guest has received `count` frames in all. */
  receives(count: number): Promise<ReceivedFrame[]>;
}

/** Boots a guest on a machine with one card; everything is closed with the test. */
export async function machineOn(backend: NetBackend, options: MachineOptions = {}): Promise<Machine> {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 16 << 20 });
  const logs: string[] = [];
  const log = (line: string) => logs.push(line);
  const device = new VirtioNet(backend, { mac: MAC_A, ...options.device });
  const fn = new VirtioPciFunction(device, machine.memory, { msix: true, log, ...options.transport });
  machine.plug(1, [{ number: 0, function: fn }]);
  const pci = new GuestPci(machine.bus, { drivers: [virtioNetDriver(options.guest)] });
  await pci.start();
  const [found] = pci.functions();
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
    await pci.stop();
    machine.bus.powerOff();
    await device.close();
  });
  return { device, fn, card, binding, received, machine, logs, receives };
}

/** Lets everything happen that is about to. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
}
