import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { MountTree, type AddOptions } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { memoryVolume } from '../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs } from '../../../devices/9p/fs/node-fs/node-fs.js';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES, Virtio9p } from '../../../devices/9p/virtio-9p.js';
import { HostWatcher } from '../../../manager/host-watch/host-watcher.js';
import { LinuxGuest, type ShellOptions } from '../../../testbed/guest.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { requireRealQemu } from '../lab.js';
import { DeviceServer, machineArgs } from './device-server.js';

const TAG = 'tree';
/** Where the guest mounts the tree. */
export const ROOT = '/chassis';
/** Under emulation, on a machine that others use as well. */
const PATIENCE = { timeoutMs: 60_000 };

/** A running Linux that has a mount tree mounted, served from this process. */
export class TreeLab {
  readonly tree: MountTree;
  readonly server: DeviceServer;
  readonly guest: LinuxGuest;
  /** What was told to have changed in watched directories. */
  readonly told: string[] = [];
  readonly #device: Virtio9p;
  readonly #watcher: HostWatcher;

  private constructor(tree: MountTree, device: Virtio9p, server: DeviceServer, guest: LinuxGuest) {
    this.tree = tree;
    this.#device = device;
    this.server = server;
    this.guest = guest;
    this.#watcher = new HostWatcher(server.reactor);
  }

  static async boot(kernel: KernelVersion): Promise<TreeLab> {
    const server = await DeviceServer.start();
    try {
      const log = (message: string, error?: unknown) =>
        void server.complaints.push(`${message} ${String(error)}`);
      const tree = new MountTree({ log });
      const device = new Virtio9p(tree, TAG, {
        maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
        readOnly: false,
        maxFids: 20_000,
        maxOpenFiles: 1000,
        log,
      });
      const served = server.vfioUser(device, 1, { registers: 'modern', msix: true });
      const guest = await LinuxGuest.boot({
        qemu: requireRealQemu(),
        kernel,
        machineArgs: [...machineArgs(512), '-smp', '2', ...served.args],
      });
      const options = `trans=virtio,version=9p2000.L,msize=512000,cache=none`;
      await guest.ok(`mkdir ${ROOT} && mount -t 9p -o ${options} ${TAG} ${ROOT}`);
      return new TreeLab(tree, device, server, guest);
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Requests that the guest has sent. */
  get requests(): number {
    return this.#device.statistics.requests;
  }

  /** Starts the helper from the tree, as its header says. */
  async startHelper(): Promise<void> {
    await this.sh(`sh ${ROOT}/ctl/helper.sh >/tmp/helper.log 2>&1 &`);
  }

  /** Adds a new folder of the host, and answers its path. */
  async addDirectory(name: string, options: Partial<AddOptions> = {}): Promise<string> {
    const path = join(this.server.folder, encodeURIComponent(name));
    await mkdir(path);
    const directory = await HostDirectory.open(path);
    this.tree.add(name, directory, { readOnly: false, ...options });
    if (options.watched)
      directory.watch({
        source: this.#watcher,
        listener: (changed) => {
          this.told.push(changed);
          this.tree.changed(name, changed);
        },
      });
    return path;
  }

  /** Adds a volume in memory. */
  addMemory(name: string, options: Partial<AddOptions> = {}): Volume {
    const volume = new Volume();
    this.tree.add(name, new NodeFs(memoryVolume(volume)), { readOnly: false, ...options });
    return volume;
  }

  mounted(name: string): Promise<void> {
    return this.tree.mounted(name, PATIENCE);
  }

  release(name: string): Promise<void> {
    return this.tree.release(name, PATIENCE);
  }

  /** Runs a script in the guest, which has to succeed, and answers what it printed. */
  async sh(script: string, options?: ShellOptions): Promise<string> {
    return (await this.guest.ok(`set -e\n${script}`, { timeoutMs: 90_000, ...options })).stdout.trimEnd();
  }

  /** Starts a script in the guest, and answers once `check` succeeds; then `kill` ends it and all that it started. */
  async background(script: string, check: string): Promise<{ kill(): Promise<void> }> {
    const end = new AbortController();
    const running = this.guest.sh(script, { timeoutMs: 300_000, signal: end.signal }).catch(() => undefined);
    await this.guest.waitFor(check, 30_000);
    return {
      kill: async () => {
        end.abort();
        await running;
      },
    };
  }

  async stop(): Promise<void> {
    await this.guest.shutdown();
    this.#watcher.close();
    await this.server.close();
  }
}
