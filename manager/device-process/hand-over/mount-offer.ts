/**
 * Mounts, for another process to go on with: their sources are opened anew there, by the same terms, and the client's files are found by what
 * the server says of itself. So all that is said here is which mounts there are.
 */
import { Type, type Static } from '@sinclair/typebox';
import { ChassisError, type MountTerms, type Shown } from '../../control/api.js';
import { ChildSpec, SeatSpec } from '../protocol.js';
import { dataAs, type Given, type MovableDevice } from './movable.js';

/** The children of a tree, and the mounts of the queues of a multiplexing function: each as it was asked for, and is now. */
const MountsOffer = Type.Object({ children: Type.Array(ChildSpec), seats: Type.Array(SeatSpec) });
type MountsOffer = Static<typeof MountsOffer>;

/** @throws ParcelError */
export function takeMounts({ data }: Given): MountsOffer {
  return dataAs(MountsOffer, data);
}

/** @param offer what there is now. @throws ChassisError UPGRADE_REFUSED where something is in this process's memory */
export function movableMounts(offer: () => MountsOffer): MovableDevice {
  return {
    offer: () => {
      const mounts = offer();
      for (const { name, source, ...terms } of mounts.children) refuseInMemory(name, source, terms);
      for (const { tag, source, ...terms } of mounts.seats) refuseInMemory(tag, source, terms);
      return mounts;
    },
    pause: () => undefined,
    save: () => ({}),
    restore: () => undefined,
    resume: () => undefined,
  };
}

/** @throws ChassisError UPGRADE_REFUSED */
export function refuseInMemory(
  tag: string,
  source: Shown | undefined,
  { overlay }: Pick<MountTerms, 'overlay'>,
): void {
  if (source?.type !== 'memory' && overlay?.type !== 'memory') return;
  throw new ChassisError(
    'UPGRADE_REFUSED',
    `what ${JSON.stringify(tag)} shows is in the memory of the device process`,
    'detach it first, or keep it in a folder',
  );
}
