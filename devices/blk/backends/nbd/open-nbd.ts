import { SECTOR_BYTES } from '../../protocol.js';
import { AlignedBackend } from '../aligned/aligned-backend.js';
import type { BlockBackend } from '../block-backend.js';
import { NbdBackend, type NbdBackendOptions } from './nbd-backend.js';

/**
 * A disk on an NBD server, whatever blocks it insists on.
 *
 * @throws BlockBackendError URI_INVALID, NOT_SUPPORTED, BACKEND_MISSING, BACKEND_REFUSED, BACKEND_PROTOCOL, SIZE_INVALID
 */
export async function openNbdBackend(options: NbdBackendOptions): Promise<BlockBackend> {
  const backend = await NbdBackend.open(options);
  const { minimumBlockBytes } = backend;
  if (minimumBlockBytes === SECTOR_BYTES) return backend;
  const allocate = (sizeBytes: number) => ({ bytes: new Uint8Array(sizeBytes), offset: 0, address: 0 });
  return new AlignedBackend(backend, { offsetBytes: minimumBlockBytes, memoryBytes: 1 }, allocate);
}
