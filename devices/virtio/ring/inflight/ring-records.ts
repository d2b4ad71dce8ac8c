/** Where the rings of a device write down what is under way, for whoever goes on with them once this process was killed. */
import type { QueueConfig } from '../queue-config.js';

export interface RingRecords {
  /**
   * `queueRegionBytes` for the ring that these registers describe: as it was left where the ring goes on (`start` is set), and empty for a fresh
   * one. Undefined where there is no keeping any.
   */
  regionOf(queue: QueueConfig, packed: boolean): Uint8Array | undefined;
  /** Whether a process before this one left a region of that ring. */
  has(queue: QueueConfig, packed: boolean): boolean;
}
