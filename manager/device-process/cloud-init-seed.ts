/** The disk from which cloud-init takes a guest's first settings: its NoCloud data source, on a FAT volume. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { fatVolume } from '../../devices/blk/fat/fat-volume.js';
import { ChassisError } from '../control/api.js';
import { hostPath } from './host-paths.js';

/** Clouds allow 16 to 64 KiB. */
const MAX_USER_DATA_BYTES = 2 ** 20;
const SEED_BYTES = 2 * 2 ** 20;
/** By which cloud-init finds it. */
const LABEL = 'CIDATA';

/**
 * The bytes of a disk with a file as the guest's user data. Other user data make another instance, for which cloud-init does again what it
 * does once.
 * @throws ChassisError SOURCE_MISSING, SOURCE_UNREADABLE, SOURCE_NOT_DISK for what is no regular file, SIZE_INVALID for more than 1 MiB
 */
export function cloudInitSeed(path: string): Uint8Array {
  const userData = readUserData(path);
  const instance = createHash('sha256').update(userData).digest('hex').slice(0, 16);
  const metaData = new TextEncoder().encode(`instance-id: chassis-${instance}\n`);
  return fatVolume({
    sizeBytes: SEED_BYTES,
    label: LABEL,
    files: { 'user-data': userData, 'meta-data': metaData },
  });
}

function readUserData(path: string): Uint8Array {
  const fd = open(path);
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) {
      throw new ChassisError(
        'SOURCE_NOT_DISK',
        `${path} is no regular file`,
        'give a file with #cloud-config',
      );
    }
    if (status.size > MAX_USER_DATA_BYTES) {
      throw new ChassisError(
        'SIZE_INVALID',
        `${path} has ${status.size} bytes, and a guest's user data 1 MiB at most`,
        'have the guest fetch what is so large',
      );
    }
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Without waiting for whoever may write to a FIFO. */
function open(path: string): number {
  try {
    return openSync(hostPath(path), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new ChassisError('SOURCE_MISSING', `there is no ${path}`, 'create it, or check the spelling');
    }
    throw new ChassisError('SOURCE_UNREADABLE', `cannot read ${path}: ${message}`);
  }
}
