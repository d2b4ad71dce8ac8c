import type { Disk } from '../../manager/control/api.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import type { Bench } from './bench-vm.js';
import type { DiskTest } from './disk-tests.js';
import { deviceInterrupts } from './guest-interrupts.js';
import { difference, type Run } from './vm-sides.js';

export interface DiskSide {
  /** Also its serial. */
  readonly name: string;
  /** True where it is a disk of the chassis, which counts what crosses it. */
  readonly counted: boolean;
}

/** Of an emulated guest on a busy machine. */
const RUN_TIMEOUT_MS = 300_000;

/** Runs tests on one side's disk. */
export class DiskRunner {
  readonly side: DiskSide;
  private readonly bench: Bench;
  private readonly guest: LinuxGuest;
  /** In the guest's /dev. */
  private readonly name: string;
  /** In the guest's /sys/bus/virtio/devices. */
  private readonly device: string;

  private constructor(side: DiskSide, bench: Bench, guest: LinuxGuest, name: string, device: string) {
    this.side = side;
    this.bench = bench;
    this.guest = guest;
    this.name = name;
    this.device = device;
  }

  static async find(side: DiskSide, bench: Bench, guest: LinuxGuest): Promise<DiskRunner> {
    const script = `cd /sys/block
disk=$(basename $(dirname $(grep -lx ${side.name} vd*/serial))) && echo $disk && basename $(readlink $disk/device)`;
    const [name, device] = (await guest.ok(script)).stdout.trim().split('\n');
    return new DiskRunner(side, bench, guest, name, device);
  }

  /** So that no test reads or writes what the file has no block for. */
  async fill(sizeMiB: number): Promise<void> {
    await this.guest.ok(`/blkbench seq-write /dev/${this.name} ${sizeMiB}`, { timeoutMs: RUN_TIMEOUT_MS });
  }

  async run({ command }: DiskTest): Promise<Run> {
    const before = await this.crossings();
    const filledIn = command.replaceAll('DEVICE', `/dev/${this.name}`);
    const script = `cat /proc/interrupts; echo =; ${filledIn} || exit; echo =; cat /proc/interrupts`;
    const { stdout } = await this.guest.ok(script, { timeoutMs: RUN_TIMEOUT_MS });
    const after = await this.crossings();
    const [first, figure, last] = stdout.split('=\n');
    return {
      figure: Number(figure),
      guestInterrupts: deviceInterrupts(last, this.device) - deviceInterrupts(first, this.device),
      ...(before && after && { crossings: difference(before, after) }),
    };
  }

  private async crossings(): Promise<Disk['counters']> {
    if (!this.side.counted) return undefined;
    const disks = await this.bench.client.disks();
    return disks.find(({ name }) => name === this.side.name)?.counters;
  }
}
