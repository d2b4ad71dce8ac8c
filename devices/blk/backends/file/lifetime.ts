/** The wear of eMMC devices, which Linux shows in sysfs as the device reports it. */
import { knownLifetime, type LifetimeEstimate } from '../lifetime.js';
import type { OpenDisk } from './open-disk.js';
import { deviceNumber, deviceWords } from './sysfs.js';

const PRE_EOL_INFO = 'device/pre_eol_info';
/** Two words: type A and type B. */
const LIFE_TIME = 'device/life_time';

export function hasLifetime({ isBlockDevice, device }: OpenDisk): boolean {
  return isBlockDevice && deviceNumber(device, PRE_EOL_INFO) !== undefined;
}

export async function lifetimeOf({ isBlockDevice, device }: OpenDisk): Promise<LifetimeEstimate | undefined> {
  if (!isBlockDevice) return undefined;
  const [eol, wear] = await Promise.all([deviceWords(device, PRE_EOL_INFO), deviceWords(device, LIFE_TIME)]);
  if (eol === undefined || wear === undefined) return undefined;
  return knownLifetime(Number(eol[0]), Number(wear[0]), Number(wear[1]));
}
