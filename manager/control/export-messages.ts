/** What the process of an export tells the one that started it, once, over Node's own channel between them. */
import type { ErrorBody } from './api.js';

export interface ExportListening {
  /** `unix:/path` or `tcp:HOST:PORT`, with the port in use. */
  readonly address: string;
  /** What mounts it on Linux. */
  readonly mountCommand: string;
}

export type ExportMessage =
  { readonly listening: readonly ExportListening[] } | { readonly error: ErrorBody };
