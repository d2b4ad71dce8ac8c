/** What a block server is made with, and what it counts. */
import type { LatencyCounts } from '../../latencies.js';

export interface BlockServerOptions {
  /** Refuses writes, also where the backend takes them. */
  readonly readOnly: boolean;
  /** What VIRTIO_BLK_T_GET_ID answers: 20 bytes. */
  readonly id: Uint8Array;
  /** Takes a line on failures of the backend; how many come is bounded, whatever the guest does. */
  readonly log: (message: string) => void;
}

/** How long requests took that the backend did, by kind. */
export interface BlockLatencies {
  readonly read: LatencyCounts;
  readonly write: LatencyCounts;
  readonly flush: LatencyCounts;
}

/** Counters that only grow. */
export interface BlockStatistics {
  reads: number;
  writes: number;
  flushes: number;
  /** Discards, write-zeroes and secure erases. */
  rangeRequests: number;
  bytesRead: number;
  bytesWritten: number;
  /** Requests that the backend failed. */
  backendErrors: number;
  /** Requests that broke the protocol's rules, or asked for what there is not. */
  refused: number;
}

export function newBlockStatistics(): BlockStatistics {
  return {
    reads: 0,
    writes: 0,
    flushes: 0,
    rangeRequests: 0,
    bytesRead: 0,
    bytesWritten: 0,
    backendErrors: 0,
    refused: 0,
  };
}
