/** A disk on an NBD server, as one process says it to another: its connections, and the writes that no flush has covered yet. */
import { Type, type Static } from '@sinclair/typebox';
import type { NbdBackend } from '../../../devices/blk/backends/nbd/nbd-backend.js';
import { ParcelError, type IncomingParcel, type OutgoingParcel } from './parcel.js';

const Numbered = Type.Integer({ minimum: 0 });
const Sectors = Type.Integer({ minimum: 512, multipleOf: 512 });

/** What the server said when the disk was opened, or connected to later. */
const ExportInfo = Type.Object({
  sizeBytes: Sectors,
  readOnly: Type.Boolean(),
  canFlush: Type.Boolean(),
  canFua: Type.Boolean(),
  canTrim: Type.Boolean(),
  canWriteZeroes: Type.Boolean(),
  canMultiConnect: Type.Boolean(),
  structuredReplies: Type.Boolean(),
  minimumBlockBytes: Sectors,
  preferredBlockBytes: Sectors,
  maxPayloadBytes: Sectors,
});

export const NbdOffer = Type.Object({ opened: ExportInfo });
export type NbdOffer = Static<typeof NbdOffer>;

export const NbdState = Type.Object({
  connections: Type.Array(Type.Object({ fd: Numbered, info: ExportInfo })),
  unflushed: Numbered,
  sizeBytes: Sectors,
  failure: Type.Integer({ maximum: 0 }),
});
export type NbdState = Static<typeof NbdState>;

/** For a disk that stands still. */
export function saveNbd(backend: NbdBackend, parcel: OutgoingParcel): NbdState {
  const { connections, unflushed, ...rest } = backend.save();
  return {
    ...rest,
    connections: connections.map(({ descriptor, info }) => ({ fd: parcel.addFd(descriptor), info })),
    unflushed: parcel.addBytes(unflushed),
  };
}

/** @throws ParcelError */
export function restoreNbd(
  backend: NbdBackend,
  { connections, ...state }: NbdState,
  parcel: IncomingParcel,
): void {
  const unflushed = parcel.bytes(state.unflushed);
  const descriptors = parcel.takeFds(connections.map(({ fd }) => fd));
  const given = connections.map(({ info }, number) => ({ descriptor: descriptors[number], info }));
  if (!backend.restore({ ...state, connections: given, unflushed }))
    throw new ParcelError('that is not what is known of an NBD server');
}
