/** What is left to do to a frame, as it stands in the header before it (virtio 1.3, section 5.1.6). */
import { GsoType, HDR_F_DATA_VALID, HDR_F_NEEDS_CSUM, HDR_GSO_ECN } from './constants.js';

export interface FrameWork {
  /** A checksum over all from `start` on, to be put at `start + offset`, where its pseudo header's sum is. */
  readonly checksum?: { readonly start: number; readonly offset: number };
  /** To be cut into pieces of `size` bytes of payload behind `headerBytes` bytes of headers. */
  readonly segmentation?: {
    readonly type: GsoType;
    readonly size: number;
    readonly headerBytes: number;
    readonly ecn?: boolean;
  };
  /** The device has verified the checksum. */
  readonly checksumValid?: boolean;
}

export function writeWork(view: DataView, { checksum, segmentation }: FrameWork): void {
  view.setUint8(0, checksum === undefined ? 0 : HDR_F_NEEDS_CSUM);
  view.setUint8(1, (segmentation?.type ?? GsoType.NONE) | (segmentation?.ecn === true ? HDR_GSO_ECN : 0));
  view.setUint16(2, segmentation?.headerBytes ?? 0, true);
  view.setUint16(4, segmentation?.size ?? 0, true);
  view.setUint16(6, checksum?.start ?? 0, true);
  view.setUint16(8, checksum?.offset ?? 0, true);
}

export function readWork(view: DataView): FrameWork {
  const flags = view.getUint8(0);
  const type = view.getUint8(1);
  const checksum =
    (flags & HDR_F_NEEDS_CSUM) === 0
      ? {}
      : { checksum: { start: view.getUint16(6, true), offset: view.getUint16(8, true) } };
  const segmentation =
    (type & ~HDR_GSO_ECN) === GsoType.NONE
      ? {}
      : {
          segmentation: {
            type: (type & ~HDR_GSO_ECN) as GsoType,
            size: view.getUint16(4, true),
            headerBytes: view.getUint16(2, true),
            ecn: (type & HDR_GSO_ECN) !== 0,
          },
        };
  return { ...checksum, ...segmentation, checksumValid: (flags & HDR_F_DATA_VALID) !== 0 };
}
