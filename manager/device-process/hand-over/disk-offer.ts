/** What a disk is kept in, as one process says it to another: descriptors, and what is known of them. */
import { Type, type Static } from '@sinclair/typebox';
import type { BlockBackend } from '../../../devices/blk/backends/block-backend.js';
import { ChassisError } from '../../control/api.js';
import { FileBackend } from '../../../devices/blk/backends/file/file-backend.js';
import { nbdBackendOf } from '../../../devices/blk/backends/nbd/open-nbd.js';
import { OverlayBackend } from '../../../devices/blk/backends/overlay/overlay-backend.js';
import { dataAs, type Given } from './movable.js';
import { NbdOffer, NbdState, restoreNbd, saveNbd } from './nbd-offer.js';
import { ParcelError, type IncomingParcel, type OutgoingParcel } from './parcel.js';

const Bytes = Type.Integer({ minimum: 0 });
const Sectors = Type.Integer({ minimum: 512, multipleOf: 512 });

const FileOffer = Type.Object({
  fd: Type.Integer(),
  path: Type.String(),
  isBlockDevice: Type.Boolean(),
  readOnly: Type.Boolean(),
  direct: Type.Boolean(),
  inMemory: Type.Boolean(),
  alignment: Type.Object({ offsetBytes: Sectors, memoryBytes: Type.Integer({ minimum: 1 }) }),
  sizeBytes: Sectors,
  blockBytes: Bytes,
  device: Type.String(),
});
type FileOffer = Static<typeof FileOffer>;

const Geometry = Type.Object({ clusterBytes: Sectors, sizeBytes: Sectors, baseVisibleBytes: Sectors });
const DiskOffer = Type.Object({
  /** One of these two: what it is kept in, or what its overlay is over. */
  file: Type.Optional(FileOffer),
  nbd: Type.Optional(NbdOffer),
  /** Of an overlay over the file: its changes, and the file of which clusters they are in. */
  overlay: Type.Optional(Type.Object({ top: FileOffer, clusters: Type.Integer(), geometry: Geometry })),
});
type DiskOffer = Static<typeof DiskOffer>;

const FileState = Type.Object({ sizeBytes: Sectors, failure: Type.Integer({ maximum: 0 }) });
const DiskState = Type.Object({
  file: Type.Optional(FileState),
  nbd: Type.Optional(NbdState),
  top: Type.Optional(FileState),
});
type DiskState = Static<typeof DiskState>;

export function offerDisk(backend: BlockBackend, clusters: number, parcel: OutgoingParcel): DiskOffer {
  if (!(backend instanceof OverlayBackend)) return offerStorage(backend, parcel);
  const { base, store } = backend;
  const { clusterBytes, sizeBytes, baseVisibleBytes } = store.geometry;
  const overlay = {
    ...{ top: offerFile(store.top as FileBackend, parcel), clusters: parcel.addFd(clusters) },
    geometry: { clusterBytes, sizeBytes, baseVisibleBytes },
  };
  return { ...offerStorage(base, parcel), overlay };
}

/** @throws ParcelError */
export function takenDisk({ data }: Given): DiskOffer {
  return dataAs(DiskOffer, data);
}

/** @throws ParcelError */
export function takeFile(file: FileOffer | undefined, parcel: IncomingParcel): FileBackend {
  if (file === undefined) throw new ParcelError('a disk is kept in nothing');
  // Whatever it was opened for, it is ours by now: others are not offered.
  return new FileBackend({ ...file, awaited: false, fd: parcel.takeFd(file.fd) });
}

/** For a disk that nothing is under way on: nothing more is done by itself. */
export function pauseDisk(backend: BlockBackend): void {
  nbdBackendOf(storageOf(backend))?.standStill();
}

/** Goes on after `pauseDisk`, or begins after `restoreDisk`. */
export function resumeDisk(backend: BlockBackend): void {
  nbdBackendOf(storageOf(backend))?.goOn();
}

/** For a disk that is paused. */
export function saveDisk(backend: BlockBackend, parcel: OutgoingParcel): DiskState {
  const storage = storageOf(backend);
  const nbd = nbdBackendOf(storage);
  return {
    ...(nbd ? { nbd: saveNbd(nbd, parcel) } : { file: (storage as FileBackend).save() }),
    ...(backend instanceof OverlayBackend && { top: (backend.store.top as FileBackend).save() }),
  };
}

/** @throws ParcelError */
export function restoreDisk(backend: BlockBackend, { data, parcel }: Given): void {
  const { file, nbd, top } = dataAs(DiskState, data);
  const storage = storageOf(backend);
  const nbdBackend = nbdBackendOf(storage);
  if (nbdBackend && nbd) restoreNbd(nbdBackend, nbd, parcel);
  else if (storage instanceof FileBackend && file) storage.restore(file);
  else throw new ParcelError('a disk is kept in something else than was offered');
  if (!(backend instanceof OverlayBackend)) return;
  if (top) (backend.store.top as FileBackend).restore(top);
  backend.store.bitmap.recount();
}

/** What a disk is kept in, or what its overlay is over. */
function storageOf(backend: BlockBackend): BlockBackend {
  return backend instanceof OverlayBackend ? backend.base : backend;
}

function offerStorage(backend: BlockBackend, parcel: OutgoingParcel): Pick<DiskOffer, 'file' | 'nbd'> {
  const nbd = nbdBackendOf(backend);
  return nbd ? { nbd: { opened: nbd.opened } } : { file: offerFile(backend as FileBackend, parcel) };
}

function offerFile({ disk, isOurs }: FileBackend, parcel: OutgoingParcel): FileOffer {
  if (isOurs) return { ...disk, fd: parcel.addFd(disk.fd) };
  throw new ChassisError(
    'UPGRADE_REFUSED',
    `${disk.path} is what a guest is moving with`,
    'wait until the guest runs where it moves to',
  );
}
