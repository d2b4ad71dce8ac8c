import type { LatencyCounts } from '../../latencies.js';

/** Limits and policy of one server. */
export interface ServerOptions {
  /** Largest message to agree to, at least 4096. */
  readonly maxMsizeBytes: number;
  /** Refuses every change with EROFS, before the file system sees it. */
  readonly readOnly: boolean;
  /** Most fids at a time; one more is refused with EMFILE. */
  readonly maxFids: number;
  /** Most open files at a time; one more is refused with EMFILE. */
  readonly maxOpenFiles: number;
  /** Told of bugs in the file system: exceptions, rejections, answers that cannot be. */
  readonly log: (message: string, error?: unknown) => void;
}

/** What may change while a client is there. */
export type ServerLimits = Pick<ServerOptions, 'readOnly' | 'maxFids' | 'maxOpenFiles'>;

/** How long requests took, by kind: `metadata` is all that neither reads nor writes. */
export interface ServerLatencies {
  readonly read: LatencyCounts;
  readonly write: LatencyCounts;
  readonly metadata: LatencyCounts;
}

/** Counters since the server was made; `fids` and `openFiles` are what there is now. */
export interface ServerStatistics {
  requests: number;
  /** Requests answered with an error, or unanswerable. */
  errors: number;
  bytesRead: number;
  bytesWritten: number;
  fids: number;
  openFiles: number;
}
