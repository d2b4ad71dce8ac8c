/** The whole stack in this process: a host directory behind a 9p server, virtio, PCI, the bus, and a guest that boots on it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import type { FileSystem } from '../../devices/9p/fs/file-system.js';
import { Virtio9p } from '../../devices/9p/virtio-9p.js';
import { VirtioPciFunction } from '../../devices/virtio/transport/virtio-pci.js';
import { InProcessMachine } from '../../manager/ports/in-process/in-process-machine.js';

const SERVER_OPTIONS = {
  maxMsizeBytes: 1 << 20,
  readOnly: false,
  maxFids: 10_000,
  maxOpenFiles: 1000,
};

export class Stack {
  readonly machine: InProcessMachine;
  /** What servers and functions reported: bugs and faults. */
  readonly logs: string[] = [];
  readonly devices = new Map<string, Virtio9p>();
  readonly #directories: string[] = [];

  constructor(ramSizeBytes?: number) {
    this.machine = new InProcessMachine({ ramSizeBytes });
  }

  /** A fresh directory of the host that a device with this tag shows. */
  async share(
    tag: string,
    options: { msix?: boolean; fs?: FileSystem; registers?: 'modern' | 'transitional' | 'legacy' } = {},
  ) {
    const directory = mkdtempSync(join(tmpdir(), 'guest-test-'));
    this.#directories.push(directory);
    const fs = options.fs ?? (await HostDirectory.open(directory));
    const device = new Virtio9p(fs, tag, { ...SERVER_OPTIONS, log: (message) => this.logs.push(message) });
    this.devices.set(tag, device);
    const fn = new VirtioPciFunction(device, this.machine.memory, {
      msix: options.msix ?? true,
      registers: options.registers ?? 'modern',
      log: (message) => this.logs.push(message),
    });
    return { directory, device, fn };
  }

  /** Shares directories in the functions of one slot. */
  async plug(slot: number, tags: readonly string[], options: { msix?: boolean } = {}): Promise<string[]> {
    const shares = await Promise.all(tags.map((tag) => this.share(tag, options)));
    this.machine.plug(
      slot,
      shares.map(({ fn }, number) => ({ number, function: fn })),
    );
    return shares.map(({ directory }) => directory);
  }

  /** Fids that guests hold at all servers together. */
  get fids(): number {
    return [...this.devices.values()].reduce((sum, device) => sum + device.statistics.fids, 0);
  }

  async close(): Promise<void> {
    await Promise.all([...this.devices.values()].map((device) => device.close()));
    for (const directory of this.#directories) rmSync(directory, { recursive: true, force: true });
  }
}
