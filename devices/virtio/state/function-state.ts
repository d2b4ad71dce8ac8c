/**
 * A virtio-pci function at one moment, as data: all that its driver has set, where its rings stand, which interrupts are due, and what its
 * device adds. What follows from these is not in here (the pin's level, who is polled), nor are counters.
 *
 * The tables give each field its place on the wire: in their order, little-endian, this many bytes wide. Encoding and decoding follow
 * them; so a field that is added here makes another version of the blob.
 */
import type { FieldWidth } from '../../state-writer.js';
import type { RingState } from '../ring/chain-state.js';

type Fields<Table> = { readonly [Name in keyof Table]: number };
type FieldTable = Readonly<Record<string, FieldWidth>>;

export const FUNCTION_FIELDS = {
  /** `DriverInterfaceCode`: whose registers the driver uses. */
  interface: 1,
  /** `device_status`. */
  status: 1,
  /** 1 where the device is at work, or was until a fault. Legacy drivers may get there without DRIVER_OK. */
  started: 1,
  /** 1 where it waits for a reset after a fault. */
  faulted: 1,
  isrStatus: 1,
  configGeneration: 1,
  configVector: 2,
  /** `driver_feature`, in words. */
  driverFeatures0: 4,
  driverFeatures1: 4,
  driverFeatures2: 4,
  driverFeatures3: 4,
  deviceFeatureSelect: 4,
  driverFeatureSelect: 4,
  queueSelect: 2,
  legacyQueueSelect: 2,
} as const satisfies FieldTable;

export const QUEUE_FIELDS = {
  size: 2,
  vector: 2,
  enabled: 1,
  descriptorAreaLow: 4,
  descriptorAreaHigh: 4,
  driverAreaLow: 4,
  driverAreaHigh: 4,
  deviceAreaLow: 4,
  deviceAreaHigh: 4,
  /** `RingPosition`; zeros where the queue does not run. */
  nextAvail: 2,
  nextUsed: 2,
} as const satisfies FieldTable;

export const CHAIN_FIELDS = {
  id: 2,
  ringEntries: 2,
  completed: 1,
  usedLength: 4,
} as const satisfies FieldTable;

export const SEGMENT_FIELDS = { guestAddress: 8, lengthBytes: 4 } as const satisfies FieldTable;

/** `interface`. */
export const DriverInterfaceCode = { NONE: 0, MODERN: 1, LEGACY: 2 } as const;

export interface QueueState extends Fields<typeof QUEUE_FIELDS>, RingState {}

export interface FunctionState extends Fields<typeof FUNCTION_FIELDS> {
  /** The first 256 bytes of config space: there is nothing behind. */
  readonly configSpace: Uint8Array;
  /** The MSI-X table and its pending bits; empty where there is no MSI-X. */
  readonly msixTable: Uint8Array;
  readonly msixPending: Uint8Array;
  /** The device's config space as its driver saw it last. */
  readonly deviceConfig: Uint8Array;
  /** One for each queue, by index. */
  readonly queues: readonly QueueState[];
  /** What the device made of its own state: empty where it has none to save. */
  readonly device: Uint8Array;
}
