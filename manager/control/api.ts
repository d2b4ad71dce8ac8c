/**
 * The daemon's API: JSON over HTTP on a unix socket. These schemas validate requests, type both ends, and are
 * the reference: what is not here does not cross the socket.
 */
import { Type, type Static } from '@sinclair/typebox';
import { Disk } from './disks.js';
import { ChildState, FunctionCounters, FunctionDriver, MAX_SLOTS, MountState, Port } from './function.js';
import { ManagedBy } from './managed-by.js';
import { Card } from './networks.js';
import { MountTerms, OverlayRequest, Owner, Policy } from './mount-terms.js';
import { KeptOverlay } from './reviews.js';
import { InForce } from './sandbox.js';
import { DrivenVmm, Via } from './topology.js';

export * from './commands.js';
export * from './disks.js';
export * from './errors.js';
export * from './events.js';
export * from './function.js';
export * from './managed-by.js';
export * from './networks.js';
export * from './mount-terms.js';
export * from './reviews.js';
export * from './sandbox.js';
export * from './topology.js';

/** A misspelt option is refused, not ignored: `readonly` must not mean a writable mount. */
const STRICT = { additionalProperties: false };

/** Chassis names: used in paths and QEMU ids. */
export const ChassisName = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
  description: 'up to 32 lower-case letters, digits and dashes, not a dash first',
});
/** 9p mount tags: what the guest names in `mount`. 1 to 254 bytes of UTF-8, which the planner checks (TAG_INVALID). */
export const Tag = Type.String({ maxLength: 65_535 });

/** What a mount shows: a directory of the host, or a fresh file system in the device process's memory. */
export const Source = Type.Union([
  Type.Object(
    { type: Type.Literal('directory'), path: Type.String({ minLength: 1, maxLength: 4096 }) },
    STRICT,
  ),
  Type.Object({ type: Type.Literal('memory') }, STRICT),
]);
export type Source = Static<typeof Source>;

/**
 * What a function shows: a source; the tree of the mounts that have no function of their own; or on each of its queues one of the mounts
 * that have a queue.
 */
export const Shown = Type.Union([
  ...Source.anyOf,
  Type.Object({ type: Type.Literal('tree') }, STRICT),
  Type.Object({ type: Type.Literal('queues') }, STRICT),
]);
export type Shown = Static<typeof Shown>;

export const CreateChassisRequest = Type.Object(
  {
    name: ChassisName,
    /** Hot-plug slots, each of up to 8 functions; those beyond 64 are behind switches. Default 8, or what `mounts` takes. */
    slots: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_SLOTS })),
    /** In place of `slots`: as many as this number of mounts takes, a function each. */
    mounts: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_SLOTS * 8 })),
    /** The VMM of the VM that gets it; QEMU by default. */
    vmm: Type.Optional(DrivenVmm),
    /** Where Cloud Hypervisor serves its API, by default a socket in the chassis's folder. It need not be there yet. */
    apiSocket: Type.Optional(
      Type.String({ pattern: '^/', maxLength: 107, description: 'the absolute path of a socket' }),
    ),
    managedBy: Type.Optional(ManagedBy),
  },
  STRICT,
);
export type CreateChassisRequest = Static<typeof CreateChassisRequest>;

/** One mount of an attach: becomes one PCI function, or a directory of the tree. */
export const MountRequest = Type.Object(
  {
    source: Source,
    tag: Tag,
    readOnly: Type.Boolean({ default: false }),
    policy: Type.Optional(Policy),
    owner: Type.Optional(Owner),
    /** The guest's changes go there, and the source stays as it is. */
    overlay: Type.Optional(OverlayRequest),
    /** An absolute path in the guest, where its helper is to mount it. Over the tree only. */
    target: Type.Optional(
      Type.String({ pattern: '^/', maxLength: 4095, description: 'an absolute path in the guest' }),
    ),
    /** Changes of the directory on the host wake who watches it in the guest, by the guest's helper. Over the tree only. */
    watch: Type.Optional(Type.Boolean()),
    managedBy: Type.Optional(ManagedBy),
  },
  STRICT,
);
export type MountRequest = Static<typeof MountRequest>;

