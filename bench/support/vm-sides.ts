import type { Mount } from '../../manager/control/api.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import type { Bench } from './bench-vm.js';
import { deviceInterrupts } from './guest-interrupts.js';
import type { VmTest } from './vm-tests.js';

/** One way in which the guest has the directory: mounted at /mnt/NAME. */
export interface VmSide {
  /** Also its tag. */
  readonly name: string;
  /** A shell command in the guest, but for the mount point. */
  readonly mountCommand: string;
  /** True where it is a mount of the chassis, which counts what crosses it. */
  readonly counted: boolean;
}

/** What is told of a mount of the chassis. */
export const CROSSINGS = ['requests', 'kicks', 'interrupts', 'wakes', 'spuriousWakes', 'polls'] as const;

/** What crossed a mount of the chassis. */
export type Crossings = Record<(typeof CROSSINGS)[number], number>;

export interface Run {
  /** What the test printed. */
  readonly figure: number;
  /** Interrupts that the guest took of the side's device. */
  readonly guestInterrupts: number;
  /** Of a mount of the chassis. */
  readonly crossings?: Crossings;
}

/** Of an emulated guest on a busy machine. */
const RUN_TIMEOUT_MS = 300_000;

/** Runs tests on one side. */
export class SideRunner {
  readonly side: VmSide;
  private readonly bench: Bench;
  private readonly guest: LinuxGuest;
  /** In the guest's /sys/bus/virtio/devices. */
  private readonly device: string;

  private constructor(side: VmSide, bench: Bench, guest: LinuxGuest, device: string) {
    this.side = side;
    this.bench = bench;
    this.guest = guest;
    this.device = device;
  }

  /** Mounts it, with a folder of the side's own. */
  static async mount(side: VmSide, bench: Bench, guest: LinuxGuest): Promise<SideRunner> {
    const { name, mountCommand } = side;
    await guest.ok(`mkdir -p /mnt/${name} && ${mountCommand} /mnt/${name} && mkdir ${folderOf(side)}`, {
      timeoutMs: 60_000,
    });
    const { stdout } = await guest.ok(deviceScript(name));
    return new SideRunner(side, bench, guest, stdout.trim());
  }

  async run(test: VmTest, sizeMiB: number): Promise<Run> {
    const filledIn = (text: string): string =>
      text.replaceAll('DIR', folderOf(this.side)).replaceAll('SIZE', String(sizeMiB));
    // What this sends is not counted.
    await this.guest.ok(`{ ${filledIn(test.prepare)}; } && sync && echo 3 > /proc/sys/vm/drop_caches`, {
      timeoutMs: RUN_TIMEOUT_MS,
    });
    const before = await this.crossings();
    const script = `cat /proc/interrupts; echo =; ${filledIn(test.command)} || exit; echo =; cat /proc/interrupts`;
    const { stdout } = await this.guest.ok(script, { timeoutMs: RUN_TIMEOUT_MS });
    const after = await this.crossings();
    const [first, figure, last] = stdout.split('=\n');
    const guestInterrupts = deviceInterrupts(last, this.device) - deviceInterrupts(first, this.device);
    return {
      figure: Number(figure),
      guestInterrupts,
      ...(before && after && { crossings: difference(before, after) }),
    };
  }

  private async crossings(): Promise<Mount['counters']> {
    if (!this.side.counted) return undefined;
    const mounts = await this.bench.client.mounts();
    return mounts.find(({ tag }) => tag === this.side.name)?.counters;
  }
}

function folderOf({ name }: VmSide): string {
  return `/mnt/${name}/of-${name}`;
}

/** Prints the device with a tag. Only newer kernels show virtio-fs's, but there is no second one. */
function deviceScript(tag: string): string {
  return `cd /sys/bus/virtio/drivers
for device in 9pnet_virtio/virtio*; do
  [ "$(tr -d '\\0' < $device/mount_tag)" = ${tag} ] && basename $device && exit
done
basename virtiofs/virtio*`;
}

/** What crossed between two looks. */
export function difference(before: Crossings, after: Crossings): Crossings {
  const entries = CROSSINGS.map((key) => [key, after[key] - before[key]]);
  return Object.fromEntries(entries) as Crossings;
}
