/** Tells the operator what guests do, or are refused: at most so much at a time, however busy they are. */
import type { ByteString } from '../file-system.js';

export interface AuditEvent {
  readonly operation: string;
  /** Within the export; bytes that are not printable ASCII, and '\', as `\xNN`. */
  readonly path: string;
  /** 0 where it was let through to the file system, else the errno it was refused with. */
  readonly errno: number;
  /** `Date.now()` */
  readonly timeMs: number;
}

/** `dropped` counts what was too much since the last call. */
export type AuditListener = (events: readonly AuditEvent[], dropped: number) => void;

/** Events for each call of the listener, and the pause between calls: at most 10,000 events a second. */
const EVENTS_MAX = 1000;
const PAUSE_MS = 100;
/** The end of a longer path tells more than its start. */
const PATH_MAX_CHARACTERS = 1024;

export class Audit {
  readonly #listener: AuditListener;
  #events: AuditEvent[] = [];
  #dropped = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** The listener must not throw. It is called later, never by `note`. */
  constructor(listener: AuditListener) {
    this.#listener = listener;
  }

  note(operation: string, path: ByteString, errno: number): void {
    this.#timer ??= setTimeout(() => {
      this.flush();
    }, PAUSE_MS);
    if (this.#events.length === EVENTS_MAX) this.#dropped++;
    else this.#events.push({ operation, path: escapePath(path), errno, timeMs: Date.now() });
  }

  /** Tells what there is to tell, now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#events.length === 0) return;
    const events = this.#events;
    const dropped = this.#dropped;
    this.#events = [];
    this.#dropped = 0;
    this.#listener(events, dropped);
  }
}

export function escapePath(path: ByteString): string {
  const shown = path.length > PATH_MAX_CHARACTERS ? `…${path.slice(-PATH_MAX_CHARACTERS)}` : path;
  return (shown || '/').replace(
    /[^\x20-\x5b\x5d-\x7e…]/g,
    (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
