import { SECTOR_BYTES } from '../../protocol.js';
import type { BlockLimits } from '../block-backend.js';
import { BlockBackendError, checkDiskSize } from '../errors.js';
import { NBD_DEFAULT_MAX_PAYLOAD_BYTES, NbdTransmissionFlag as Flag } from './protocol.js';

/** What a server says about an export when it lets us in. */
export interface ExportInfo {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  /** Whether a flush on one connection covers what was written on the others. */
  readonly canMultiConnect: boolean;
  readonly structuredReplies: boolean;
  /** Offsets and lengths have to be multiples of it: a power of two, 512 at least. */
  readonly minimumBlockBytes: number;
  /** What it likes best: a power of two. */
  readonly preferredBlockBytes: number;
  /** Longest payload of a request. */
  readonly maxPayloadBytes: number;
}

const MAX_MINIMUM_BLOCK_BYTES = 2 ** 16;
const DEFAULT_PREFERRED_BLOCK_BYTES = 4096;
/** Longer payloads are cut all the same: a server that takes more need not be sent more. */
const MAX_PAYLOAD_BYTES = NBD_DEFAULT_MAX_PAYLOAD_BYTES;
/** A server that takes less than this at once is none that can be worked with. */
const MIN_PAYLOAD_BYTES = 4096;
const MAX_TRIM_BYTES = 2 ** 30;
const MAX_ZEROES_BYTES = 64 * 2 ** 20;
const MAX_PHYSICAL_BLOCK_BYTES = 4096;

export interface BlockSizes {
  readonly minimum: number;
  readonly preferred: number;
  readonly maximum: number;
}

/** @throws BlockBackendError BACKEND_PROTOCOL or SIZE_INVALID for what cannot be */
export function exportInfo(
  sizeBytes: number,
  flags: number,
  sizes: BlockSizes | undefined,
  structuredReplies: boolean,
): ExportInfo {
  if ((flags & Flag.NBD_FLAG_HAS_FLAGS) === 0) throw protocolError('its flags are not valid');
  checkDiskSize('the export', sizeBytes, `make the server round it up to ${SECTOR_BYTES} bytes`);
  const { minimum, preferred, maximum } = sizes ?? {
    minimum: 1,
    preferred: DEFAULT_PREFERRED_BLOCK_BYTES,
    maximum: MAX_PAYLOAD_BYTES,
  };
  if (!isPowerOfTwo(minimum) || minimum > MAX_MINIMUM_BLOCK_BYTES) throw sizesError();
  if (!isPowerOfTwo(preferred) || preferred < minimum || maximum < MIN_PAYLOAD_BYTES) throw sizesError();
  const minimumBlockBytes = Math.max(minimum, SECTOR_BYTES);
  const maxPayload = Math.min(maximum, MAX_PAYLOAD_BYTES);
  if (maxPayload < minimumBlockBytes || sizeBytes % minimumBlockBytes !== 0) throw sizesError();
  const has = (flag: number) => (flags & flag) !== 0;
  return {
    sizeBytes,
    readOnly: has(Flag.NBD_FLAG_READ_ONLY),
    canFlush: has(Flag.NBD_FLAG_SEND_FLUSH),
    canFua: has(Flag.NBD_FLAG_SEND_FUA),
    canTrim: has(Flag.NBD_FLAG_SEND_TRIM),
    canWriteZeroes: has(Flag.NBD_FLAG_SEND_WRITE_ZEROES),
    canMultiConnect: has(Flag.NBD_FLAG_CAN_MULTI_CONN),
    structuredReplies,
    minimumBlockBytes,
    preferredBlockBytes: Math.max(preferred, minimumBlockBytes),
    maxPayloadBytes: maxPayload - (maxPayload % minimumBlockBytes),
  };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

function sizesError(): BlockBackendError {
  return protocolError('its block sizes make no sense');
}

export function protocolError(what: string): BlockBackendError {
  return new BlockBackendError(
    'BACKEND_PROTOCOL',
    `the NBD server breaks the protocol: ${what}`,
    'check what listens there',
  );
}

/** @throws BlockBackendError BACKEND_WRONG_KIND where an export that was connected to again is not what it was */
export function checkSame(before: ExportInfo, now: ExportInfo, othersAreConnected: boolean): void {
  const same =
    (before.readOnly || !now.readOnly) &&
    before.canFlush === now.canFlush &&
    (now.canTrim || !before.canTrim) &&
    now.minimumBlockBytes <= before.minimumBlockBytes &&
    (now.sizeBytes === before.sizeBytes || !othersAreConnected);
  if (!same) throw new BlockBackendError('BACKEND_WRONG_KIND', 'the export is not what it was');
}

/** What a disk on such an export can do. */
export function exportLimits(info: ExportInfo, asReadOnly: boolean): BlockLimits {
  const readOnly = asReadOnly || info.readOnly;
  const block = info.preferredBlockBytes;
  return {
    readOnly,
    logicalBlockBytes: SECTOR_BYTES,
    physicalBlockBytes: Math.min(block, MAX_PHYSICAL_BLOCK_BYTES),
    alignmentOffsetBytes: 0,
    minimumIoBytes: block,
    optimalIoBytes: 0,
    discard: !readOnly && info.canTrim ? { maxBytes: MAX_TRIM_BYTES, alignmentBytes: block } : undefined,
    writeZeroes: readOnly
      ? undefined
      : { maxBytes: MAX_ZEROES_BYTES, alignmentBytes: block, mayUnmap: info.canWriteZeroes },
    secureErase: undefined,
    hasLifetime: false,
  };
}
