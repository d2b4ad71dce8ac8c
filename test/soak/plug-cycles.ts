import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChassisClient } from '../../manager/control/client.js';
import type { Port } from '../../manager/control/api.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import { Durations } from './durations.js';

export interface PlugCyclesOptions {
  readonly guest: LinuxGuest;
  /** The daemon's state directory, and its chassis. */
  readonly stateDirectory: string;
  readonly chassis: string;
  readonly port: Port;
  /** The host's folder that comes and goes. */
  readonly folder: string;
}

const TAG = 'cycle';
/** One in so many cycles is mounted and used; the others only come and go. */
const SAMPLE_EVERY = 5;
/** A cycle that takes this long is named in the report. */
const SLOW_MS = 1000;
const GUEST_TIMEOUT_MS = 60_000;

/**
 * Lines of the kernel's log are `<priority>[time] text`. 3 is an error; 4 a warning, of which those that a slow machine's clocks
 * give rise to are not about us.
 */
const COMPLAINT = /^<[0-3]>|^<4>.*(pci|virtio|9p)/i;

/** Only of the shell itself, because every program that it starts takes the emulated guest milliseconds. */
const UNTIL_SEEN = `seen() {
  for file in /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; do
    [ -e "$file" ] || continue
    read -r tag < "$file"
    [ "$tag" = ${TAG} ] && return
  done
  return 1
}
until seen; do usleep 5000; done`;

/** Plugs a directory into a running guest, sees that it arrives, and pulls it out again. */
export class PlugCycles {
  private readonly options: PlugCyclesOptions;
  private readonly client: ChassisClient;
  private readonly attached = new Durations();
  private readonly seen = new Durations();
  private readonly detached = new Durations();
  private readonly whole = new Durations();
  private readonly slow: string[] = [];
  /** What the guest's kernel said that it should not have had to. */
  readonly complaints: string[] = [];
  private count = 0;

  constructor(options: PlugCyclesOptions) {
    this.options = options;
    this.client = new ChassisClient({ directory: options.stateDirectory });
  }

  async run(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const number = ++this.count;
      await this.whole
        .time(() => this.cycle(number))
        .catch((error: unknown) => {
          throw new Error(`cycle ${number}: ${String(error)}`, { cause: error });
        });
      if (number % SAMPLE_EVERY === 0) await this.readKernelLog();
      if (this.whole.last > SLOW_MS) this.slow.push(this.describeLast(number));
    }
  }

  /** How long the parts of a cycle took: a line each, and one for each cycle that was slow. */
  report(): string {
    return [
      `${this.count} cycles over ${this.options.port}: ${String(this.whole)}`,
      `  attach answered   ${String(this.attached)}`,
      `  seen by the guest ${String(this.seen)}`,
      `  detach answered   ${String(this.detached)}`,
      ...this.slow.map((line) => `  slow: ${line}`),
      '',
    ].join('\n');
  }

  private async cycle(number: number): Promise<void> {
    const { guest, chassis, port, folder } = this.options;
    const source = { type: 'directory' as const, path: folder };
    await this.seen.time(async () => {
      const arrival = guest.ok(UNTIL_SEEN, { timeoutMs: GUEST_TIMEOUT_MS });
      arrival.catch(() => undefined);
      await this.attached.time(() => this.client.attach(chassis, { mounts: [{ source, tag: TAG }], port }));
      await arrival;
    });
    if (number % SAMPLE_EVERY === 0) await this.use(number);
    await this.detached.time(() => this.client.detach(chassis, TAG));
  }

  /** Mounts it, reads what the host wrote, and lets the host read what the guest wrote. */
  private async use(number: number): Promise<void> {
    const { guest, chassis, folder } = this.options;
    const mount = (await this.client.mounts(chassis)).find(({ tag }) => tag === TAG);
    await writeFile(join(folder, 'from-host'), `host ${number}`);
    // Linux shows a tag some milliseconds before it can be mounted: the driver's probe makes the file, then starts the device.
    await guest.waitFor(`mkdir -p /mnt/${TAG} && ${mount?.mountCommand}`, GUEST_TIMEOUT_MS);
    const script = `set -e; cd /mnt/${TAG}
      [ "$(cat from-host)" = "host ${number}" ]; echo "guest ${number}" > from-guest; rm from-host
      cd /; umount /mnt/${TAG}`;
    await guest.ok(script, { timeoutMs: GUEST_TIMEOUT_MS });
    const written = await readFile(join(folder, 'from-guest'), 'utf8');
    if (written !== `guest ${number}\n`) throw new Error(`the host reads ${JSON.stringify(written)}`);
  }

  /** Before the kernel's ring buffer wraps. */
  private async readKernelLog(): Promise<void> {
    const { stdout } = await this.options.guest.ok('dmesg -c -r', { timeoutMs: GUEST_TIMEOUT_MS });
    this.complaints.push(...stdout.split('\n').filter((line) => COMPLAINT.test(line)));
  }

  private describeLast(number: number): string {
    const parts = { attach: this.attached, seen: this.seen, detach: this.detached, whole: this.whole };
    const shown = Object.entries(parts).map(([name, { last }]) => `${name} ${last.toFixed(0)} ms`);
    return `cycle ${number}: ${shown.join(', ')}`;
  }
}
