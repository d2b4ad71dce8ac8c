import type { NetBackend } from '../../../devices/net/backends/net-backend.js';
import type { SwitchPortOptions } from '../../../devices/net/switch/port-options.js';
import { LearningSwitch } from '../../../devices/net/switch/learning-switch.js';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import { LinuxGuest } from '../../../testbed/guest.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { requireRealQemu } from '../lab.js';
import { DeviceServer, machineArgs, type ServedDevice } from './device-server.js';

/** A card of the guest's, in a network namespace of its own. */
export interface LabCard {
  readonly device: VirtioNet;
  readonly address: string;
  readonly served: ServedDevice;
}

/** How a card reaches the guest. */
export interface CardPlan {
  readonly queuePairs?: number;
  readonly mtu?: number;
  /** What it is plugged into: a port of the switch, unless it brings its own network, and its address there. */
  readonly port?: SwitchPortOptions;
  readonly own?: { readonly backend: NetBackend; readonly address: string };
  readonly serve: (server: DeviceServer, device: VirtioNet, slot: number) => ServedDevice;
}

/** A running Linux with several cards on one switch, each in a network namespace of its own: as many machines, to the network. */
export class NetworkLab {
  readonly server: DeviceServer;
  readonly cards: readonly LabCard[];
  readonly guest: LinuxGuest;

  private constructor(server: DeviceServer, cards: readonly LabCard[], guest: LinuxGuest) {
    this.server = server;
    this.cards = cards;
    this.guest = guest;
  }

  static async boot(kernel: KernelVersion, plans: readonly CardPlan[]): Promise<NetworkLab> {
    const server = await DeviceServer.start();
    try {
      const net = new LearningSwitch();
      const cards = plans.map(({ port, own, serve, ...options }, i): LabCard => {
        const device = new VirtioNet(own?.backend ?? net.addPort(port), {
          mac: `52:54:00:00:01:0${i}`,
          ...options,
        });
        return {
          device,
          address: own?.address ?? `10.9.0.${i + 1}`,
          served: serve(server, device, slotOf(i)),
        };
      });
      const guest = await LinuxGuest.boot({
        qemu: requireRealQemu(),
        kernel,
        machineArgs: [
          ...machineArgs(512),
          '-smp',
          '2',
          '-nic',
          'none',
          ...cards.flatMap(({ served }) => served.args),
        ],
      });
      const lab = new NetworkLab(server, cards, guest);
      for (const index of cards.keys()) await lab.#moveToNamespace(index);
      return lab;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Runs a script in a card's namespace, where its interface is `$card`. */
  async in(index: number, script: string, timeoutMs = 60_000): Promise<string> {
    const words = `card=$(cat /run/card${index}) nsenter -t $(cat /run/namespace${index}) -n -m sh`;
    const { stdout } = await this.guest.ok(`set -e\n${words} <<'END'\nset -e\n${script}\nEND`, { timeoutMs });
    return stdout.trimEnd();
  }

  /** Brings a file of random bytes from one card to another, by TCP; answers its digest, and that of what arrived. */
  async transfer(from: number, to: number, mebibytes: number): Promise<{ sent: string; received: string }> {
    const name = `${from}-${to}`;
    await this.guest.ok(`dd if=/dev/urandom of=/srv/${name} bs=1M count=${mebibytes} 2>/dev/null`);
    await this.in(to, `wget -q -O /tmp/${name} http://${this.cards[from].address}/${name}`);
    const { stdout } = await this.guest.ok(
      `sha256sum /srv/${name} /tmp/${name}; rm /srv/${name} /tmp/${name}`,
    );
    const [sent, received] = stdout.split('\n').map((line) => line.slice(0, 64));
    return { sent, received };
  }

  async stop(): Promise<void> {
    await this.guest.shutdown();
    await this.server.close();
  }

  async #moveToNamespace(index: number): Promise<void> {
    const folder = `/sys/bus/pci/devices/0000:00:${slotOf(index).toString(16).padStart(2, '0')}.0`;
    await this.guest.waitFor(`ls -d ${folder}/virtio*/net/*`);
    await this.guest.ok(`set -e
      mkdir -p /srv
      card=$(basename ${folder}/virtio*/net/*)
      echo $card >/run/card${index}
      # Which cards sysfs shows depends on who has mounted it.
      setsid unshare -n -m sh -c 'mount -t sysfs sys /sys; touch /run/ready${index}; exec sleep 100000' >/dev/null 2>&1 &
      echo $! >/run/namespace${index}
      until [ -e /run/ready${index} ]; do sleep 0.05; done
      ip link set $card netns $!
    `);
    await this.in(
      index,
      `ip link set lo up
       ip addr add ${this.cards[index].address}/24 dev $card
       ip link set $card up
       httpd -h /srv`,
    );
  }
}

/** Slot 0 is the host bridge. */
function slotOf(index: number): number {
  return index + 3;
}
