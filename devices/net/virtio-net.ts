/** The virtio network device (virtio 1.3, section 5.1): a card that is plugged into a backend. */
import type { Chain, DeviceContext, FilledQueues, VirtioDevice, Virtqueue } from '../virtio/device.js';
import { VirtioDeviceId, VirtioFeature } from '../virtio/device.js';
import type { NetBackend, NetPort } from './backends/net-backend.js';
import { decodeCardState, encodeCardState, type CardState } from './card-state.js';
import { hasFeature, NetConfigSpace, offeredFeatures } from './config-space.js';
import { ControlCommands } from './control-commands.js';
import { ETHERNET_HEADER_BYTES, isGroupAddress, parseMac, VLAN_TAG_BYTES } from './ethernet.js';
import { FlowSteering } from './flow-steering.js';
import type { Frame } from './frame.js';
import { guestOffloadsAmong, offloadsOf } from './guest-offloads.js';
import { FrameFinisher, NO_ROOM } from './offload/finisher.js';
import { ConfigField, HeaderField, VirtioNetFeature, VirtioNetHdrGso, VirtioNetStatus } from './protocol.js';
import { checkedOptions, type VirtioNetOptions } from './options.js';
import { rarpFrame } from './rarp.js';
import { ReceiveFilter } from './receive-filter.js';
import { Received, ReceiveQueue } from './receive-queue.js';
import { newNetStatistics, type NetStatistics } from './statistics.js';
import { TransmitQueue } from './transmit-queue.js';

/** Ethernet controller. */
const PCI_CLASS = 0x020000;

const { VIRTIO_NET_S_LINK_UP, VIRTIO_NET_S_ANNOUNCE } = VirtioNetStatus;

/**
 * A network card. It owns its backend, and closes it when it is closed itself.
 *
 * Every offload is on offer, whatever the backend or the receivers of frames can do: who takes a frame finishes it (see `Frame`). Frames
 * for the guest lie nowhere but in the buffers that it posted: one that has no buffer is refused or lost.
 */
export class VirtioNet implements VirtioDevice {
  readonly deviceId = VirtioDeviceId.network;
  readonly pciClass = PCI_CLASS;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly completesInOrder = true;
  /** The address that the driver gave the card, and the link. */
  readonly changingConfig = [{ offset: ConfigField.MAC, lengthBytes: ConfigField.MAX_VIRTQUEUE_PAIRS }];
  readonly isStateKept = true;
  stateChanged: VirtioDevice['stateChanged'];
  readonly filledQueues: FilledQueues = {
    includes: (queueIndex) => this.#isReceiveQueue(queueIndex),
    buffersAdded: (queue) => this.#buffersAdded(queue),
  };
  readonly #backend: NetBackend;
  readonly #mac: Uint8Array;
  readonly #queuePairs: number;
  readonly #mtu: number | undefined;
  readonly #config: NetConfigSpace;
  #filter = new ReceiveFilter();
  readonly #steering = new FlowSteering();
  readonly #finisher = new FrameFinisher();
  readonly #commands: ControlCommands;
  readonly #statistics = newNetStatistics();
  readonly #transmitQueues: (TransmitQueue | undefined)[] = [];
  readonly #receiveQueues: (ReceiveQueue | undefined)[] = [];
  readonly #flushReceived = (): void => this.#flush();
  readonly #takeFrame = (frame: Frame): boolean => this.#take(frame);
  readonly #sendFrame = (frame: Frame, queueIndex: number): boolean => this.#send(frame, queueIndex);
  #context: DeviceContext | undefined;
  #controlIndex = -1;
  #headerBytes: number = HeaderField.BYTES;
  #mergeable = false;
  /** Longest frame that may be delivered in one piece of the wire. */
  #maxWireBytes = Infinity;
  /** Queue pairs that the driver uses. */
  #activePairs = 1;
  /** What the driver takes unfinished: bits of `Offload`. */
  #accepts = 0;
  #guestOffloads = 0n;
  /** What the next activation goes on from. */
  #restored: CardState | undefined;
  #linkWanted = true;
  /** Resolves once the last command is answered; undefined while none waits for that. */
  #answering: Promise<void> | undefined;
  /** The backend was refused a frame, and waits for `roomForMore`. */
  #starved = false;
  #flushDue = false;
  /** Where the frame goes that is being delivered, and whether it may be refused. */
  #receiver!: ReceiveQueue;
  #mayRefuse = false;

