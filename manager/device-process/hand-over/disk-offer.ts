/** What a disk is kept in, as one process says it to another: descriptors, and what is known of them. */
import { Type, type Static } from '@sinclair/typebox';
import type { BlockBackend } from '../../../devices/blk/backends/block-backend.js';
import { FileBackend } from '../../../devices/blk/backends/file/file-backend.js';
import { OverlayBackend } from '../../../devices/blk/backends/overlay/overlay-backend.js';
import { ChassisError } from '../../control/api.js';
import { dataAs, type Given } from './movable.js';
import type { IncomingParcel, OutgoingParcel } from './parcel.js';

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
  file: FileOffer,
  /** Of an overlay over the file: its changes, and the file of which clusters they are in. */
  overlay: Type.Optional(Type.Object({ top: FileOffer, clusters: Type.Integer(), geometry: Geometry })),
});
type DiskOffer = Static<typeof DiskOffer>;

const FileState = Type.Object({ sizeBytes: Sectors, failure: Type.Integer({ maximum: 0 }) });
const DiskState = Type.Object({ file: FileState, top: Type.Optional(FileState) });
type DiskState = Static<typeof DiskState>;

/** @throws ChassisError UPGRADE_REFUSED for a disk that is kept where no descriptor leads to */
export function offerDisk(
  backend: BlockBackend,
  clusters: number,
  serial: string,
  parcel: OutgoingParcel,
): DiskOffer {
  if (!(backend instanceof OverlayBackend)) return { file: offerFile(backend, serial, parcel) };
  const { base, store } = backend;
  const top = offerFile(store.top, serial, parcel);
  const { clusterBytes, sizeBytes, baseVisibleBytes } = store.geometry;
  const overlay = {
    ...{ top, clusters: parcel.addFd(clusters) },
    geometry: { clusterBytes, sizeBytes, baseVisibleBytes },
  };
  return { file: offerFile(base, serial, parcel), overlay };
}

/** @throws ParcelError */
export function takenDisk({ data }: Given): DiskOffer {
  return dataAs(DiskOffer, data);
}

/** @throws ParcelError */
export function takeFile(file: FileOffer, parcel: IncomingParcel): FileBackend {
  return new FileBackend({ ...file, fd: parcel.takeFd(file.fd) });
}

/** For a disk that nothing is under way on. */
export function saveDisk(backend: BlockBackend): DiskState {
  if (backend instanceof FileBackend) return { file: backend.save() };
  const { base, store } = backend as OverlayBackend;
  return { file: (base as FileBackend).save(), top: (store.top as FileBackend).save() };
}

/** @throws ParcelError */
export function restoreDisk(backend: BlockBackend, { data }: Given): void {
  const state = dataAs(DiskState, data);
  if (backend instanceof FileBackend) return backend.restore(state.file);
  const { base, store } = backend as OverlayBackend;
  (base as FileBackend).restore(state.file);
  if (state.top) (store.top as FileBackend).restore(state.top);
  store.bitmap.recount();
}

function offerFile(backend: BlockBackend, serial: string, parcel: OutgoingParcel): FileOffer {
  if (backend instanceof FileBackend) return { ...backend.disk, fd: parcel.addFd(backend.disk.fd) };
  throw new ChassisError(
    'UPGRADE_REFUSED',
    `the disk ${serial} is on an NBD server, whose connections cannot be handed over yet`,
    'detach it in the guest and remove it, or upgrade once its VM is off',
  );
}
