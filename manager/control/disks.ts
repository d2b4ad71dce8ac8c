/** Disks as they cross the API. */
import { Type, type Static } from '@sinclair/typebox';
import { FunctionCounters, FunctionDriver, MAX_SLOTS, MountState, Port } from './function.js';
import { ManagedBy } from './managed-by.js';

const STRICT = { additionalProperties: false };

/** Beyond that, bytes cannot be counted in a number. */
const SizeBytes = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const TimeoutMs = Type.Integer({ minimum: 1, maximum: 3_600_000, default: 30_000 });

/** What the chassis knows a disk by; names of disks and tags of mounts are never the same. */
export const DiskName = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'a name of up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
});

/** What the guest knows a disk by (Linux: /dev/disk/by-id/virtio-SERIAL). Virtio has room for 20 bytes. */
export const SERIAL_MAX_LENGTH = 20;
export const DiskSerial = Type.String({
  pattern: `^[\\x21-\\x7e]{1,${SERIAL_MAX_LENGTH}}$`,
  description: `a serial of 1 to ${SERIAL_MAX_LENGTH} printable ASCII characters without blanks`,
});

const Path = Type.String({ minLength: 1, maxLength: 4096 });

/**
 * What a disk is kept in: a regular file or block device of the host, the device process's memory, or a server; or what is made of a file
 * with a guest's user data, for cloud-init to find (NoCloud).
 */
export const DiskSource = Type.Union([
  Type.Object({ type: Type.Literal('file'), path: Path }, STRICT),
  Type.Object({ type: Type.Literal('memory'), sizeBytes: SizeBytes }, STRICT),
  Type.Object({ type: Type.Literal('nbd'), uri: Type.String({ minLength: 1, maxLength: 8192 }) }, STRICT),
  Type.Object({ type: Type.Literal('cloud-init'), path: Path }, STRICT),
]);
export type DiskSource = Static<typeof DiskSource>;

/**
 * Queues of a disk unless it is asked for others. A guest takes as many of them as it has processors, at most, and others cost it nothing;
 * the device process serves all of them on one thread, so that more would not make a disk faster.
 */
export const DISK_QUEUES_DEFAULT = 4;
export const DISK_QUEUES_MAX = 64;

/** A disk becomes function 0 of a slot of its own. */
export const AddDiskRequest = Type.Object(
  {
    name: DiskName,
    source: DiskSource,
    readOnly: Type.Boolean({ default: false }),
    /** Leaves the source as it is: what the guest writes is kept in memory, and lost with the disk. */
    overlay: Type.Boolean({ default: false }),
    /** Keeps it in a file without a name in this folder instead, as far as there is room. */
    overlayDirectory: Type.Optional(Path),
    /** The first characters of the name when absent. */
    serial: Type.Optional(DiskSerial),
    /** Of requests: processors of the guest with a queue each do not wait for one another. */
    queues: Type.Integer({ minimum: 1, maximum: DISK_QUEUES_MAX, default: DISK_QUEUES_DEFAULT }),
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
export type AddDiskRequest = Static<typeof AddDiskRequest>;

export const ResizeDiskRequest = Type.Object(
  {
    sizeBytes: SizeBytes,
    /** Consents to a smaller size, and to the loss of what is beyond it. */
    shrink: Type.Boolean({ default: false }),
  },
  STRICT,
);
export type ResizeDiskRequest = Static<typeof ResizeDiskRequest>;

export const RemoveDiskQuery = Type.Object(
  {
    /** Takes it from a VMM that does not answer, and asks the guest even for a disk that the device process's death cut off. */
    force: Type.Boolean({ default: false }),
    /** How long the guest may take to let go. */
    timeoutMs: TimeoutMs,
  },
  STRICT,
);
export type RemoveDiskQuery = Static<typeof RemoveDiskQuery>;

export const Disk = Type.Object({
  chassis: Type.String(),
  name: DiskName,
  managedBy: Type.Optional(ManagedBy),
  source: DiskSource,
  readOnly: Type.Boolean(),
  overlay: Type.Boolean(),
  overlayDirectory: Type.Optional(Path),
  serial: DiskSerial,
  queues: Type.Integer(),
  permanent: Type.Boolean(),
  /** As the guest sees it; absent while the device process is lost. */
  sizeBytes: Type.Optional(Type.Integer()),
  /** What is wrong with what it is kept in. */
  trouble: Type.Optional(Type.String()),
  slot: Type.Integer(),
  function: Type.Integer(),
  state: MountState,
  /** How it is served, and why so. */
  port: Type.Optional(Port),
  portReason: Type.Optional(Type.String()),
  interrupts: Type.Optional(Type.Union([Type.Literal('msix'), Type.Literal('intx')])),
  /** Why it is not plugged although it could be: what the VMM said, or what died. */
  reason: Type.Optional(Type.String()),
  counters: Type.Optional(Type.Omit(FunctionCounters, ['fids'])),
  /** Absent while no driver has started the function. */
  driver: Type.Optional(FunctionDriver),
});
export type Disk = Static<typeof Disk>;