  /** @throws RangeError for an address, a number of queues, a size or an MTU that cannot be */
  constructor(backend: NetBackend, options: VirtioNetOptions) {
    const { queuePairs, queueSize, mtu, speedMbps } = checkedOptions(options);
    this.#backend = backend;
    this.#mac = parseMac(options.mac);
    this.#queuePairs = queuePairs;
    this.#mtu = mtu;
    // And the control queue.
    this.queueSizes = new Array<number>(queuePairs * 2 + 1).fill(queueSize);
    this.features = offeredFeatures({ queuePairs, mtu, speedMbps });
    this.#config = new NetConfigSpace({ queuePairs, mtu, speedMbps });
    this.#config.mac = this.#mac;
    this.#commands = new ControlCommands({
      setMac: (mac) => this.#setMac(mac),
      acknowledgeAnnouncement: () => this.#config.setStatus(VIRTIO_NET_S_ANNOUNCE, false),
      setQueuePairs: (pairs) => this.#setQueuePairs(pairs),
      setGuestOffloads: (offloads) => this.#setGuestOffloads(offloads),
    });
    backend.port = this.#newPort();
    this.#updateLink();
  }

  get config(): Uint8Array {
    return this.#config.bytes;
  }

  /** Counters; they go on across resets. */
  get statistics(): Readonly<NetStatistics> {
    return this.#statistics;
  }

  /** As the guest sees it: up while it was not taken down and the backend has somebody at its end. */
  get linkUp(): boolean {
    return this.#config.linkUp;
  }

  /** Pulls the cable, or plugs it in again. */
  setLink(up: boolean): void {
    this.#linkWanted = up;
    this.#updateLink();
  }

  /** Asks the guest to make itself known to the network again. False where its driver cannot. */
  announce(): boolean {
    if (!this.#agreed(VirtioNetFeature.VIRTIO_NET_F_GUEST_ANNOUNCE)) return false;
    if (this.#config.setStatus(VIRTIO_NET_S_ANNOUNCE, true)) this.#context?.configChanged();
    return true;
  }

  announceFor(mac: Uint8Array): void {
    if (this.#config.linkUp) this.#backend.send(rarpFrame(mac));
  }

  /** The address is all that is the driver's to change, and only where it has no command for that (5.1.4.2). */
  writeConfig(offset: number, bytes: Uint8Array): void {
    const modern = this.#agreed(VirtioFeature.VIRTIO_F_VERSION_1);
    if (this.#context === undefined || modern || this.#agreed(VirtioNetFeature.VIRTIO_NET_F_CTRL_MAC_ADDR))
      return;
    if (offset + bytes.length > ConfigField.STATUS) return;
    this.config.set(bytes, offset);
    this.#filter.mac.set(this.config.subarray(0, ConfigField.STATUS));
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#commands.features = context.features;
    const F = VirtioNetFeature;
    const hasControl = this.#agreed(F.VIRTIO_NET_F_CTRL_VQ);
    this.#controlIndex = !hasControl ? -1 : this.#agreed(F.VIRTIO_NET_F_MQ) ? this.#queuePairs * 2 : 2;
    // Without commands the driver's choice shows in the queues that it enables.
    this.#activePairs = hasControl ? 1 : this.#queuePairs;
    this.#mergeable = this.#agreed(F.VIRTIO_NET_F_MRG_RXBUF);
    const long = this.#mergeable || this.#agreed(VirtioFeature.VIRTIO_F_VERSION_1);
    this.#headerBytes = long ? HeaderField.BYTES : HeaderField.LEGACY_BYTES;
    const mtu = this.#agreed(F.VIRTIO_NET_F_MTU) ? this.#mtu : undefined;
    this.#maxWireBytes = mtu === undefined ? Infinity : mtu + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
    this.#filter.reset(
      this.#mac,
      this.#agreed(F.VIRTIO_NET_F_CTRL_RX),
      this.#agreed(F.VIRTIO_NET_F_CTRL_VLAN),
    );
    this.#steering.reset();
    this.#accept(guestOffloadsAmong(context.features));
    if (this.#restored !== undefined) this.#takeOver(this.#restored, context);
    this.#commands.filter = this.#filter;
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    // The card was closed under its driver.
    if (this.#context === undefined) return;
    if (queue.index === this.#controlIndex) this.#control(queue, chain);
    else this.#transmitQueue(queue).handle(chain);
  }

  reset(): void {
    this.#context = undefined;
    this.#restored = undefined;
    this.#controlIndex = -1;
    for (const queue of this.#transmitQueues) queue?.forget();
    this.#transmitQueues.length = 0;
    this.#receiveQueues.length = 0;
    this.#config.setStatus(VIRTIO_NET_S_ANNOUNCE, false);
    this.#config.mac = this.#mac;
    this.#letGoOn();
  }

  resetQueue(index: number): void {
    this.#transmitQueues[index]?.forget();
    this.#transmitQueues[index] = undefined;
    this.#receiveQueues[index] = undefined;
    if (this.#isReceiveQueue(index)) this.#letGoOn();
  }

  /** Without a driver there is nothing to tell. */
  saveState(): Uint8Array {
    if (this.#context === undefined) return new Uint8Array(0);
    return encodeCardState({
      announce: (this.#config.status & VIRTIO_NET_S_ANNOUNCE) !== 0,
      queuePairs: this.#activePairs,
      guestOffloads: this.#guestOffloads,
      filter: this.#filter,
    });
  }

  restoreState(bytes: Uint8Array): string | undefined {
    if (bytes.length === 0) return undefined;
    const state = decodeCardState(bytes, this.#queuePairs);
    if (typeof state === 'string') return state;
    this.#restored = state;
    return undefined;
  }

  async close(): Promise<void> {
    this.reset();
    await this.#backend.close();
  }

  #newPort(): NetPort {
    return {
      offer: (frame) => this.#receive(frame, true),
      deliver: (frame) => {
        if (!this.#receive(frame, false)) this.#statistics.rxDropped++;
      },
      sendable: () => {
        for (const queue of this.#transmitQueues) queue?.resume();
      },
      linkChanged: () => this.#updateLink(),
    };
  }

  #agreed(feature: number): boolean {
    return this.#context !== undefined && hasFeature(this.#context.features, feature);
  }

  #isReceiveQueue(queueIndex: number): boolean {
    return queueIndex % 2 === 0 && queueIndex !== this.#controlIndex;
  }

  #updateLink(): void {
    const up = this.#linkWanted && this.#backend.linkUp;
    if (this.#config.setStatus(VIRTIO_NET_S_LINK_UP, up)) this.#context?.configChanged();
  }

  #takeOver(state: CardState, { features }: DeviceContext): void {
    this.#restored = undefined;
    this.#filter = state.filter;
    this.#config.mac = state.filter.mac;
    this.#activePairs = state.queuePairs;
    this.#config.setStatus(VIRTIO_NET_S_ANNOUNCE, state.announce);
    this.#accept(state.guestOffloads & guestOffloadsAmong(features));
  }

  #accept(guestOffloads: bigint): void {
    this.#guestOffloads = guestOffloads;
    this.#accepts = offloadsOf(guestOffloads);
    this.#backend.acceptsChanged(this.#accepts);
  }

  #control(queue: Virtqueue, chain: Chain): void {
    const ack = this.#commands.execute(chain.readable);
    const writtenBytes = chain.writable.scatter(0, Uint8Array.of(ack), 0, 1);
    const told = this.stateChanged?.();
    if (told === undefined && this.#answering === undefined) {
      queue.push(chain, writtenBytes);
      return;
    }
    // One after the other, in the order of the commands.
    const answering = Promise.all([told, this.#answering]).then(() => {
      queue.push(chain, writtenBytes);
      queue.flush();
      if (this.#answering === answering) this.#answering = undefined;
    });
    this.#answering = answering;
  }

  #setMac(mac: Uint8Array): boolean {
    if (isGroupAddress(mac, 0)) return false;
    this.#config.mac = mac;
    this.#filter.mac.set(this.config.subarray(0, ConfigField.STATUS));
    return true;
  }

  #setQueuePairs(pairs: number): boolean {
    if (pairs < 1 || pairs > this.#queuePairs) return false;
    this.#activePairs = pairs;
    return true;
  }

  #setGuestOffloads(offloads: bigint): boolean {
    if ((offloads & ~guestOffloadsAmong(this.#context?.features ?? 0n)) !== 0n) return false;
    this.#accept(offloads);
    return true;
  }

  #transmitQueue(queue: Virtqueue): TransmitQueue {
    const known = this.#transmitQueues[queue.index];
    if (known?.queue === queue) return known;
    known?.forget();
    const made = new TransmitQueue(queue, this.#headerBytes, this.#sendFrame, this.#statistics);
    return (this.#transmitQueues[queue.index] = made);
  }

  #send(frame: Frame, queueIndex: number): boolean {
    const { byteLength } = frame;
    const up = this.#config.linkUp;
    if (up && !this.#backend.send(frame)) return false;
    if (up) {
      this.#statistics.txFrames++;
      this.#statistics.txBytes += byteLength;
    } else this.#statistics.txDropped++;
    if (this.#activePairs > 1) this.#steering.sent(frame, queueIndex >>> 1);
    return true;
  }

  #buffersAdded(queue: Virtqueue): number {
    const before = this.#statistics.rxFrames;
    // Asked for again where a frame does not find enough of them.
    queue.disableNotifications();
    this.#letGoOn();
    return this.#statistics.rxFrames - before;
  }

  #letGoOn(): void {
    if (!this.#starved) return;
    this.#starved = false;
    this.#backend.roomForMore();
  }

  /** False where there are no buffers for the frame. */
  #receive(frame: Frame, mayRefuse: boolean): boolean {
    if (this.#context === undefined || !this.#config.linkUp) {
      this.#statistics.rxDropped++;
      return true;
    }
    if (!this.#filter.wants(frame)) {
      this.#statistics.rxFiltered++;
      return true;
    }
    const lost = this.#hand(frame, this.#context, mayRefuse);
    if (lost === NO_ROOM) this.#starved ||= mayRefuse;
    else this.#statistics.rxDropped += lost;
    return lost !== NO_ROOM;
  }

  #hand(frame: Frame, context: DeviceContext, mayRefuse: boolean): number {
    const receiver = this.#receiverOf(frame, context);
    // The virtual machine pauses, or its driver is about to bring the queue back.
    if (receiver === undefined) return NO_ROOM;
    this.#receiver = receiver;
    this.#mayRefuse = mayRefuse;
    const lost = this.#finisher.hand(frame, this.#accepts, this.#takeFrame);
    this.#flushSoon();
    return lost;
  }

  /** Undefined where the driver has no such queue now. */
  #receiverOf(frame: Frame, { queues }: DeviceContext): ReceiveQueue | undefined {
    const pair = this.#activePairs > 1 ? this.#steering.pairFor(frame) : 0;
    const wanted = pair < this.#activePairs ? pair * 2 : 0;
    const queue = queues[wanted] ?? queues[0];
    if (queue === undefined) return undefined;
    const known = this.#receiveQueues[queue.index];
    if (known?.queue === queue) return known;
    const made = new ReceiveQueue(queue, this.#headerBytes, this.#mergeable);
    return (this.#receiveQueues[queue.index] = made);
  }

  /** Takes a frame, or a part of one, as it is. False where there is no room; what cannot be taken at all is gone. */
  #take(frame: Frame): boolean {
    const isWhole = frame.gsoType === VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE;
    const tooLong = isWhole && frame.byteLength > this.#maxWireBytes;
    const outcome = tooLong ? Received.TOO_LONG : this.#receiver.receive(frame, this.#mayRefuse);
    if (outcome === Received.NO_ROOM) return false;
    if (outcome === Received.DELIVERED) {
      this.#statistics.rxFrames++;
      this.#statistics.rxBytes += frame.byteLength;
    } else if (outcome === Received.TOO_LONG) this.#statistics.rxTooLong++;
    else this.#context?.fault('a receive buffer has no room for the header');
    return true;
  }

  /** Once for all frames that come in a row: one interrupt for them all. */
  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(this.#flushReceived);
  }

  #flush(): void {
    this.#flushDue = false;
    for (const receiver of this.#receiveQueues) receiver?.queue.flush();
  }
}
