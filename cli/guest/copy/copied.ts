/** What a copy did. */
export interface Copied {
  readonly entries: number;
  readonly bytes: number;
  /** Devices, pipes and sockets, which are left out. */
  readonly skipped: number;
}
