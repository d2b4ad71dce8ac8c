/** A parcel as it arrives in another process: with descriptors of its own. */
import { onTestFinished } from 'vitest';
import { duplicateFd } from '../../../host/index.js';
import { IncomingParcel, type OutgoingParcel } from '../../../manager/device-process/hand-over/parcel.js';

export function carried(parcel: OutgoingParcel): IncomingParcel {
  const arrived = new IncomingParcel(
    parcel.blobs.map((bytes) => bytes.slice()),
    parcel.fds.map((fd) => duplicateFd(fd)),
  );
  onTestFinished(() => arrived.close());
  return arrived;
}
