/**
 * A card whose driver sends any commands, is reset, paused and taken over at any time, while frames of all sorts come in. Right is: each command
 * is given back once, and answered as the model says; and a frame reaches the driver, whole and in one queue of those it uses, if and
 * only if the model wants it.
 */
import { VirtioNetFeature as F } from '../../../devices/net/protocol.js';
import { frameOf, TestBackend } from '../../devices/net/support/frames.js';
import { header, TestCard, TestChain } from '../../devices/net/support/test-queue.js';
import { addressOf, commandOf, vlanOf } from './card-commands.js';
import { DriverModel } from './driver-model.js';

export const StepKind = {
  COMMAND: 0,
  FRAME: 1,
  LINK: 2,
  ANNOUNCE: 3,
  RESET: 4,
  RESET_QUEUE: 5,
  TAKE_OVER: 6,
} as const;
export type StepKind = (typeof StepKind)[keyof typeof StepKind];

const KIND_COUNT = Object.keys(StepKind).length;
const OWN = '52540000000a';
const SOURCE = '020000000099';
const PAYLOAD = Buffer.from('08004500001c00000000401100000a0000010a000002000100020008000064617461', 'hex');
const CUTS = [0, 1, 2, 5, 6, 7, 300];
const OK = 0;
const UNTOUCHED = 0xee;
/** Features that a driver may do without, each with what hangs on it. */
const WITHHELD: readonly (readonly number[])[] = [
  ...[[], [], [], [F.VIRTIO_NET_F_MQ], [F.VIRTIO_NET_F_CTRL_VLAN], [F.VIRTIO_NET_F_CTRL_RX_EXTRA]],
  ...[[F.VIRTIO_NET_F_CTRL_RX, F.VIRTIO_NET_F_CTRL_RX_EXTRA], [F.VIRTIO_NET_F_CTRL_MAC_ADDR]],
  ...[[F.VIRTIO_NET_F_GUEST_ANNOUNCE], [F.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS], [F.VIRTIO_NET_F_GUEST_TSO4]],
];

export class CardRun {
  states = 0;
  readonly #saw: (what: number) => void;
  readonly #card: TestCard;
  readonly #mostPairs: number;
  #without: readonly number[];
  #model: DriverModel;
  #up = true;

  constructor([pairs, withheld]: readonly number[], saw: (what: number) => void) {
    this.#saw = saw;
    this.#mostPairs = 1 + (pairs % 4);
    this.#card = TestCard.on(new TestBackend(), { queuePairs: this.#mostPairs });
    this.#without = WITHHELD[withheld % WITHHELD.length];
    this.#model = this.#start();
  }

  take([kind, a, b, c, d]: readonly number[]): void {
    this.states++;
    switch (kind % KIND_COUNT) {
      case StepKind.COMMAND:
        return this.#command(commandOf(a, b, c, d), d >> 4);
      case StepKind.FRAME:
        return this.#frame(addressOf(a), b % 3 === 0 ? undefined : vlanOf(c));
      case StepKind.LINK:
        this.#up = a % 4 !== 0;
        return this.#card.device.setLink(this.#up);
      case StepKind.ANNOUNCE:
        this.#model.announcing = this.#card.device.announce();
        if (this.#model.announcing !== this.#model.has(F.VIRTIO_NET_F_GUEST_ANNOUNCE))
          throw new Error('it announces itself by what it does not have');
        return;
      case StepKind.RESET:
        this.#card.device.reset();
        this.#without = WITHHELD[a % WITHHELD.length];
        this.#model = this.#start();
        return;
      case StepKind.RESET_QUEUE:
        return this.#card.device.resetQueue(a % this.#card.queues.length);
      default:
        return this.#takeOver();
    }
  }

  finish(): void {
    const { faults } = this.#card;
    if (faults.length > 0) throw new Error(`the device failed: ${faults[0]}`);
  }

  #start(): DriverModel {
    const { features } = this.#card.start(this.#without);
    return new DriverModel(features, OWN, this.#mostPairs);
  }

  /** Another card goes on from this one's state: here, the same one. */
  #takeOver(): void {
    const { device } = this.#card;
    const state = device.saveState();
    device.reset();
    const problem = device.restoreState(state);
    if (problem !== undefined) throw new Error(`its own state is refused: ${problem}`);
    this.#card.start(this.#without);
  }

  #command(bytes: Buffer, shape: number): void {
    const { device, queues } = this.#card;
    const control = queues[this.#model.has(F.VIRTIO_NET_F_MQ) ? 2 * this.#mostPairs : 2];
    const cuts = Array.from({ length: shape % 4 }, (_, i) => CUTS[((shape >> 2) + i) % CUTS.length]);
    const chain = new TestChain(new Uint8Array(bytes), shape % 5 === 4 ? 0 : 1 + (shape % 2), cuts);
    control.pushed.length = 0;
    device.handleChain(control, chain);
    const isDone = this.#model.execute(bytes);
    if (control.pushed.length !== 1)
      throw new Error(`a command was given back ${control.pushed.length} times`);
    const { writtenBytes } = control.pushed[0];
    if (writtenBytes !== Math.min(1, chain.room.length)) throw new Error(`${writtenBytes} bytes are written`);
    if (writtenBytes === 1 && (chain.room[0] === OK) !== isDone)
      throw new Error(`${bytes.toString('hex')} was answered with ${chain.room[0]}`);
    if (chain.room.subarray(1).some((byte) => byte !== UNTOUCHED))
      throw new Error('it wrote beyond its answer');
    const [commandClass = 9, command = 9] = bytes;
    this.#saw((Math.min(commandClass, 9) * 10 + Math.min(command, 9)) * 4 + Number(isDone) * 2 + (shape & 1));
  }

  #frame(to: string, vlan: number | undefined): void {
    const tag = vlan === undefined ? '' : `8100${vlan.toString(16).padStart(4, '0')}`;
    const bytes = Buffer.concat([Buffer.from(to + SOURCE + tag, 'hex'), PAYLOAD]);
    const receivers = this.#card.queues
      .slice(0, 2 * this.#model.pairs)
      .filter(({ index }) => index % 2 === 0);
    for (const queue of receivers) {
      queue.available.splice(0, Infinity, new TestChain(new Uint8Array(0), 2048));
      queue.pushed.length = 0;
    }
    this.#card.backend.port.deliver(frameOf(bytes));
    const pushed = receivers.flatMap((queue) => queue.pushed);
    // The lower 12 bits of a tag are the VLAN's number.
    const isWanted = this.#up && this.#model.wants(to, vlan === undefined ? undefined : vlan & 0xfff);
    if (pushed.length !== Number(isWanted)) throw new Error(`${to} in VLAN ${vlan}: ${pushed.length} frames`);
    if (isWanted) {
      const [{ chain, writtenBytes }] = pushed;
      const room = (chain as TestChain).room;
      const expected = Buffer.concat([header({ buffers: 1 }), bytes]);
      if (!expected.equals(room.subarray(0, writtenBytes))) throw new Error('another frame arrived');
      if (room[writtenBytes] !== UNTOUCHED) throw new Error('it wrote beyond the frame');
    }
    const kind = to === OWN ? 0 : to.startsWith('ff') ? 1 : to.startsWith('01') ? 2 : 3;
    this.#saw(
      1000 + (kind * 3 + Math.min(vlan ?? -1, 1) + 1) * 8 + Number(isWanted) * 4 + this.#model.pairs - 1,
    );
  }
}
