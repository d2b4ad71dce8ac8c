import { ChassisError } from '../../manager/control/api.js';

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** A disk's size, in whole sectors. @throws ChassisError SIZE_INVALID */
export function parseSize(text: string): number {
  const bytes = bytesOf(text);
  if (bytes > 0 && bytes % 512 === 0) return bytes;
  throw new ChassisError(
    'SIZE_INVALID',
    `${JSON.stringify(text)} is no size of a disk`,
    'give whole sectors of 512 bytes, as bytes or with K, M, G or T: 10G',
  );
}

/** A number of bytes as people write it. @throws ChassisError SIZE_INVALID */
export function parseBytes(text: string): number {
  const bytes = bytesOf(text);
  if (bytes >= 0) return bytes;
  throw new ChassisError(
    'SIZE_INVALID',
    `${JSON.stringify(text)} is no number of bytes`,
    'give bytes, or a number with K, M, G or T: 512M',
  );
}

/** `512M` or `512MiB` is 512 × 2²⁰, a number alone is bytes; NaN where it is none, or too large to count. */
function bytesOf(text: string): number {
  const match = /^(\d+)(?:([KMGT])(?:iB)?)?$/i.exec(text);
  const bytes = match ? Number(match[1]) * 2 ** (10 * UNITS.indexOf((match[2] ?? '').toUpperCase())) : NaN;
  return Number.isSafeInteger(bytes) ? bytes : NaN;
}

/** A size for people, in the largest unit that it fills. */
export function sizeText(bytes: number): string {
  const unit = bytes > 0 ? Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10)) : 0;
  const count = bytes / 2 ** (10 * unit);
  return `${Number.isInteger(count) ? count : count.toFixed(1)}${UNITS[unit]}`;
}
