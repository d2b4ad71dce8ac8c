/** A vhost-user back-end at one moment, as data: what another process has to go on from. Numbers `fd`, and of bytes, are a parcel's. */
import { Type, type Static } from '@sinclair/typebox';

const Numbered = Type.Integer({ minimum: 0 });
const Count = Type.Integer({ minimum: 0 });
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) =>
  Type.Union([type, Type.Null()]);
/** 64 bits, which JSON numbers have not. */
const Bits = Type.String({ pattern: '^[0-9]{1,20}$' });

const ADDRESSES = { descriptor: Count, available: Count, used: Count };
const Segments = Type.Array(Type.Object({ guestAddress: Count, lengthBytes: Count }));

export const RingStateData = Type.Object({
  nextAvail: Type.Integer({ minimum: 0, maximum: 0xffff }),
  nextUsed: Type.Integer({ minimum: 0, maximum: 0xffff }),
  chains: Type.Array(
    Type.Object({
      ...{ id: Count, ringEntries: Count, completed: Type.Boolean(), usedLength: Count },
      ...{ readable: Segments, writable: Segments },
    }),
    { maxItems: 32768 },
  ),
});

export const VringState = Type.Object({
  size: Type.Integer({ minimum: 1 }),
  base: Count,
  enabled: Type.Boolean(),
  started: Type.Boolean(),
  addresses: OrNull(Type.Object(ADDRESSES)),
  logAddress: OrNull(Count),
  /** What it looked like when it was stopped. */
  stopped: OrNull(Type.Object({ ...ADDRESSES, base: Count, size: Count })),
  /** An interrupt is due for which there is no descriptor yet. */
  callPending: Type.Boolean(),
  kick: OrNull(Numbered),
  call: OrNull(Numbered),
  err: OrNull(Numbered),
  /** Where the ring stands; null where it does not run. */
  ring: OrNull(RingStateData),
});
export type VringState = Static<typeof VringState>;

export const ConnectionState = Type.Object({
  fd: Numbered,
  /** The front-end has spoken, and made sense. */
  announced: Type.Boolean(),
  /** Of a message that has not come whole. */
  received: Numbered,
  receivedFds: Type.Array(Numbered, { maxItems: 253 }),
  /** Of a reply that has not gone out whole. */
  unsent: Numbered,
});
export type ConnectionState = Static<typeof ConnectionState>;

export const BackEndState = Type.Object({
  protocolFeatures: Bits,
  status: Type.Integer({ minimum: 0, maximum: 0xff }),
  channel: OrNull(Numbered),
  /** As negotiated, without the protocol's own bits; null until they are. */
  features: OrNull(Bits),
  enabledFromStart: Type.Boolean(),
  faulted: Type.Boolean(),
  memory: Type.Array(
    Type.Object({
      guestAddress: Count,
      sizeBytes: Count,
      userAddress: Count,
      mmapOffset: Count,
      fd: Numbered,
    }),
  ),
  log: Type.Object({
    /** VHOST_F_LOG_ALL. */
    all: Type.Boolean(),
    refused: Type.Boolean(),
    place: OrNull(Type.Object({ fd: Numbered, sizeBytes: Count, offset: Count })),
    eventFd: OrNull(Numbered),
  }),
  /** Where the front-end has what is under way written down. */
  inflight: OrNull(
    Type.Object({ fd: Numbered, sizeBytes: Count, offset: Count, queues: Count, queueSize: Count }),
  ),
  vrings: Type.Array(VringState),
  /** A driver is at work. */
  works: Type.Boolean(),
  /** What the device says of itself. */
  device: Type.Object({ bytes: Numbered, fds: Type.Array(Numbered) }),
});
export type BackEndState = Static<typeof BackEndState>;

export const VhostUserState = Type.Object({
  listener: Numbered,
  connection: OrNull(ConnectionState),
  backEnd: BackEndState,
});
export type VhostUserState = Static<typeof VhostUserState>;
