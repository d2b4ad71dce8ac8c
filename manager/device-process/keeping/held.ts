import type { KeptExtras, ToldPart } from '../../ports/keeping/told.js';

/** What of a device, beside its port, is to outlive the process. */
export interface Held extends KeptExtras {
  /** Tells of a part that has changed: whoever keeps the connection sets it. */
  tell: (part: ToldPart) => Promise<void>;
  /** The device is no more. */
  close(): void;
}
