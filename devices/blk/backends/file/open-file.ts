import { addressOf } from '../../../../host/index.js';
import { AlignedBackend, type AlignedMemory } from '../aligned/aligned-backend.js';
import type { BlockBackend } from '../block-backend.js';
import { FileBackend } from './file-backend.js';
import { openDisk, type FileBackendOptions } from './open-disk.js';

/**
 * A disk in a file or on a block device of the host. The file is locked, as QEMU does: exclusively, or shared with readers where it
 * is read-only. Closing the backend gives it free.
 *
 * @throws BlockBackendError BACKEND_MISSING, BACKEND_WRONG_KIND, BACKEND_BUSY, BACKEND_REFUSED, SIZE_INVALID, NOT_SUPPORTED
 */
export function openFileBackend(options: FileBackendOptions): BlockBackend {
  const disk = openDisk(options);
  const file = new FileBackend(disk);
  if (!disk.direct) return file;
  const { memoryBytes } = disk.alignment;
  return new AlignedBackend(file, disk.alignment, (sizeBytes) => alignedMemory(sizeBytes, memoryBytes));
}

function alignedMemory(sizeBytes: number, alignmentBytes: number): AlignedMemory {
  const bytes = new Uint8Array(sizeBytes + alignmentBytes);
  const address = addressOf(bytes);
  const offset = (alignmentBytes - (address % alignmentBytes)) % alignmentBytes;
  return { bytes: bytes.subarray(0, offset + sizeBytes), offset, address: address + offset };
}
