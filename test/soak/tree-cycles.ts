import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChassisClient } from '../../manager/control/client.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import { Durations } from './durations.js';

export interface TreeCyclesOptions {
  readonly guest: LinuxGuest;
  /** The daemon's state directory, and its chassis. */
  readonly stateDirectory: string;
  readonly chassis: string;
  /** The host's folder that comes and goes. */
  readonly folder: string;
}

const TAG = 'cycle';
const TARGET = '/mnt/cycle';
/** One in so many cycles is mounted at a target and used; the others only come and go. */
const SAMPLE_EVERY = 50;

/** Shows a directory in the tree of a running guest, and takes it out again. */
export class TreeCycles {
  private readonly options: TreeCyclesOptions;
  private readonly client: ChassisClient;
  private readonly attached = new Durations();
  private readonly detached = new Durations();
  private readonly mounted = new Durations();
  private readonly unmounted = new Durations();
  private count = 0;

  constructor(options: TreeCyclesOptions) {
    this.options = options;
    this.client = new ChassisClient({ directory: options.stateDirectory });
  }

  async run(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const number = ++this.count;
      await (number % SAMPLE_EVERY === 0 ? this.use(number) : this.pass()).catch((error: unknown) => {
        throw new Error(`cycle ${number}: ${String(error)}`, { cause: error });
      });
    }
  }

  report(): string {
    return [
      `${this.count} cycles in the tree`,
      `  attach answered   ${String(this.attached)}`,
      `  detach answered   ${String(this.detached)}`,
      `  attach at a target ${String(this.mounted)}`,
      `  detach from there  ${String(this.unmounted)}`,
      '',
    ].join('\n');
  }

  private async pass(): Promise<void> {
    await this.attached.time(() => this.attach());
    await this.detached.time(() => this.client.detach(this.options.chassis, TAG));
  }

  private async use(number: number): Promise<void> {
    const { guest, chassis, folder } = this.options;
    await writeFile(join(folder, 'from-host'), `host ${number}`);
    await this.mounted.time(() => this.attach(TARGET));
    await guest.ok(
      `cd ${TARGET} && [ "$(cat from-host)" = "host ${number}" ] && echo "guest ${number}" > from-guest && rm from-host`,
    );
    await this.unmounted.time(() => this.client.detach(chassis, TAG));
    const written = await readFile(join(folder, 'from-guest'), 'utf8');
    if (written !== `guest ${number}\n`) throw new Error(`the host reads ${JSON.stringify(written)}`);
  }

  private attach(target?: string) {
    const source = { type: 'directory' as const, path: this.options.folder };
    const mounts = [{ source, tag: TAG, ...(target !== undefined && { target }) }];
    return this.client.attach(this.options.chassis, { mounts, via: 'tree' });
  }
}
