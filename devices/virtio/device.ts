/**
 * The contract of a virtio device (virtio 1.3, section 2): what a device tells its transport, and what a transport gives a
 * device. A device cannot tell whether a virtio-pci function, a vhost-user socket or an in-process guest drives it.
 */
import type { IoVector } from '../io-vector.js';
import type { GivenDescriptors, StateDestination } from '../state-descriptors.js';

/** Device-independent feature bits (virtio 1.3, section 6). They belong to the transport and the rings, never to a device. */
export const VirtioFeature = {
  VIRTIO_F_NOTIFY_ON_EMPTY: 24,
  VIRTIO_F_ANY_LAYOUT: 27,
  VIRTIO_F_INDIRECT_DESC: 28,
  VIRTIO_F_EVENT_IDX: 29,
  VIRTIO_F_VERSION_1: 32,
  VIRTIO_F_ACCESS_PLATFORM: 33,
  VIRTIO_F_RING_PACKED: 34,
  VIRTIO_F_IN_ORDER: 35,
  VIRTIO_F_ORDER_PLATFORM: 36,
  VIRTIO_F_SR_IOV: 37,
  VIRTIO_F_NOTIFICATION_DATA: 38,
  VIRTIO_F_NOTIF_CONFIG_DATA: 39,
  VIRTIO_F_RING_RESET: 40,
} as const;

/** Device ids (virtio 1.3, section 5). */
export const VirtioDeviceId = { network: 1, block: 2, fileSystem9p: 9 } as const;

/** One request or buffer that the driver made available, owned by the device until it is pushed back. */
export interface Chain {
  /** What the driver wrote for the device. */
  readonly readable: IoVector;
  /** Where the device may write. */
  readonly writable: IoVector;
  /**
   * What the ring's in-flight area tells it by, from 30 bits on anew; 0 where there is none. A chain that is given to another device, after
   * the process of the first one was killed, has it again.
   */
  readonly inflightNumber?: number;
  /** It was under way when the ring was saved, or its process killed, and is given to another device. Those come before all others. */
  readonly restored?: boolean;
}

/** A running virtqueue, of whichever ring format, seen from the device. Not ready yet, reset or broken: it has no chains. */
export interface Virtqueue {
  readonly index: number;
  readonly size: number;
  /** True once the driver broke the ring's rules; `DeviceContext` was told, and the queue stays silent until reset. */
  readonly broken: boolean;
  /** The next available chain, or undefined where there is none (or the ring just turned out to be broken). */
  pop(): Chain | undefined;
  /**
   * Gives a chain back with `writtenBytes` written from the start of its writable part. Each popped chain is pushed exactly
   * once, in any order. Chains of a queue that was reset in the meantime are recognised and dropped.
   */
  push(chain: Chain, writtenBytes: number): void;
  /**
   * Gives back the chain that was popped last as if it had never been popped: it is the next one again. Several go back in the
   * reverse order of their coming. Only before anything else was done with the queue.
   */
  unpop(chain: Chain): void;
  /**
   * Publishes what was pushed and interrupts the driver if it asked for that. `QueueService` calls it after each batch of
   * `handleChain`; a device that pushes at another time calls it itself, once for all it pushed.
   */
  flush(): void;
  /** Asks the driver not to notify. A hint. */
  disableNotifications(): void;
  /** Asks for notifications again; true where chains arrived meanwhile, so that the caller must look once more. */
  enableNotifications(): boolean;
}

/** Counters of one queue; every field only grows until the device is reset. */
export interface QueueCounters {
  /** Doorbells that arrived. */
  kicks: number;
  /** Interrupts sent. */
  interrupts: number;
  /** Doorbells that found the queue asleep: while it is polled they change nothing. */
  wakes: number;
  /** Wakes that found nothing to do. */
  spuriousWakes: number;
  /** Times the ring was looked at without a doorbell. */
  polls: number;
  /** Chains completed. */
  requests: number;
}

/** What a device can ask of whatever carries it. Provided by the transport; valid from `activate` until `reset`. */
export interface DeviceContext {
  /** The features that driver and device agreed on, transport bits included. */
  readonly features: bigint;
  /** The queues that the driver enabled, by index; undefined where it did not. */
  readonly queues: readonly (Virtqueue | undefined)[];
  /** Tells the driver that the device's config space changed. Call it after the change. */
  configChanged(): void;
  /** Declares the device broken (DEVICE_NEEDS_RESET): a fault of the driver that the device cannot answer otherwise. */
  fault(reason: string): void;
}

/**
 * Queues of buffers that a device fills once it has something to say, as a network card's receive queues are. Their chains stay in the
 * ring until the device pops them for what it has: a pause or a reset finds none under way, and who is slow to add buffers
 * costs nobody memory. Notifications of these queues are the device's to turn on and off.
 */
