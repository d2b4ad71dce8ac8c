import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { QueueCounters, VirtioDevice } from '../../../devices/virtio/device.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../devices/virtio/transport/virtio-pci.js';
import { Reactor } from '../../../host/index.js';
import { VfioUserServer } from '../../../manager/ports/vfio-user/server.js';
import { VhostUserServer } from '../../../manager/ports/vhost-user/server.js';

/** A device that waits for QEMU behind a socket of its own. */
export interface ServedDevice {
  /** What the last driver that started the device agreed to; undefined before the first. */
  readonly features: bigint | undefined;
  /** What was counted since the driver started the device. */
  counters(queueIndex: number): Readonly<QueueCounters>;
  /** QEMU's arguments for it. */
  readonly args: readonly string[];
}

/** The arguments for a machine whose memory other processes can map. */
export function machineArgs(memoryMiB: number): string[] {
  return [
    ...['-machine', 'q35,memory-backend=ram', '-m', `${memoryMiB}M`],
    ...['-object', `memory-backend-memfd,id=ram,size=${memoryMiB}M,share=on`],
  ];
}

/** QEMU's disk for a vhost-user back-end. Left alone, it has a queue for each processor, and queues that are smaller than the disk counts on. */
export function vhostUserDisk({ queueSizes }: VirtioDevice) {
  return {
    driver: 'vhost-user-blk-pci',
    'num-queues': queueSizes.length,
    'queue-size': queueSizes[0],
  };
}

/** Serves devices from this process, each with the options that a test asks for. */
export class DeviceServer {
  /** For the test's files; gone when the server is closed. */
  readonly folder: string;
  /** What the devices and the ports complained of. */
  readonly complaints: string[] = [];
  readonly reactor = new Reactor({ onError: (error) => this.#complain(`reactor: ${String(error)}`) });
  readonly #closers: (() => void | Promise<void>)[] = [];
  #count = 0;

  private constructor(folder: string) {
    this.folder = folder;
    this.reactor.start();
  }

  static async start(): Promise<DeviceServer> {
    return new DeviceServer(await mkdtemp(join(tmpdir(), 'chassis-drivers-')));
  }

  /** A PCI function of ours, registers and all, in a slot of the root bus. The device is closed with the server. */
  vfioUser(device: VirtioDevice, slot: number, options: VirtioPciOptions): ServedDevice {
    const path = this.#socketPath();
    const agreed = watchFeatures(device);
    let made: VirtioPciFunction | undefined;
    const server = new VfioUserServer({
      ...this.#common(path),
      createFunction: (memory) =>
        (made = new VirtioPciFunction(device, memory, {
          log: (line) => this.#complain(`slot ${slot}: ${line}`),
          keepAwake: (session) => this.reactor.keepAwake(session),
          ...options,
        })),
    });
    server.listen();
    this.#closers.push(() => {
      server.close();
      return device.close();
    });
    const fn = made as VirtioPciFunction;
    const properties = {
      driver: 'vfio-user-pci',
      socket: { type: 'unix', path },
      ...placement(slot),
    };
    return {
      get features() {
        return agreed.features;
      },
      counters: (queueIndex) => fn.counters(queueIndex),
      args: ['-device', JSON.stringify(properties)],
    };
  }

  /** The device's queues, behind a PCI function that QEMU brings: one of its devices, by `driver`, with properties. */
  vhostUser(
    device: VirtioDevice,
    slot: number,
    properties: Readonly<Record<string, unknown> & { driver: string }>,
  ): ServedDevice {
    const path = this.#socketPath();
    const agreed = watchFeatures(device);
    const server = new VhostUserServer({ ...this.#common(path), device });
    server.listen();
    this.#closers.push(async () => {
      await server.close();
      await device.close();
    });
    const chardev = `drivers-${this.#count}`;
    const all = { ...properties, chardev, ...placement(slot) };
    return {
      get features() {
        return agreed.features;
      },
      counters: (queueIndex) => server.counters(queueIndex),
      args: ['-chardev', `socket,id=${chardev},path=${path}`, '-device', JSON.stringify(all)],
    };
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0)) await close();
    this.reactor.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  #common(path: string) {
    return {
      path,
      reactor: this.reactor,
      onConnect: () => {},
      onDisconnect: () => {},
      log: (line: string) => this.#complain(line),
    };
  }

  #socketPath(): string {
    return join(this.folder, `socket-${++this.#count}`);
  }

  #complain(line: string): void {
    this.complaints.push(line);
  }
}

function placement(slot: number) {
  return { bus: 'pcie.0', addr: slot.toString(16) };
}

/** Keeps what drivers agree to with the device. */
function watchFeatures(device: VirtioDevice): { readonly features: bigint | undefined } {
  const agreed: { features: bigint | undefined } = { features: undefined };
  const activate = device.activate.bind(device);
  device.activate = (context) => {
    agreed.features = context.features;
    activate(context);
  };
  return agreed;
}
