/** What a chassis is, as its journal has it: all that was asked for, and what was under way. */
import { Type, type Static } from '@sinclair/typebox';
import {
  ChassisName,
  DISK_QUEUES_MAX,
  DiskSerial,
  DiskSource,
  Mac,
  ManagedBy,
  MAX_SLOTS,
  MountTerms,
  Network,
  Port,
  PortChoice,
  Shown,
  Source,
} from './control/api.js';
import type { ChassisModel, DeviceRecord } from './chassis/chassis.js';
import type { PortUse } from './vmm/port-choice.js';

/** Raised where a daemon would misunderstand a journal of the version before. */
export const JOURNAL_VERSION = 1;

const Slot = Type.Integer({ minimum: 1, maximum: MAX_SLOTS });
const FUNCTION = {
  tag: Type.String(),
  permanent: Type.Boolean(),
  port: PortChoice,
  slot: Slot,
  function: Type.Integer({ minimum: 0, maximum: 7 }),
  managedBy: Type.Optional(ManagedBy),
  /** How it is served. */
  use: Type.Optional(Type.Object({ port: Port, msix: Type.Boolean(), reason: Type.String() })),
};

const MountEntry = Type.Object({
  ...FUNCTION,
  ...MountTerms.properties,
  source: Shown,
  kept: Type.Optional(Type.Boolean()),
  tree: Type.Optional(Type.Boolean()),
  mux: Type.Optional(Type.Boolean()),
});

const DiskEntry = Type.Object({
  ...FUNCTION,
  readOnly: Type.Boolean(),
  disk: Type.Object({
    source: DiskSource,
    overlay: Type.Boolean(),
    overlayDirectory: Type.Optional(Type.String()),
    serial: DiskSerial,
    queues: Type.Integer({ minimum: 1, maximum: DISK_QUEUES_MAX }),
    overlayBytes: Type.Optional(Type.Integer({ minimum: 1 })),
  }),
});

const CardEntry = Type.Object({
  ...FUNCTION,
  card: Type.Object({
    network: Network,
    mac: Mac,
    mtu: Type.Optional(Type.Integer()),
    queuePairs: Type.Integer({ minimum: 1 }),
    up: Type.Boolean(),
  }),
});

const ChildEntry = Type.Object({
  ...MountTerms.properties,
  tag: Type.String(),
  source: Source,
  target: Type.Optional(Type.String()),
  watch: Type.Optional(Type.Boolean()),
});

const SeatEntry = Type.Object({
  ...MountTerms.properties,
  tag: Type.String(),
  source: Source,
  queue: Type.Integer({ minimum: 0 }),
});

const DeviceEntry = Type.Union([DiskEntry, CardEntry, MountEntry]);
type DeviceEntry = Static<typeof DeviceEntry>;

export const JournalDocument = Type.Object({
  version: Type.Literal(JOURNAL_VERSION),
  chassis: ChassisName,
  slots: Slot,
  managedBy: Type.Optional(ManagedBy),
  /** Of a chassis for Cloud Hypervisor: where that is driven. */
  apiSocket: Type.Optional(Type.String()),
  devices: Type.Array(DeviceEntry),
  children: Type.Array(ChildEntry),
  seats: Type.Array(SeatEntry),
  /** Slots whose guest was asked to let them go. */
  unplugging: Type.Array(Slot),
  /** Mounts whose terms were being changed: by tag. */
  changing: Type.Array(Type.String()),
  /** The tag by which a guest may know the first queue. */
  firstQueueTag: Type.Optional(Type.String()),
});
export type JournalDocument = Static<typeof JournalDocument>;

/** What the model does not know of a chassis. */
export interface JournalFacts {
  readonly use: (device: DeviceRecord) => PortUse | undefined;
  readonly unplugging: readonly number[];
  readonly firstQueueTag: string | undefined;
  readonly managedBy: string | undefined;
  readonly apiSocket: string | undefined;
}

/** Everything but the children, which may be thousands. */
export function documentOf(
  chassis: string,
  model: ChassisModel,
  { use, unplugging, firstQueueTag, managedBy, apiSocket }: JournalFacts,
): Omit<JournalDocument, 'children'> {
  return {
    ...{ version: JOURNAL_VERSION, chassis, slots: model.slotCount },
    devices: model.devices().map((device) => ({ ...device, use: use(device) })),
    seats: [...model.seats.values()],
    ...{ unplugging: [...unplugging], changing: [...model.changing] },
    ...(managedBy !== undefined && { managedBy }),
    ...(apiSocket !== undefined && { apiSocket }),
    ...(firstQueueTag !== undefined && { firstQueueTag }),
  };
}

/** Puts what a journal has into a new model, all of it parked. @throws Error where it contradicts itself */
export function fillModel(
  model: ChassisModel,
  { devices, children, seats, changing }: JournalDocument,
): void {
  const tags = [...devices, ...children, ...seats].map(({ tag }) => tag);
  if (new Set(tags).size < tags.length) throw new Error('a tag is there twice');
  for (const slot of new Set(devices.map((device) => device.slot))) {
    if (slot > model.slotCount) throw new Error(`there is no slot ${slot}`);
    const there = devices.filter((device) => device.slot === slot);
    if (new Set(there.map((device) => device.function)).size < there.length)
      throw new Error(`a function of slot ${slot} is there twice`);
    model.attach(there.map(recordOf));
  }
  if (children.length > 0 && !model.tree) throw new Error('there are mounts of a tree, but no tree');
  if (seats.length > 0 && !model.mux) throw new Error('there are mounts on queues, but no function for them');
  for (const child of children) model.children.set(child.tag, { ...child, target: child.target });
  for (const seat of seats) model.seats.set(seat.tag, seat);
  for (const tag of changing) model.changing.add(tag);
}

function recordOf({ use: _, ...record }: DeviceEntry): DeviceRecord {
  return record;
}
