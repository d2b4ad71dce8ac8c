import { SECTOR_BYTES } from '../../protocol.js';
import { AlignedBackend } from '../aligned/aligned-backend.js';
import type { BlockBackend } from '../block-backend.js';
import type { ExportInfo } from './export-info.js';
import { NbdBackend, type NbdBackendOptions } from './nbd-backend.js';

/**
 * A disk on an NBD server, whatever blocks it insists on.
 *
 * @throws BlockBackendError URI_INVALID, NOT_SUPPORTED, BACKEND_MISSING, BACKEND_REFUSED, BACKEND_PROTOCOL, SIZE_INVALID
 */
export async function openNbdBackend(options: NbdBackendOptions): Promise<BlockBackend> {
  return ofAnySector(await NbdBackend.open(options));
}

/** As `NbdBackend.takeOver`. */
export function takeNbdBackend(options: NbdBackendOptions, opened: ExportInfo): BlockBackend {
  return ofAnySector(NbdBackend.takeOver(options, opened));
}

/** What either of them made the disk of; undefined for any other disk. */
export function nbdBackendOf(backend: BlockBackend): NbdBackend | undefined {
  const inner = backend instanceof AlignedBackend ? backend.inner : backend;
  return inner instanceof NbdBackend ? inner : undefined;
}

function ofAnySector(backend: NbdBackend): BlockBackend {
  const { minimumBlockBytes } = backend.opened;
  if (minimumBlockBytes === SECTOR_BYTES) return backend;
  const allocate = (sizeBytes: number) => ({ bytes: new Uint8Array(sizeBytes), offset: 0, address: 0 });
  return new AlignedBackend(backend, { offsetBytes: minimumBlockBytes, memoryBytes: 1 }, allocate);
}
