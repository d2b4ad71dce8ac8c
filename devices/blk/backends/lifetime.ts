/** How worn a flash medium is, as eMMC tells (JEDEC JESD84-B50) and VIRTIO_BLK_T_GET_LIFETIME passes on. */
export interface LifetimeEstimate {
  /** Reserved blocks used up: 0 unknown, 1 below 80 %, 2 from 80 % on, 3 from 90 % on. */
  readonly preEolInfo: number;
  /** Wear of SLC and MLC cells in steps of 10 %: 0 unknown, 1 up to 10 %, … 10 up to 100 %, 11 beyond. */
  readonly typeA: number;
  readonly typeB: number;
}

const MAX_PRE_EOL_INFO = 3;
const MAX_ESTIMATE = 11;

/** Values that are reserved must not be passed on (virtio 1.3, section 5.2.6.2): they become "unknown". */
export function knownLifetime(preEolInfo: number, typeA: number, typeB: number): LifetimeEstimate {
  return {
    preEolInfo: upTo(MAX_PRE_EOL_INFO, preEolInfo),
    typeA: upTo(MAX_ESTIMATE, typeA),
    typeB: upTo(MAX_ESTIMATE, typeB),
  };
}

function upTo(max: number, value: number): number {
  return Number.isInteger(value) && value >= 0 && value <= max ? value : 0;
}
