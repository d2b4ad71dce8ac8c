/** Network cards as they cross the API. */
import { Type, type Static } from '@sinclair/typebox';
import { FunctionCounters, FunctionDriver, MAX_SLOTS, MountState, Port } from './function.js';
import { ManagedBy } from './managed-by.js';
import { InForce } from './sandbox.js';

const STRICT = { additionalProperties: false };
const TimeoutMs = Type.Integer({ minimum: 1, maximum: 3_600_000, default: 30_000 });

/** What the chassis knows a card by; names of cards, names of disks and tags of mounts are never the same. */
export const CardName = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'a name of up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
});

/** Its sockets are in a folder of that name with `@` before it. */
export const SwitchName = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,30}$',
  description: 'up to 31 lower-case letters, digits and dashes, not a dash first',
});

export const Mac = Type.String({
  pattern: '^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$',
  description: "a station's address in lower case: 52:54:00:12:34:56",
});

export const Vlan = Type.Integer({ minimum: 1, maximum: 4094, description: 'a VLAN from 1 to 4094' });
const TcpPort = Type.Integer({ minimum: 1, maximum: 65_535, description: 'a port from 1 to 65535' });

/** A port of one of the daemon's switches. */
export const SwitchNetwork = Type.Object(
  {
    type: Type.Literal('switch'),
    switch: SwitchName,
    /** Of frames without a tag. Default: 1; with a trunk, none. */
    vlan: Type.Optional(Vlan),
    /** VLANs whose frames come and go with a tag. */
    trunk: Type.Optional(Type.Array(Vlan, { minItems: 1, maxItems: 4094 })),
    /** Exchanges frames with cards that are not isolated, and with no others. */
    isolated: Type.Boolean({ default: false }),
    /** The guest may send from the card's address alone, and nobody else from that. */
    macLock: Type.Boolean({ default: false }),
  },
  STRICT,
);
export type SwitchNetwork = Static<typeof SwitchNetwork>;

/** User-mode networking by a passt of the card's own. */
export const PasstNetwork = Type.Object(
  {
    type: Type.Literal('passt'),
    /** Whether the gateway's address stands for the host's loopback interface. */
    hostLoopback: Type.Boolean({ default: true }),
    /** TCP ports of the host's loopback interface that lead to the guest's. */
    publish: Type.Array(Type.Object({ host: TcpPort, guest: TcpPort }, STRICT), {
      maxItems: 64,
      default: [],
    }),
  },
  STRICT,
);
export type PasstNetwork = Static<typeof PasstNetwork>;

/** A TAP device of the host. */
export const TapNetwork = Type.Object(
  {
    type: Type.Literal('tap'),
    interface: Type.String({
      pattern: '^[^/\\s:]{1,15}$',
      description: "an interface's name of up to 15 characters",
    }),
  },
  STRICT,
);

/** What a card is plugged into. */
export const Network = Type.Union([SwitchNetwork, TapNetwork, PasstNetwork]);
export type Network = Static<typeof Network>;

export const QUEUE_PAIRS_MAX = 32;

/** A card becomes function 0 of a slot of its own. */
export const AddCardRequest = Type.Object(
  {
    name: CardName,
    network: Network,
    /** Made from the chassis's name and the card's when absent: the same each time. */
    mac: Type.Optional(Mac),
    /** The longest packet in bytes, without Ethernet's header; the guest's own choice when absent. */
    mtu: Type.Optional(Type.Integer({ minimum: 68, maximum: 65_535 })),
    /** Queues for each direction. */
    queuePairs: Type.Integer({ minimum: 1, maximum: QUEUE_PAIRS_MAX, default: 1 }),
    /** Whether the cable is in. */
    up: Type.Boolean({ default: true }),
    /** 1-based slot number; chosen when absent. */
    slot: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_SLOTS })),
    /** Promises that it stays until the VM stops, which allows MSI-X where the VMM could not unplug it. */
    permanent: Type.Boolean({ default: false }),
    port: Type.Union([Type.Literal('auto'), Port], { default: 'auto' }),
    managedBy: Type.Optional(ManagedBy),
    /** How long the VMM may take before all is undone. */
    timeoutMs: TimeoutMs,
  },
  STRICT,
);
export type AddCardRequest = Static<typeof AddCardRequest>;

export const SetLinkRequest = Type.Object({ up: Type.Boolean() }, STRICT);
export type SetLinkRequest = Static<typeof SetLinkRequest>;

