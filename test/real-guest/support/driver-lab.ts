import { LinuxGuest } from '../../../testbed/guest.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { requireRealQemu } from '../lab.js';
import { serve, type Combination } from './combinations.js';
import { diskContents, shareContents, type Contents } from './contents.js';
import { DeviceServer, machineArgs, type ServedDevice } from './device-server.js';
import { functionFolder, linuxView, type LinuxView } from './linux-view.js';

/** A Linux, and which registers its driver prefers where a function has both. */
export interface Drivers {
  readonly kernel: KernelVersion;
  readonly forceLegacy: boolean;
}

/** SHA-256 of what a guest read, by each of its readers, and of what it wrote. */
export interface MovedData {
  readonly read: readonly string[];
  readonly written: string;
}

/** A running Linux with a device for each of some combinations, all at once. They go by their index. */
export class DriverLab {
  readonly server: DeviceServer;
  readonly contents: readonly Contents[];
  readonly served: readonly ServedDevice[];
  readonly #guest: LinuxGuest;

  private constructor(
    server: DeviceServer,
    contents: readonly Contents[],
    served: readonly ServedDevice[],
    guest: LinuxGuest,
  ) {
    this.server = server;
    this.contents = contents;
    this.served = served;
    this.#guest = guest;
  }

  static async boot(drivers: Drivers, combinations: readonly Combination[]): Promise<DriverLab> {
    const server = await DeviceServer.start();
    try {
      const contents = await Promise.all(
        combinations.map((combination, index) => contentsFor(server, combination, index)),
      );
      const served = combinations.map((combination, index) =>
        serve(server, combination, contents[index].device, slotOf(index)),
      );
      const guest = await bootLinux(drivers, served);
      return new DriverLab(server, contents, served, guest);
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Has the guest read what the host put into a device, and write to it. */
  async moveData(index: number): Promise<MovedData> {
    const { stdout } = await this.#guest.ok(this.contents[index].script(functionFolder(slotOf(index))));
    const digests = stdout.match(/^[0-9a-f]{64}/gm) ?? [];
    return { read: digests.slice(0, -1), written: digests.at(-1) ?? '' };
  }

  view(index: number): Promise<LinuxView> {
    return linuxView(this.#guest, slotOf(index));
  }

  async stop(): Promise<void> {
    await this.#guest.shutdown();
    await this.server.close();
  }
}

/** Slot 0 is the host bridge. */
function slotOf(index: number): number {
  return index + 1;
}

async function contentsFor(
  server: DeviceServer,
  { device, queues }: Combination,
  index: number,
): Promise<Contents> {
  const log = (line: string) => server.complaints.push(line);
  return device === 'share' ? shareContents(server.folder, `share-${index}`, log) : diskContents(queues, log);
}

function bootLinux({ kernel, forceLegacy }: Drivers, served: readonly ServedDevice[]): Promise<LinuxGuest> {
  return LinuxGuest.boot({
    qemu: requireRealQemu(),
    kernel,
    machineArgs: [...machineArgs(512), '-smp', '2', ...served.flatMap(({ args }) => args)],
    kernelArgs: forceLegacy ? ['virtio_pci.force_legacy=1'] : [],
  });
}
