/** What /sys says about a block device. A partition has no directories of its own for it: they are its disk's. */
import { readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';

function places(device: string, attribute: string): string[] {
  const folder = `/sys/dev/block/${device}`;
  return [`${folder}/${attribute}`, `${folder}/../${attribute}`];
}

/** A number of the device's, such as `queue/discard_granularity`; undefined where there is none. */
export function deviceNumber(device: string, attribute: string): number | undefined {
  for (const place of places(device, attribute)) {
    try {
      const number = Number(readFileSync(place, 'latin1').trim());
      if (Number.isSafeInteger(number)) return number;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** The words of an attribute; undefined where there is none. */
export async function deviceWords(device: string, attribute: string): Promise<string[] | undefined> {
  for (const place of places(device, attribute)) {
    try {
      return (await readFile(place, 'latin1')).trim().split(/\s+/);
    } catch {
      // Not here.
    }
  }
  return undefined;
}