/** Mounts that are plugged in together: several share one slot as a multi-function card. */
export const AttachRequest = Type.Object(
  {
    mounts: Type.Array(MountRequest, { minItems: 1, maxItems: 8 }),
    /** What carries them; 'auto' by the rule in docs/cli.md. */
    via: Type.Union(Via.anyOf, { default: 'auto' }),
    /** 1-based slot number; chosen when absent. */
    slot: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_SLOTS })),
    /**
     * Number of the first mount's function. One other than 0 in an empty slot waits, parked, until function 0 is attached:
     * a guest looks at a slot only once function 0 is there.
     */
    function: Type.Optional(Type.Integer({ minimum: 0, maximum: 7 })),
    /** Promises that the mounts stay until the VM stops, which allows MSI-X where the VMM could not unplug it. */
    permanent: Type.Boolean({ default: false }),
    port: Type.Union([Type.Literal('auto'), Port], { default: 'auto' }),
    /** How long the VMM, or the guest's helper, may take before the attach is undone. */
    timeoutMs: Type.Integer({ minimum: 1, maximum: 3_600_000, default: 30_000 }),
  },
  STRICT,
);
export type AttachRequest = Static<typeof AttachRequest>;

/** What a guest has of a mount: files and directories that it knows, and files that it has open. */
export const Lost = Type.Object({ fids: Type.Integer(), openFiles: Type.Integer() });
export type Lost = Static<typeof Lost>;

/** How a mount's directories are watched on the host. */
export const Watching = Type.Object({
  /** How many are watched now: those that the guest was in last. */
  directories: Type.Integer(),
  /** Why not all of them are that should be. */
  problem: Type.Optional(Type.String()),
});
export type Watching = Static<typeof Watching>;

export const Mount = Type.Object({
  chassis: ChassisName,
  tag: Tag,
  /** Absent where a function is kept without a mount. */
  source: Type.Optional(Shown),
  ...MountTerms.properties,
  permanent: Type.Boolean(),
  /** What carries it. Slot, function and state of a mount of the tree or on a queue are those of what carries it. */
  via: Type.Union([Type.Literal('function'), Type.Literal('queue'), Type.Literal('tree')]),
  slot: Type.Integer(),
  function: Type.Integer(),
  /** Of a mount on a queue: which one, from 0. */
  queue: Type.Optional(Type.Integer()),
  state: MountState,
  /** Of a mount of the tree: where the guest's helper is to mount it, what it said of that, and what the guest holds of it. */
  target: Type.Optional(Type.String()),
  inGuest: Type.Optional(ChildState),
  held: Type.Optional(Lost),
  /** Of a mount of the tree: its changes on the host are to be watched, and how they are. */
  watch: Type.Optional(Type.Boolean()),
  watching: Type.Optional(Watching),
  /** How it is served, and why so. */
  port: Type.Optional(Port),
  portReason: Type.Optional(Type.String()),
  /** How interrupts reach the guest; undefined until the VMM is known. */
  interrupts: Type.Optional(Type.Union([Type.Literal('msix'), Type.Literal('intx')])),
  /** Why it is not plugged although it could be: what the VMM said, or what died. Of a mount of the tree: what the guest said last. */
  reason: Type.Optional(Type.String()),
  /** The command that mounts it in a Linux guest; absent where Linux's driver cannot, of which `mountNote` says more. */
  mountCommand: Type.Optional(Type.String()),
  /** What else there is to know of mounting it. */
  mountNote: Type.Optional(Type.String()),
  counters: Type.Optional(FunctionCounters),
  /** Absent while no driver has started the function. */
  driver: Type.Optional(FunctionDriver),
});
export type Mount = Static<typeof Mount>;

export const Vmm = Type.Object({
  type: DrivenVmm,
  version: Type.String(),
  /** What this VMM cannot do, and what the manager does about it. */
  notes: Type.Array(Type.String()),
});
export type Vmm = Static<typeof Vmm>;

export const Chassis = Type.Object({
  name: ChassisName,
  managedBy: Type.Optional(ManagedBy),
  slots: Type.Integer(),
  slotsFree: Type.Integer(),
  /**
   * 'recovering': the device process died, and is being started again. 'lost': it died too often for that, and is started over by the next
   * attach or by `restart`.
   */
  deviceProcess: Type.Object({
    state: Type.Union([Type.Literal('running'), Type.Literal('recovering'), Type.Literal('lost')]),
    pid: Type.Optional(Type.Integer()),
    reason: Type.Optional(Type.String()),
    /** How often it died by itself and was started again, since the daemon was started. */
    restarts: Type.Integer(),
    sandbox: Type.Optional(InForce),
  }),
  vmm: Type.Optional(Vmm),
  /** Why the VM that answers at the VMM's socket cannot be used. */
  vmmProblem: Type.Optional(Type.String()),
  /** The guest's helper reads what the tree tells it. */
  guestHelper: Type.Optional(Type.Boolean()),
  qmpSocket: Type.String(),
  /** It runs commands for its host. */
  guestCommands: Type.Optional(Type.Boolean()),
  /** Of one for Cloud Hypervisor, which is driven there, while nobody looks at `qmpSocket`. */
  apiSocket: Type.Optional(Type.String()),
  mounts: Type.Array(Mount),
  /** Changes that are kept of mounts that were detached. */
  kept: Type.Array(KeptOverlay),
  disks: Type.Array(Disk),
  cards: Type.Array(Card),
});
export type Chassis = Static<typeof Chassis>;