export const RemoveCardQuery = Type.Object(
  {
    /** Takes it from a VMM that does not answer, and asks the guest even for a card that the device process's death cut off. */
    force: Type.Boolean({ default: false }),
    /** How long the guest may take to let go. */
    timeoutMs: TimeoutMs,
  },
  STRICT,
);
export type RemoveCardQuery = Static<typeof RemoveCardQuery>;

/** What a card has counted since its device process was started. */
export const CardStatistics = Type.Object({
  txFrames: Type.Integer(),
  txBytes: Type.Integer(),
  /** Frames of the guest's that were no frames, or whose header did not fit them. */
  txInvalid: Type.Integer(),
  /** Frames of the guest's that nobody took in time, or while the link was down. */
  txDropped: Type.Integer(),
  rxFrames: Type.Integer(),
  rxBytes: Type.Integer(),
  /** Frames that the guest did not ask for. */
  rxFiltered: Type.Integer(),
  /** Frames for which the guest had no buffers, or the link was down. */
  rxDropped: Type.Integer(),
  /** Frames that do not fit the guest's buffers or its MTU. */
  rxTooLong: Type.Integer(),
});
export type CardStatistics = Static<typeof CardStatistics>;

/** What a port of a switch has counted since the switch was started. */
export const SwitchPortCounters = Type.Object({
  /** Frames from the card. */
  sent: Type.Integer(),
  /** Frames for the card, those included that it lost. */
  received: Type.Integer(),
  /** Frames from the card with an address or a VLAN that its port does not take. */
  refused: Type.Integer(),
  /** Frames from the card that were not flooded, because it had so many of them. */
  storm: Type.Integer(),
  /** Frames for the card that it lost, because its guest was slow. */
  dropped: Type.Integer(),
});
export type SwitchPortCounters = Static<typeof SwitchPortCounters>;

export const Card = Type.Object({
  chassis: Type.String(),
  name: CardName,
  managedBy: Type.Optional(ManagedBy),
  network: Network,
  mac: Mac,
  mtu: Type.Optional(Type.Integer()),
  queuePairs: Type.Integer(),
  permanent: Type.Boolean(),
  /** Whether the cable is in. */
  up: Type.Boolean(),
  /** Whether there is somebody at the other end of it too; absent while the device process is lost. */
  carrier: Type.Optional(Type.Boolean()),
  slot: Type.Integer(),
  function: Type.Integer(),
  state: MountState,
  /** How it is served, and why so. */
  port: Type.Optional(Port),
  portReason: Type.Optional(Type.String()),
  interrupts: Type.Optional(Type.Union([Type.Literal('msix'), Type.Literal('intx')])),
  /** Why it is not plugged although it could be: what the VMM said, or what died. */
  reason: Type.Optional(Type.String()),
  counters: Type.Optional(Type.Omit(FunctionCounters, ['fids', 'bytesRead', 'bytesWritten', 'latencies'])),
  statistics: Type.Optional(CardStatistics),
  /** Of a card on a switch. */
  switchPort: Type.Optional(SwitchPortCounters),
  /** What confines that switch. */
  switchSandbox: Type.Optional(InForce),
  /** Absent while no driver has started the function. */
  driver: Type.Optional(FunctionDriver),
});
export type Card = Static<typeof Card>;

/** The longest that a capture lasts: a day. */
const CAPTURE_MAX_MS = 86_400_000;

/** Writes what a card sends and receives to a file, which is made or emptied. Answered once the capture has ended. */
export const CaptureRequest = Type.Object(
  {
    /** A regular file's absolute path. */
    path: Type.String({ minLength: 2, maxLength: 4096, pattern: '^/' }),
    /** The file's largest size in bytes, at which the capture ends. */
    maxBytes: Type.Integer({ minimum: 4096, maximum: 2 ** 40, default: 256 * 2 ** 20 }),
    /** Frames as a wire would carry them, cut up and with their checksums, not as they go between guests. */
    asOnWire: Type.Boolean({ default: false }),
    forMs: Type.Integer({ minimum: 1, maximum: CAPTURE_MAX_MS, default: CAPTURE_MAX_MS }),
  },
  STRICT,
);
export type CaptureRequest = Static<typeof CaptureRequest>;

export const Captured = Type.Object({
  /** Frames in the file, and the file's size. */
  frames: Type.Integer(),
  bytes: Type.Integer(),
  /** Why it ended: asked to, or the time was up; the file was full; the card was removed; or it could not be written. */
  reason: Type.Union([
    Type.Literal('ended'),
    Type.Literal('full'),
    Type.Literal('removed'),
    Type.Literal('unwritable'),
  ]),
});
export type Captured = Static<typeof Captured>;
