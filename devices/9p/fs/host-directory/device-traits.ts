/** How reads are done. */
export const ReadWay = {
  /** Inline what is in the page cache, the rest on a thread. */
  noWait: 0,
  /** Inline: nothing is ever waited for. */
  inline: 1,
  /** On a thread: the file system cannot tell whether it would wait. */
  thread: 2,
} as const;
export type ReadWay = (typeof ReadWay)[keyof typeof ReadWay];

/** What was learnt about moving data on one device of the host: asking again for each file would cost small files most. */
export class DeviceTraits {
  reads: ReadWay = ReadWay.noWait;
  /** False once the file system has said that it cannot tell whether a write would wait, as most do. */
  writesWithoutWaiting = true;
}
