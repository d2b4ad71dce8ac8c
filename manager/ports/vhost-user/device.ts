/**
 * One virtio device as a vhost-user back-end: what each request of a connected front-end does. It lives as long as the device,
 * through any number of front-ends one after the other, and knows nothing of the socket.
 */
import { Errno } from '../../../devices/errno.js';
import { VirtioFeature, type QueueCounters, type VirtioDevice } from '../../../devices/virtio/device.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { RING_FEATURES } from '../../../devices/virtio/ring/factory.js';
import { hasFeature } from '../../../devices/virtio/ring/features.js';
import { VirtioStatus } from '../../../devices/virtio/transport/virtio-pci-defs.js';
import type { Reactor } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import { BackendChannel } from './backend-channel.js';
import { DeviceRun } from './device-run.js';
import { DeviceStateRequests } from './device-state-requests.js';
import { loadFromFile, saveToFile, type FileState } from './file-state.js';
import { InflightRequests } from './inflight-requests.js';
import { KeptBackEnd, type KeptFront } from './kept-back-end.js';
import type { KeptSession } from './kept-state.js';
import { LogRequests } from './log-requests.js';
import { MemoryRequests } from './memory-requests.js';
import { MemoryTable } from './memory-table.js';
import type { BackEndState } from './port-state.js';
import { restoreRun, saveRun } from './run-state.js';
import { pauseRun, resumeRun, quiesceRun } from './run-pause.js';
import {
  PayloadBytes,
  VHOST_F_LOG_ALL,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VhostSetConfigType,
  VhostUserLimit,
  VhostUserProtocolFeature as Feature,
  VhostUserRequest,
} from './protocol.js';
import {
  assignment,
  query,
  type Message,
  type Outcome,
  type RequestRule,
  type RequestRules,
} from './request-rule.js';
import { VringRequests } from './vring-requests.js';

const PROTOCOL_FEATURES = Object.values(Feature).reduce((bits, bit) => bits | bitOf(bit), 0n);
const DEVICE_STATE = bitOf(Feature.VHOST_USER_PROTOCOL_F_DEVICE_STATE);
const RARP = bitOf(Feature.VHOST_USER_PROTOCOL_F_RARP);
/** Bits between the front-end and us, which neither the driver nor the device knows. */
const VHOST_FEATURES = bitOf(VHOST_USER_F_PROTOCOL_FEATURES) | bitOf(VHOST_F_LOG_ALL);
const TRANSPORT_FEATURES = bitOf(VirtioFeature.VIRTIO_F_VERSION_1) | VHOST_FEATURES;
/** `device_status` has 8 bits. */
const STATUS_MASK = 0xffn;
const NEEDS_RESET = VirtioStatus.VIRTIO_CONFIG_S_NEEDS_RESET;

export interface VhostUserDeviceOptions {
  readonly device: VirtioDevice;
  readonly reactor: Reactor;
  readonly log: (message: string) => void;
  /** Of a file for requests under way, where the front-end keeps none for us. */
  readonly inflightPath: string | undefined;
  /** See `VhostUserServerOptions`. */
  readonly withholdsState: boolean;
  /** Requests under way are not written down, or not any more. */
  readonly onUnrecorded: () => void;
}

