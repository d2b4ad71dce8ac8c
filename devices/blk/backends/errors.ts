import { SECTOR_BYTES } from '../protocol.js';

/** Why a backend cannot be had; for the operator who asked for it. */
export type BlockBackendErrorCode =
  /** There is no such file, device, export or server. */
  | 'BACKEND_MISSING'
  /** It is neither a regular file nor a block device, or no overlay of this disk. */
  | 'BACKEND_WRONG_KIND'
  /** Somebody else has it open for writing. */
  | 'BACKEND_BUSY'
  /** The system, or the server, does not let us. */
  | 'BACKEND_REFUSED'
  /** The server does not speak the protocol as it should. */
  | 'BACKEND_PROTOCOL'
  /** It has no bytes, or not a whole number of sectors, or more than can be counted. */
  | 'SIZE_INVALID'
  /** What was asked for is not a thing that it can do. */
  | 'NOT_SUPPORTED'
  /** An address that cannot be understood. */
  | 'URI_INVALID';

export class BlockBackendError extends Error {
  readonly code: BlockBackendErrorCode;
  /** What the operator may do about it. */
  readonly suggestion: string | undefined;

  constructor(code: BlockBackendErrorCode, message: string, suggestion?: string) {
    super(message);
    this.name = 'BlockBackendError';
    this.code = code;
    this.suggestion = suggestion;
  }
}

/** @throws BlockBackendError SIZE_INVALID unless it is a whole number of sectors above 0 */
export function checkDiskSize(what: string, sizeBytes: number, suggestion?: string): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0) return;
  throw new BlockBackendError(
    'SIZE_INVALID',
    `${what} has ${sizeBytes} bytes, and a disk has a whole number of ${SECTOR_BYTES}-byte sectors, at least one`,
    suggestion,
  );
}
