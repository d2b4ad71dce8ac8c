import type { Card } from '../../manager/control/api.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import type { Bench } from './bench-vm.js';
import { deviceInterrupts } from './guest-interrupts.js';
import { difference, type Run } from './vm-sides.js';
import type { VmTest } from './vm-tests.js';

/** What is measured on a card. In commands PEER stands for the address and port of the host's end. */
export type CardTest = Omit<VmTest, 'prepare' | 'turns'>;

export interface CardSide {
  readonly name: string;
  readonly mac: string;
  /** True where it is a card of the chassis, which counts what crosses it. */
  readonly counted: boolean;
}

/** What passt gives each guest, and what stands for the host's loopback interface. */
const GUEST = '10.0.2.15';
const GATEWAY = '10.0.2.2';
/** Of an emulated guest on a busy machine. */
const RUN_TIMEOUT_MS = 300_000;

/** Runs tests on one side's card, which is in a network namespace of its own: all have the same address. */
export class CardRunner {
  readonly side: CardSide;
  private readonly bench: Bench;
  private readonly guest: LinuxGuest;
  /** In the guest's /sys/bus/virtio/devices. */
  private readonly device: string;

  private constructor(side: CardSide, bench: Bench, guest: LinuxGuest, device: string) {
    this.side = side;
    this.bench = bench;
    this.guest = guest;
    this.device = device;
  }

  static async bringUp(side: CardSide, bench: Bench, guest: LinuxGuest): Promise<CardRunner> {
    const { name, mac } = side;
    const { stdout } = await guest.ok(`set -e
      cd /sys/class/net
      card=$(basename $(dirname $(grep -lx ${mac} */address)))
      echo $card
      basename $(readlink $card/device)
      setsid unshare -n sleep 100000 >/dev/null 2>&1 &
      echo $! >/run/${name}
      sleep 0.5
      ip link set $card netns $!
      nsenter -t $! -n sh -c "ip link set lo up; ip addr add ${GUEST}/24 dev $card; ip link set $card up"`);
    const [card, device] = stdout.trim().split('\n');
    // passt may not send echo requests as it is started here, so that ping says nothing.
    await guest.waitFor(`nsenter -t $(cat /run/${name}) -n arping -f -c 1 -w 1 -I ${card} ${GATEWAY}`);
    return new CardRunner(side, bench, guest, device);
  }

  async run({ command }: CardTest, port: number): Promise<Run> {
    const before = await this.crossings();
    const filledIn = command.replaceAll('PEER', `${GATEWAY} ${port}`);
    const inside = `nsenter -t $(cat /run/${this.side.name}) -n ${filledIn}`;
    const script = `cat /proc/interrupts; echo =; ${inside} || exit; echo =; cat /proc/interrupts`;
    const { stdout } = await this.guest.ok(script, { timeoutMs: RUN_TIMEOUT_MS });
    const after = await this.crossings();
    const [first, figure, last] = stdout.split('=\n');
    return {
      figure: Number(figure),
      guestInterrupts: deviceInterrupts(last, this.device) - deviceInterrupts(first, this.device),
      ...(before && after && { crossings: difference(before, after) }),
    };
  }

  private async crossings(): Promise<Card['counters']> {
    if (!this.side.counted) return undefined;
    const cards = await this.bench.client.cards();
    return cards.find(({ name }) => name === this.side.name)?.counters;
  }
}