export class VhostUserDevice {
  readonly #device: VirtioDevice;
  readonly #offered: bigint;
  readonly #table: MemoryTable;
  readonly #run: DeviceRun;
  readonly #rules: ReadonlyMap<number, RequestRule>;
  readonly #offeredProtocol: bigint;
  readonly #state: DeviceStateRequests;
  /** What is told of it to whoever keeps its connection. */
  readonly kept: KeptBackEnd;
  readonly #channel = new BackendChannel();
  readonly #front: KeptFront = {
    save: (parcel) => this.#saveFront(parcel),
    restore: (state, parcel) => this.#restoreFront(state, parcel),
  };
  #protocolFeatures = 0n;
  #status = 0;

  constructor(options: VhostUserDeviceOptions) {
    const { device, reactor, log, inflightPath, withholdsState } = options;
    const memory = new RegionMemory();
    this.#device = device;
    this.#offered = device.features | RING_FEATURES | TRANSPORT_FEATURES;
    this.#table = new MemoryTable(memory);
    this.#run = new DeviceRun(device, memory, this.#table, reactor, {
      configChanged: () => this.#channel.configChanged(),
      log,
      inflightPath,
      unrecorded: options.onUnrecorded,
    });
    this.kept = new KeptBackEnd({ run: this.#run, table: this.#table, device, front: this.#front });
    const withheld = (withholdsState ? DEVICE_STATE : 0n) | (device.announceFor ? 0n : RARP);
    this.#offeredProtocol = PROTOCOL_FEATURES & ~withheld;
    this.#state = new DeviceStateRequests({ run: this.#run, device, offered: this.#offered, reactor, log });
    this.#rules = new Map<number, RequestRule>([
      ...this.#negotiationRules(),
      ...new MemoryRequests(this.#table, this.#run, () => quiesceRun(this.#run, device)).rules,
      ...new LogRequests(this.#run).rules,
      ...new InflightRequests(this.#run).rules,
      ...new VringRequests(this.#table, this.#run).rules,
      ...this.#state.rules,
      ...this.#deviceRules(),
    ]);
  }

  /** Whether requests may ask for an acknowledgement. */
  get acknowledges(): boolean {
    return hasFeature(this.#protocolFeatures, Feature.VHOST_USER_PROTOCOL_F_REPLY_ACK);
  }

  /** The rule for a request; undefined for one that is not served, or not without a feature that was not negotiated. */
  rule(request: number): RequestRule | undefined {
    const rule = this.#rules.get(request);
    const known = rule?.feature === undefined || hasFeature(this.#protocolFeatures, rule.feature);
    return known ? rule : undefined;
  }

  /**
   * A request failed and the front-end did not ask to hear of it. It goes on as if all were well, and the device must not work
   * on what it then says. The connection stays: QEMU 11.1 aborts, with its virtual machine, where the back-end goes while it
   * starts a ring.
   */
  fail(reason: string): void {
    this.#run.fail(reason);
  }

  /** What the driver at work agreed to; undefined while none is. */
  get features(): bigint | undefined {
    return this.#run.running ? this.#run.features : undefined;
  }

  /** What a queue counted since its driver started the device. */
  counters(queueIndex: number): Readonly<QueueCounters> {
    return this.#run.counters(queueIndex);
  }

  /** Takes nothing from rings any more; resolves once requests under way are done. A string says what was not, in that time. */
  async pause(timeoutMs: number): Promise<string | undefined> {
    if (this.#state.underWay) return 'its state is being moved to another one, or from one';
    return pauseRun(this.#run, this.#device, timeoutMs);
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
    resumeRun(this.#run, this.#device);
  }

  /** What another process has to go on from, for a device that is paused. @throws what `saveState` of the device throws */
  save(parcel: OutgoingParcel): BackEndState {
    return { ...this.#saveFront(parcel), ...saveRun(this.#run, this.#table, this.#device, parcel) };
  }

  /** Goes on, once `resume` is called, where another process was. Answers why not; `disconnect` is to come then. @throws ParcelError */
  async restore(state: BackEndState, parcel: IncomingParcel): Promise<string | undefined> {
    return (
      this.#restoreFront(state, parcel) ??
      (await restoreRun(state, this.#run, this.#table, this.#device, parcel))
    );
  }

  #saveFront(parcel: OutgoingParcel): ReturnType<KeptFront['save']> {
    return {
      protocolFeatures: String(this.#protocolFeatures),
      status: this.#status,
      channel: parcel.addFdIfAny(this.#channel.fd),
    };
  }

  #restoreFront(state: KeptSession, parcel: IncomingParcel): string | undefined {
    const error = this.#setProtocolFeatures(BigInt(state.protocolFeatures));
    if (error !== 0) return 'it uses features of the protocol that are not known here';
    this.#status = state.status;
    const channel = parcel.takeFdIfAny(state.channel);
    if (channel >= 0 && this.#channel.open(channel) !== 0) return 'its own channel is no socket';
    if ((BigInt(state.features ?? 0) & ~this.#offered) !== 0n)
      return 'its driver uses features that are not on offer here';
    return undefined;
  }

  /** See `saveToFile`. @throws Error */
  saveToFile(): FileState | undefined {
    if (this.#state.underWay) throw new Error('its state is on its way to another one, or from one');
    return saveToFile(this.#run, this.#device);
  }

  /** See `loadFromFile`. */
  loadFromFile(state: FileState): Promise<string | undefined> {
    return loadFromFile(this.#run, this.#device, this.#offered, state);
  }

  /** Does the work that messages have made possible; call it once they have been answered. */
  afterMessages(): void {
    this.#run.run();
  }

  /** The front-end is gone: unmaps its memory and closes every descriptor of it. Resolves once the device's reset is done. */
  async disconnect(): Promise<void> {
    const done = this.#endSession();
    this.#channel.close();
    this.#protocolFeatures = 0n;
    await done;
    // A guest that had no driver for it may have gone to who waits for what is behind it.
    if (!this.#run.running) this.#device.rest?.();
  }

  /** Another process has the device: what that keeps is left alone. */
  abandon(): void {
    this.#run.inflight.abandon();
  }

  /** The device leaves for good: what is kept for a next process goes. */
  forget(): void {
    this.#run.inflight.remove();
  }

  /** What the front-end set up is gone when this returns; the device may take longer. */
  #endSession(): void | Promise<void> {
    this.#state.cancel();
    const done = this.#run.reset();
    for (const vring of this.#run.vrings) vring.release();
    this.#table.clear();
    this.#run.logging.close();
    this.#run.inflight.disconnect();
    this.#run.features = undefined;
    this.#status = 0;
    return done;
  }

  #negotiationRules(): RequestRules {
    return [
      [VhostUserRequest.VHOST_USER_GET_FEATURES, query(() => this.#offered)],
      [VhostUserRequest.VHOST_USER_SET_FEATURES, assignment((features) => this.#setFeatures(features))],
      [VhostUserRequest.VHOST_USER_GET_PROTOCOL_FEATURES, query(() => this.#offeredProtocol)],
      [
        VhostUserRequest.VHOST_USER_SET_PROTOCOL_FEATURES,
        assignment((features) => this.#setProtocolFeatures(features)),
      ],
      [VhostUserRequest.VHOST_USER_SET_OWNER, { payloadBytes: 0, serve: () => this.#setOwner() }],
      [VhostUserRequest.VHOST_USER_RESET_OWNER, { payloadBytes: 0, serve: () => 0 }],
      [
        VhostUserRequest.VHOST_USER_GET_QUEUE_NUM,
        query(() => BigInt(this.#run.vrings.length), Feature.VHOST_USER_PROTOCOL_F_MQ),
      ],
      [
        VhostUserRequest.VHOST_USER_SET_BACKEND_REQ_FD,
        {
          payloadBytes: 0,
          maxFds: 1,
          feature: Feature.VHOST_USER_PROTOCOL_F_BACKEND_REQ,
          serve: ({ fds }) => (fds.count === 1 ? this.#channel.open(fds.take(0)) : -Errno.EINVAL),
        },
      ],
    ];
  }

  #deviceRules(): RequestRules {
    const config = {
      payloadBytes: PayloadBytes.CONFIG,
      andMore: true,
      feature: Feature.VHOST_USER_PROTOCOL_F_CONFIG,
    } as const;
    return [
      [
        VhostUserRequest.VHOST_USER_GET_CONFIG,
        { ...config, replies: true, serve: (message) => this.#getConfig(message) },
      ],
      [VhostUserRequest.VHOST_USER_SET_CONFIG, { ...config, serve: (message) => this.#setConfig(message) }],
      [
        VhostUserRequest.VHOST_USER_RESET_DEVICE,
        {
          payloadBytes: 0,
          feature: Feature.VHOST_USER_PROTOCOL_F_RESET_DEVICE,
          serve: () => this.#resetDevice(),
        },
      ],
      [
        VhostUserRequest.VHOST_USER_SEND_RARP,
        {
          payloadBytes: PayloadBytes.U64,
          feature: Feature.VHOST_USER_PROTOCOL_F_RARP,
          serve: ({ payload }) => this.#announce(payload.bytes(PayloadBytes.U64)),
        },
      ],
      [
        VhostUserRequest.VHOST_USER_SET_STATUS,
        assignment((status) => this.#setStatus(status), Feature.VHOST_USER_PROTOCOL_F_STATUS),
      ],
      [
        VhostUserRequest.VHOST_USER_GET_STATUS,
        query(() => BigInt(this.#getStatus()), Feature.VHOST_USER_PROTOCOL_F_STATUS),
      ],
    ];
  }

  /**
   * The start of a session. A VMM may have several, one after the other, over one connection (QEMU does where a device is plugged
   * again on the chardev of one that was unplugged), and then counts on none of the last one's memory and rings.
   */
  #setOwner(): number {
    if (this.#run.running) return -Errno.EBUSY;
    // Where the device is busy with its reset, the next rings wait for that, and nothing else has to.
    void this.#endSession();
    return 0;
  }

  /** Without VIRTIO_F_VERSION_1 the driver is a legacy one, and the rest is the same: QEMU says where the parts of its ring lie. */
  #setFeatures(features: bigint): number {
    if ((features & ~this.#offered) !== 0n) return -Errno.EINVAL;
    const driverFeatures = features & ~VHOST_FEATURES;
    if (this.#run.running && driverFeatures !== this.#run.features) return -Errno.EBUSY;
    const error = this.#run.logging.setAll(hasFeature(features, VHOST_F_LOG_ALL));
    if (error !== 0) return error;
    this.#run.features = driverFeatures;
    this.#run.enabledFromStart = !hasFeature(features, VHOST_USER_F_PROTOCOL_FEATURES);
    this.#run.updateAll();
    return 0;
  }

  #setProtocolFeatures(features: bigint): number {
    if ((features & ~this.#offeredProtocol) !== 0n) return -Errno.EINVAL;
    this.#protocolFeatures = features;
    return 0;
  }

  /**
   * Both ways: offset[4] size[4] flags[4] bytes[size]. What lies beyond the config space reads as zeros, as it does over PCI; a
   * reply without payload is an error.
   */
  #getConfig({ payload, reply }: Message): number {
    const offset = payload.u32();
    const size = payload.u32();
    const flags = payload.u32();
    if (payload.remaining !== size || offset + size > VhostUserLimit.CONFIG_BYTES) return 0;
    reply.putU32(offset);
    reply.putU32(size);
    reply.putU32(flags);
    const { config } = this.#device;
    for (let i = 0; i < size; i++) reply.putValue(1, config[offset + i] ?? 0);
    return 0;
  }

  /**
   * offset[4] size[4] flags[4] bytes[size]. What lies beyond the config space is ignored, as it is over PCI: Cloud Hypervisor ends with
   * an error where a driver's write is refused.
   */
  #setConfig({ payload }: Message): number {
    const offset = payload.u32();
    const size = payload.u32();
    const flags = payload.u32();
    if (payload.remaining !== size || offset + size > VhostUserLimit.CONFIG_BYTES) return -Errno.EINVAL;
    // A migration writes fields that are the driver's to read only, and no device here takes them from it. Yet Cloud Hypervisor
    // says that of each write of its driver: so both are a driver's writes.
    if (flags !== VhostSetConfigType.FRONTEND && flags !== VhostSetConfigType.MIGRATION) return -Errno.EINVAL;
    const known = Math.min(size, this.#device.config.length - offset);
    if (known > 0) this.#device.writeConfig(offset, payload.bytes(known).slice());
    return 0;
  }

  /** All as if the front-end had just connected, save for its memory and descriptors. */
  #resetDevice(): Outcome {
    this.#state.cancel();
    const done = this.#run.reset();
    for (const vring of this.#run.vrings) vring.reset();
    this.#run.inflight.reset();
    this.#run.logging.reset();
    this.#run.features = undefined;
    this.#status = 0;
    return done === undefined ? 0 : done.then(() => 0);
  }

  /** mac[6] zeroes[2]: the guest has moved here, and its driver does not tell the network by itself. */
  #announce(payload: Uint8Array): number {
    this.#device.announceFor?.(payload.slice(0, 6));
    return 0;
  }

  /** 0 is a reset by the driver where rings run, and says nothing new where they were stopped before (see DeviceRun). */
  #setStatus(status: bigint): Outcome {
    if (status > STATUS_MASK) return -Errno.EINVAL;
    if (status === 0n && (this.#run.running || this.#run.faulted)) return this.#resetDevice();
    this.#status = Number(status) & ~NEEDS_RESET;
    return 0;
  }

  #getStatus(): number {
    return this.#run.faulted ? this.#status | NEEDS_RESET : this.#status;
  }
}

function bitOf(bit: number): bigint {
  return 1n << BigInt(bit);
}
