/**
 * Mounts, for another process to go on with: their sources are opened anew there, by the same terms, and the client's files are found by what
 * the server says of itself. So all that is said here is which mounts there are, and what is in this process's memory alone.
 */
import { Type, type Static } from '@sinclair/typebox';
import type { NodeFsContents } from '../../../devices/9p/fs/node-fs/node-fs-contents.js';
import { ChassisError } from '../../control/api.js';
import { ChildSpec, SeatSpec } from '../protocol.js';
import type { ServedMount } from '../served-mount.js';
import { dataAs, type Given, type MovableDevice } from './movable.js';
import { ParcelError } from './parcel.js';

/** The children of a tree, and the mounts of the queues of a multiplexing function: each as it was asked for, and is now. */
const MountsOffer = Type.Object({ children: Type.Array(ChildSpec), seats: Type.Array(SeatSpec) });
type MountsOffer = Static<typeof MountsOffer>;

/** @throws ParcelError */
export function takeMounts({ data }: Given): MountsOffer {
  return dataAs(MountsOffer, data);
}

/** What is in memory of each mount: the numbers of its bytes. A process that did not know of this had none. */
const MountsState = Type.Object({
  contents: Type.Optional(
    Type.Array(Type.Object({ name: Type.String(), blobs: Type.Array(Type.Integer(), { maxItems: 2 }) })),
  ),
});

/**
 * What goes to another process's memory while nobody serves: to tell it and to make it again takes 0.3 s of a processor for 64 MiB in few files,
 * 0.6 s for 20,000 empty ones.
 */
const MAX_MOVED_BYTES = 64 << 20;
const MAX_MOVED_FILES = 20_000;

/**
 * @param offer what there is now
 * @param mounts by their names there
 */
export function movableMounts(
  offer: () => MountsOffer,
  mounts: () => ReadonlyMap<string, Pick<ServedMount, 'inMemory'>>,
): MovableDevice {
  return {
    offer: () => {
      for (const [name, { inMemory }] of mounts()) refuseLarge(name, inMemory);
      return offer();
    },
    pause: () => undefined,
    save: (parcel) => ({
      contents: Array.from(mounts(), ([name, { inMemory }]) => {
        refuseLarge(name, inMemory);
        return { name, blobs: inMemory.map((contents) => parcel.addBytes(contents.save())) };
      }),
    }),
    restore: ({ data, parcel }) => {
      const all = mounts();
      for (const { name, blobs } of dataAs(MountsState, data).contents ?? []) {
        const inMemory = all.get(name)?.inMemory ?? [];
        const isWhole = inMemory.length === blobs.length;
        if (!isWhole || !inMemory.every((contents, at) => contents.restore(parcel.bytes(blobs[at]))))
          throw new ParcelError(`that is not what ${JSON.stringify(name)} shows`);
      }
    },
    resume: () => {
      for (const { inMemory } of mounts().values()) for (const contents of inMemory) void contents.settled();
    },
  };
}

/** @throws ChassisError UPGRADE_REFUSED */
function refuseLarge(name: string, inMemory: readonly NodeFsContents[]): void {
  if (!inMemory.some(({ size }) => size.bytes > MAX_MOVED_BYTES || size.files > MAX_MOVED_FILES)) return;
  throw new ChassisError(
    'UPGRADE_REFUSED',
    `what ${JSON.stringify(name)} has in memory is more than ${MAX_MOVED_BYTES >> 20} MiB or ${MAX_MOVED_FILES} files`,
    'detach it first, or keep it in a folder',
  );
}