export interface FilledQueues {
  /** Whether the queue is one. Asked at each look, since what a queue is for can depend on the features agreed on. */
  includes(queueIndex: number): boolean;
  /**
   * The driver may have added buffers; called in place of `handleChain` when the queue is looked at, flushed afterwards. Answers
   * how many chains were pushed. It must not throw.
   */
  buffersAdded(queue: Virtqueue): number;
}

/** Bytes of a config space. */
export interface ConfigSpan {
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface VirtioDevice {
  readonly deviceId: number;
  /** PCI class code (24 bits: class, subclass, interface) that suits the device. */
  readonly pciClass: number;
  /** Device-specific features on offer (bits 0–23 and 50–127 of virtio 1.3, section 2.2). */
  readonly features: bigint;
  /** Largest size of each queue; its length is the number of queues. Powers of two. */
  readonly queueSizes: readonly number[];
  /**
   * True where the device completes the chains of a queue in the order in which it took them, as one does that answers at once. It is
   * offered VIRTIO_F_IN_ORDER then. Any other device had better not be: its completions would wait for the slowest one before them.
   */
  readonly completesInOrder?: boolean;
  /** The device's config space, little-endian as on the wire. The device changes it, then calls `configChanged`. */
  readonly config: Uint8Array;
  /**
   * What in the config space is the driver's choice, or of the moment: the rest of it is alike in two devices of which one may take over from
   * the other. Nothing where left out.
   */
  readonly changingConfig?: readonly ConfigSpan[];
  /** A driver's write to the config space: the device applies what it accepts and ignores the rest. */
  writeConfig(offset: number, bytes: Uint8Array): void;
  /** DRIVER_OK: the queues are live. */
  activate(context: DeviceContext): void;
  /** Serves one chain. The device pushes it now or later, exactly once. It must not throw. */
  handleChain(queue: Virtqueue, chain: Chain): void;
  /** Queues whose chains are not handed to `handleChain`. */
  readonly filledQueues?: FilledQueues | undefined;
  /**
   * Back to the state before `activate`. Chains that the device holds are void: it forgets them, and pushes are dropped. Where
   * work under way may still touch guest memory, answers a promise that settles when it no longer does: the driver sees
   * its reset complete, and a new `activate` comes, only then.
   */
  reset(): void | Promise<void>;
  /**
   * The same for one queue, while the others go on. A device that has this is offered VIRTIO_F_RING_RESET. The queue
   * comes back as a new `Virtqueue` in `DeviceContext.queues` if the driver enables it again.
   */
  resetQueue?(index: number): void | Promise<void>;
  /**
   * A driver's queues are about to run, for the first time or after `rest`. Answers why they must not: what is behind the device is somebody
   * else's, who took over from it meanwhile.
   */
  engage?(): string | undefined;
  /** No queue runs, and nothing is under way: who takes over from this device may have what is behind it, until `engage`. */
  rest?(): void;
  /**
   * The driver at work was another device's before, and nobody has said what it told that one: the device takes for granted what does no harm.
   * Called once `engage` has been, before `activate` or after.
   */
  adoptDriver?(): void;
  /**
   * Begins nothing more until `unhold` or a reset, and takes back what waits for something to happen: such chains stay the device's, to be begun
   * later, or by another device. Resolves once it touches neither guest memory nor what is behind it: then `saveState` has nothing to wait for.
   * A backend that hangs keeps it waiting.
   */
  hold?(): void | Promise<void>;
  unhold?(): void;
  /**
   * What the device has to go on from where another one is to take over, besides its config space's size and the chains that it has: those
   * are given to the other one again, in their order. Called at any moment; throws where the state cannot be told just now, or not to
   * there, with what helps. Descriptors that it names stay the device's.
   */
  saveState?(to: StateDestination): Uint8Array;
  /**
   * Gets ready to take over what `saveState` of a device like this one made, where that takes a while: `restoreState` of the same bytes comes
   * next, or a `reset` where nothing comes of it. Answers what is wrong with the bytes, and has changed nothing then. Takes of
   * `descriptors`, which came with the bytes, what it needs: undefined where none could.
   */
  prepareState?(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined>;
  /**
   * Takes over what `saveState` of a device like this one made, before `activate`. The bytes come from outside: answers what is wrong
   * with them, and has changed nothing then.
   */
  restoreState?(bytes: Uint8Array): string | undefined;
  /**
   * True where `saveState` is small, names no descriptors and can be told at any moment: then it is kept beside the process, for the next one where
   * this one is killed.
   */
  readonly isStateKept?: boolean;
  /**
   * Of such a device, set by whoever keeps its state: a request on a queue has changed it. The device completes that request once this
   * resolves, or at once where it answers nothing.
   */
  stateChanged?: (() => Promise<void> | undefined) | undefined;
  /** Of a network card: has the network learn that the station of this address is here now, whose driver does not say so itself. */
  announceFor?(mac: Uint8Array): void;
  /** The device leaves for good: releases what it holds of the host. */
  close(): void | Promise<void>;
}
