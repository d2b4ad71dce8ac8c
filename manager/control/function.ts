/** What of a PCI function crosses the API, whatever device it is. */
import { Type, type Static } from '@sinclair/typebox';

/** What QEMU has room for (QEMU_RULES in manager/chassis/placement-rules.ts says why). */
export const MAX_SLOTS = 224;

/** How a function reaches the VMM: a whole PCI function over a socket, or its virtqueues alone. */
export const Port = Type.Union([Type.Literal('vfio-user'), Type.Literal('vhost-user')]);
export type Port = Static<typeof Port>;
/** 'auto': what works in the VMM and performs best. */
export const PortChoice = Type.Union([Type.Literal('auto'), Port]);
export type PortChoice = Static<typeof PortChoice>;

/** How the guest's driver drives a function. */
export const FunctionDriver = Type.Object({
  /** The registers that it uses: those of virtio 1.x, or of 0.9.5. Over vhost-user they are the VMM's. */
  registers: Type.Union([Type.Literal('modern'), Type.Literal('legacy')]),
  /** What it rings: a register of each queue, one of the device, or (vhost-user) an eventfd that the VMM writes to. */
  doorbell: Type.Union([Type.Literal('queue'), Type.Literal('device'), Type.Literal('eventfd')]),
  /** True where the device looks by itself all the time, and the driver is asked not to ring. */
  polled: Type.Boolean(),
});
export type FunctionDriver = Static<typeof FunctionDriver>;

export const MountState = Type.Union([
  /** No VM is connected, or function 0 of the slot is missing: plugged as soon as that changes. */
  Type.Literal('parked'),
  Type.Literal('plugging'),
  Type.Literal('plugged'),
  Type.Literal('unplugging'),
  /** The VM has it, and connects again to the device process, which died: the guest waits meanwhile. */
  Type.Literal('recovering'),
  /** The VM has it, but the device process behind it died: nothing answers the guest until the VM is started anew. */
  Type.Literal('lost'),
  /** The mount is gone, its function is kept: an attach of the tag puts another into it, without a PCI event. */
  Type.Literal('kept'),
]);
export type MountState = Static<typeof MountState>;

/** A mount of the tree in the guest, as far as the guest's helper has said. */
export const ChildState = Type.Union([
  /** It is to be seen in the tree; nobody asked for it elsewhere. */
  Type.Literal('shown'),
  Type.Literal('waiting'),
  Type.Literal('mounted'),
  Type.Literal('failed'),
  Type.Literal('releasing'),
  Type.Literal('released'),
]);
export type ChildState = Static<typeof ChildState>;

const QUEUE_COUNTERS = {
  /** Doorbells that arrived. */
  kicks: Type.Integer(),
  interrupts: Type.Integer(),
  /** Kicks that found the queue asleep, and of these the ones that found nothing to do. */
  wakes: Type.Integer(),
  spuriousWakes: Type.Integer(),
  /** Looks at the queue without a kick. */
  polls: Type.Integer(),
  requests: Type.Integer(),
};

/**
 * How long requests of one kind took, of those that were timed (one in 16, at random): how many took less than each of `endsUs`, in microseconds, and no less than
 * the one before, which may be left out where nothing did.
 */
export const LatencyHistogram = Type.Object({
  endsUs: Type.Array(Type.Number()),
  counts: Type.Array(Type.Integer()),
  /** Of all that were timed, in microseconds. */
  sumUs: Type.Number(),
});
export type LatencyHistogram = Static<typeof LatencyHistogram>;

/** Of a mount: read, write, and all else (metadata). Of a disk: read, write and flush. Without those of which none was timed. */
export const Latencies = Type.Object({
  read: Type.Optional(LatencyHistogram),
  write: Type.Optional(LatencyHistogram),
  metadata: Type.Optional(LatencyHistogram),
  flush: Type.Optional(LatencyHistogram),
});
export type Latencies = Static<typeof Latencies>;

/** What crossed a function since it was last reset: the sums of its queues, those of each, and what only the whole counts. */
export const FunctionCounters = Type.Object({
  ...QUEUE_COUNTERS,
  queues: Type.Array(Type.Object(QUEUE_COUNTERS)),
  bytesRead: Type.Integer(),
  bytesWritten: Type.Integer(),
  /** Fids that the guest holds: 0 once it has unmounted. */
  fids: Type.Integer(),
  latencies: Type.Optional(Latencies),
});
export type FunctionCounters = Static<typeof FunctionCounters>;
