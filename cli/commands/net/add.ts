import { Args, Flags } from '@oclif/core';
import { MAX_SLOTS, QUEUE_PAIRS_MAX, type Card } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';
import { parseNetwork } from '../../support/network-flags.js';
import { addedCardText } from '../../support/networks-text.js';
import { permanentFlag } from '../../support/permanent-flag.js';

export default class NetAdd extends BaseCommand {
  static override summary = 'Plug a network card into the running VM, in a slot of its own.';
  static override description =
    'Done when the VMM has the device. A switch joins the cards of all chassis that name it, and nobody else; it is there while ' +
    "a card is on it. passt gives the guest the host's network without root: by DHCP it becomes 10.0.2.15, and 10.0.2.2 stands " +
    "for the host's loopback interface. A TAP device is for bridges and routes of your own. " +
    'Without a VM the card waits, and is there when it boots.';
  static override examples = [
    '<%= config.bin %> net add lan0 --switch lan',
    '<%= config.bin %> net add lan0 --switch lan --vlan 10 --isolated --mac-lock',
    '<%= config.bin %> net add wan --passt --publish 8080:80',
    '<%= config.bin %> net add bridged --tap tap0 --mtu 9000 --queues 2',
  ];
  static override args = {
    NAME: Args.string({ description: 'What the chassis is to know the card by', required: true }),
  };
  static override flags = {
    switch: Flags.string({
      char: 's',
      description: 'Plug it into this switch of the daemon [default: "default"]',
      exclusive: ['tap', 'passt'],
    }),
    tap: Flags.string({ description: 'Plug it into this TAP device of the host', exclusive: ['passt'] }),
    passt: Flags.boolean({ description: "Give it the host's network by a passt of its own" }),
    vlan: Flags.integer({
      description: 'On a switch: the VLAN of frames without a tag [default: 1; with --trunk, none]',
      min: 1,
      max: 4094,
    }),
    trunk: Flags.string({
      description: 'On a switch: VLANs whose frames come and go with a tag, such as 10,20-29',
    }),
    isolated: Flags.boolean({
      description: 'On a switch: exchange frames with cards that are not isolated, and no others',
      default: undefined,
    }),
    'mac-lock': Flags.boolean({
      description: "On a switch: let the guest send from the card's address alone, and nobody else from that",
      default: undefined,
    }),
    publish: Flags.string({
      char: 'p',
      description: "With passt: a TCP port of the host's loopback interface that leads to one of the guest",
      helpValue: 'HOST:GUEST',
      multiple: true,
    }),
    'host-loopback': Flags.boolean({
      description:
        "With passt: let the guest reach the host's loopback interface as 10.0.2.2 [default: true]",
      allowNo: true,
      default: undefined,
    }),
    mac: Flags.string({
      description: "The card's address [default: made from the names, the same each time]",
    }),
    mtu: Flags.integer({ description: 'The longest packet in bytes', min: 68, max: 65_535 }),
    queues: Flags.integer({
      description: 'Queues for each direction: as many as the guest has processors, at most',
      default: 1,
      min: 1,
      max: QUEUE_PAIRS_MAX,
    }),
    down: Flags.boolean({ description: 'Leave its cable out until: net link NAME up' }),
    slot: Flags.integer({
      description: 'The slot, from 1 [default: the first free one]',
      min: 1,
      max: MAX_SLOTS,
    }),
    permanent: permanentFlag('remove it'),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    port: Flags.option({
      description: "How it reaches the VMM: QEMU's own card with our queues behind it, or what you say",
      options: ['auto', 'vfio-user', 'vhost-user'] as const,
      default: 'auto',
    })(),
    timeout: Flags.integer({ description: 'Seconds to wait for the VMM', default: 30, min: 1 }),
  };

  async run(): Promise<{ card: Card; durationMs: number }> {
    const { args, flags } = await this.parse(NetAdd);
    const network = parseNetwork(flags);
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const card = await (
      await this.client()
    ).addCard(chassis, {
      ...{
        name: args.NAME,
        network,
        mac: flags.mac?.toLowerCase(),
        mtu: flags.mtu,
        queuePairs: flags.queues,
      },
      ...{ up: !flags.down, slot: flags.slot, permanent: flags.permanent, port: flags.port },
      timeoutMs: flags.timeout * 1000,
    });
    this.log(addedCardText(card));
    return { card, durationMs: performance.now() - started };
  }
}
