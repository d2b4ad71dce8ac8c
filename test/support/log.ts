import { createLog } from '../../manager/logging/create-log.js';
import type { Log } from '../../manager/logging/log.js';

export const silentLog: Log = createLog({ write: () => undefined });

/** One that adds its records to `lines`, as people read them. */
export function notingLog(lines: string[]): Log {
  return createLog({ head: '', write: (text) => void lines.push(text.trimEnd()) });
}
