/** How far a long step has come. */
export interface Progress {
  /** What is being done, for people: "QEMU: fetching". */
  readonly step: string;
  /** 0 to 100, where that is known. */
  readonly percent?: number;
  /** Finer news: "package 12 of 70". */
  readonly detail?: string;
}

export type OnProgress = (progress: Progress) => void;

/** What accompanies every long step. */
export interface Activity {
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}
