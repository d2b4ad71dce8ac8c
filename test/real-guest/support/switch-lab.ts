import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Card, QemuArgs } from '../../../manager/control/api.js';
import { LinuxGuest } from '../../../testbed/guest.js';
import type { ExtraFile } from '../../../testbed/initramfs.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { TestDaemon } from '../../support/daemon.js';
import { requireRealQemu } from '../lab.js';

/** A chassis of the daemon's, and the guest on it. */
export interface LabMachine {
  readonly chassis: string;
  readonly guest: LinuxGuest;
}

/** A daemon with some chassis, and a running Linux on each: what is plugged in, the command line plugs in. */
export class SwitchLab {
  readonly daemon: TestDaemon;
  readonly folder: string;
  readonly machines: readonly LabMachine[];

  private constructor(daemon: TestDaemon, folder: string, machines: readonly LabMachine[]) {
    this.daemon = daemon;
    this.folder = folder;
    this.machines = machines;
  }

  static async boot(kernels: readonly KernelVersion[], extraFiles: readonly ExtraFile[]): Promise<SwitchLab> {
    const daemon = await TestDaemon.start();
    const folder = await mkdtemp(join(tmpdir(), 'chassis-switch-lab-'));
    try {
      const boot = async (kernel: KernelVersion, index: number): Promise<LabMachine> => {
        const chassis = `vm${index}`;
        await daemon.json('create', chassis, '--slots', '3');
        const { args } = await daemon.json<QemuArgs>('args', chassis, '--memory', '320');
        const machineArgs = [...args, '-smp', '2', '-nic', 'none'];
        const guest = await LinuxGuest.boot({ qemu: requireRealQemu(), kernel, machineArgs, extraFiles });
        return { chassis, guest };
      };
      return new SwitchLab(daemon, folder, await Promise.all(kernels.map(boot)));
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  /** Adds a card, and brings it up in the guest at an address. */
  async add(index: number, name: string, address: string, ...words: string[]): Promise<Card> {
    const { chassis } = this.machines[index];
    const { card } = await this.daemon.json<{ card: Card }>(
      'net',
      'add',
      name,
      '--chassis',
      chassis,
      ...words,
    );
    await this.guest(index).waitFor(interfaceOf(card.mac));
    await this.sh(
      index,
      `card=$(${interfaceOf(card.mac)}); ip addr add ${address}/24 dev $card; ip link set $card up`,
    );
    return card;
  }

  async remove(index: number, name: string): Promise<void> {
    await this.daemon.json('net', 'remove', name, '--chassis', this.machines[index].chassis);
  }

  /** The card as it is now. */
  async card(index: number, name: string): Promise<Card> {
    const { chassis } = this.machines[index];
    const { cards } = await this.daemon.json<{ cards: Card[] }>('net', 'list', '--chassis', chassis);
    const card = cards.find((each) => each.name === name);
    if (!card) throw new Error(`there is no ${name}`);
    return card;
  }

  guest(index: number): LinuxGuest {
    return this.machines[index].guest;
  }

  /** Runs a script in a guest, which has to succeed, and answers what it printed. */
  async sh(index: number, script: string, timeoutMs = 60_000): Promise<string> {
    return (await this.guest(index).ok(`set -e\n${script}`, { timeoutMs })).stdout.trimEnd();
  }

  async stop(): Promise<void> {
    await Promise.all(this.machines.map(({ guest }) => guest.shutdown()));
    await this.daemon.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** In the guest: the interface with an address; fails while there is none. */
export function interfaceOf(mac: string): string {
  return `basename $(dirname $(grep -lx ${mac} /sys/class/net/*/address))`;
}
