import type { AccessWidth } from '../function.js';

/** What a read that nothing claims gives: the completion says "unsupported request", and the root complex makes it ones. */
export function allOnes(width: AccessWidth): number {
  return width === 4 ? 0xffff_ffff : width === 2 ? 0xffff : 0xff;
}
