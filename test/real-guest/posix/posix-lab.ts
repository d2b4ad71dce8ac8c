import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES, Virtio9p } from '../../../devices/9p/virtio-9p.js';
import { LinuxGuest } from '../../../testbed/guest.js';
import { DEBIAN_ROOT, guestPrograms } from '../../../testbed/guest-programs.js';
import type { ExtraFile } from '../../../testbed/initramfs.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { VirtiofsdProcess } from '../../../testbed/virtiofsd-process.js';
import { requireRealQemu } from '../lab.js';
import { genericDevice } from '../support/combinations.js';
import { inDebian, prepareDebian } from '../support/debian-in-guest.js';
import { DeviceServer, machineArgs } from '../support/device-server.js';
import type { ServerName } from './servers.js';

const SUITE = fileURLToPath(new URL('suite/', import.meta.url));
const MEMORY_MIB = 1024;
/** Above those that QEMU gives to devices without an address. */
const SLOTS = { chassis: 0x10, second: 0x11 } as const;
/** A second device on the directory that `chassis` shows, over the other port: another guest, to the server. */
export const SECOND = 'second';

/** How the 9p mounts cache: not at all, or as shared mappings need it. */
export type CacheMode = 'none' | 'mmap';

/** A running Linux, before which a directory of each server's own lies in `HOST/NAME`, and Debian's programs. */
export class PosixLab {
  readonly guest: LinuxGuest;
  readonly #server: DeviceServer;
  readonly #virtiofsd: VirtiofsdProcess;

  private constructor(server: DeviceServer, virtiofsd: VirtiofsdProcess, guest: LinuxGuest) {
    this.#server = server;
    this.#virtiofsd = virtiofsd;
    this.guest = guest;
  }

  static async boot(kernel: KernelVersion): Promise<PosixLab> {
    const server = await DeviceServer.start();
    const virtiofsd = await startVirtiofsd(server);
    try {
      const guest = await LinuxGuest.boot({
        qemu: requireRealQemu(),
        kernel,
        machineArgs: [
          ...machineArgs(MEMORY_MIB),
          ...(await serveChassis(server)),
          ...(await serveByQemu(server)),
        ],
        extraArgs: virtiofsd.qemuArguments('virtiofsd'),
        extraFiles: [...(await guestPrograms()), ...(await suiteFiles())],
      });
      await prepareDebian(guest);
      return new PosixLab(server, virtiofsd, guest);
    } catch (error) {
      await virtiofsd.stop();
      await server.close();
      throw error;
    }
  }

  /** The directory on the host that a server shows. */
  directory(name: ServerName): string {
    return join(this.#server.folder, name);
  }

  /** Mounts it anew: at /mnt/NAME, seen by programs that run `inDebian`. */
  async mount(name: ServerName | typeof SECOND, cache: CacheMode): Promise<void> {
    const place = `${DEBIAN_ROOT}/mnt/${name}`;
    const command = `mkdir -p ${place}; umount ${place} 2>/dev/null; ${mountCommand(name, cache)} ${place}`;
    await this.guest.ok(command, { timeoutMs: 60_000 });
  }

  /** Runs a script with Debian's programs; answers what it printed. */
  inDebian(script: string, timeoutMs = 120_000): Promise<string> {
    return inDebian(this.guest, script, { timeoutMs });
  }

  async stop(): Promise<void> {
    await this.guest.shutdown();
    await this.#virtiofsd.stop();
    await this.#server.close();
  }
}

function mountCommand(name: ServerName | typeof SECOND, cache: CacheMode): string {
  const options = `trans=virtio,version=9p2000.L,msize=512000,cache=${cache},posixacl`;
  switch (name) {
    case 'tmpfs':
      return 'mount -t tmpfs -o size=256M tmpfs';
    case 'virtiofsd':
      return 'mount -t virtiofs virtiofsd';
    default:
      return `mount -t 9p -o ${options} ${name}`;
  }
}

/** The same directory, over both ports. Device nodes are allowed, as they are by the others. */
async function serveChassis(server: DeviceServer): Promise<string[]> {
  const path = join(server.folder, 'chassis');
  await mkdir(path);
  const device = async (tag: string): Promise<Virtio9p> =>
    new Virtio9p(await HostDirectory.open(path, { allowDeviceNodes: true }), tag, {
      maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
      readOnly: false,
      maxFids: 1 << 16,
      maxOpenFiles: 1 << 16,
      log: (message, error) => void server.complaints.push(`${message} ${String(error)}`),
    });
  const first = await device('chassis');
  const second = await device(SECOND);
  return [
    ...server.vhostUser(first, SLOTS.chassis, genericDevice(first)).args,
    ...server.vfioUser(second, SLOTS.second, { registers: 'modern', msix: true }).args,
  ];
}

async function serveByQemu(server: DeviceServer): Promise<string[]> {
  const path = join(server.folder, 'qemu');
  await mkdir(path);
  return [
    ...['-fsdev', `local,id=native,path=${path},security_model=passthrough`],
    ...['-device', 'virtio-9p-pci,fsdev=native,mount_tag=qemu'],
  ];
}

async function startVirtiofsd(server: DeviceServer): Promise<VirtiofsdProcess> {
  const path = join(server.folder, 'virtiofsd');
  await mkdir(path);
  return VirtiofsdProcess.start(server.folder, path, 'mmap', ['--xattr', '--posix-acl']);
}

async function suiteFiles(): Promise<ExtraFile[]> {
  const names = (await readdir(SUITE)).filter((name) => name.endsWith('.py'));
  return Promise.all(
    names.map(async (name) => ({
      path: `${DEBIAN_ROOT}/suite/${name}`,
      bytes: await readFile(join(SUITE, name)),
      mode: 0o644,
    })),
  );
}