/** The VM that `args` is asked for. Paths are the caller's; QEMU opens them, not the daemon. */
export const QemuArgsRequest = Type.Object(
  {
    memoryMiB: Type.Integer({ minimum: 64, maximum: 1_048_576, default: 1024 }),
    /** What the QEMU can do that will get the arguments. Without it they are such that any supported one takes them. */
    qemu: Type.Optional(
      Type.Object(
        {
          version: Type.String({ pattern: '^\\d+\\.\\d+\\.\\d+$' }),
          /** The names of its devices that matter here, of those in `-device help`. */
          devices: Type.Array(Type.String(), { maxItems: 16 }),
        },
        STRICT,
      ),
    ),
  },
  STRICT,
);
export type QemuArgsRequest = Static<typeof QemuArgsRequest>;
/** The arguments of the VMM that the chassis is for. */
export const QemuArgs = Type.Object({ vmm: DrivenVmm, args: Type.Array(Type.String()) });
export type QemuArgs = Static<typeof QemuArgs>;

/** A device process was replaced. */
export const Upgraded = Type.Object({
  chassis: Type.String(),
  formerPid: Type.Integer(),
  pid: Type.Integer(),
  /** How long nobody served the guest, in milliseconds. */
  pausedMs: Type.Number(),
});
export type Upgraded = Static<typeof Upgraded>;

/** A chassis to a file. The path is absolute; the daemon writes the file, for its user alone. */
export const SaveRequest = Type.Object(
  {
    path: Type.String({ minLength: 1, maxLength: 4096 }),
    /** What it is made of alone, without the states of its devices: for a guest that moves while it runs, and brings those. */
    topology: Type.Boolean({ default: false }),
  },
  STRICT,
);
export type SaveRequest = Static<typeof SaveRequest>;

export const Saved = Type.Object({ chassis: Type.String(), path: Type.String(), bytes: Type.Integer() });
export type Saved = Static<typeof Saved>;

/** A chassis from such a file, under its own name or another one. */
export const RestoreRequest = Type.Object(
  { path: Type.String({ minLength: 1, maxLength: 4096 }), name: Type.Optional(ChassisName) },
  STRICT,
);
export type RestoreRequest = Static<typeof RestoreRequest>;

/** Query of a detach. */
export const DetachQuery = Type.Object(
  {
    /** Detaches although the guest holds files open, which can hang its unplug. */
    force: Type.Boolean({ default: false }),
    /** Lets the other mounts of the slot go as well: a VM ejects whole slots only. */
    slot: Type.Boolean({ default: false }),
    /** Takes the mount away but leaves its function in the VM, where nothing can be mounted until the tag is attached again. */
    keepFunction: Type.Boolean({ default: false }),
    /** Drops what the guest changed in an overlay. Without it changes are kept, and ones in memory not detached. */
    discard: Type.Boolean({ default: false }),
    /** How long the guest may take to let go. */
    timeoutMs: Type.Integer({ minimum: 1, maximum: 3_600_000, default: 30_000 }),
  },
  STRICT,
);
export type DetachQuery = Static<typeof DetachQuery>;

export const Detached = Type.Object({
  /** The tags that went. */
  tags: Type.Array(Type.String()),
  /** What the guest had of a mount of the tree, or on a queue, that was taken away. */
  lost: Type.Optional(Lost),
  /** Changes of theirs that are kept. */
  kept: Type.Optional(Type.Array(KeptOverlay)),
});
export type Detached = Static<typeof Detached>;

/** Query of deleting a chassis. */
export const DeleteChassisQuery = Type.Object(
  {
    /** Takes all mounts, disks and cards out first. */
    force: Type.Boolean({ default: false }),
    timeoutMs: Type.Integer({ minimum: 1, maximum: 3_600_000, default: 30_000 }),
  },
  STRICT,
);
export type DeleteChassisQuery = Static<typeof DeleteChassisQuery>;

export const Deleted = Type.Object({
  /** Changes that are kept, for a chassis of the same name. */
  kept: Type.Array(KeptOverlay),
});
export type Deleted = Static<typeof Deleted>;

export const Health = Type.Object({ version: Type.String(), pid: Type.Integer() });
export type Health = Static<typeof Health>;

/** What the paths of most routes begin with: routes.ts lists them. */
export const API_PREFIX = '/v1';
