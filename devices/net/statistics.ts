/** What a card has counted; every field only grows, also across resets. */
export interface NetStatistics {
  txFrames: number;
  txBytes: number;
  /** Frames of the guest's that were no frames, or whose header did not fit them. */
  txInvalid: number;
  /** Frames of the guest's that nobody took in time, or while the link was down. */
  txDropped: number;
  rxFrames: number;
  rxBytes: number;
  /** Frames that the guest did not ask for. */
  rxFiltered: number;
  /** Frames for which the guest had no buffers, or the link was down. */
  rxDropped: number;
  /** Frames that do not fit the guest's buffers or its MTU. */
  rxTooLong: number;
}

export function newNetStatistics(): NetStatistics {
  return {
    txFrames: 0,
    txBytes: 0,
    txInvalid: 0,
    txDropped: 0,
    rxFrames: 0,
    rxBytes: 0,
    rxFiltered: 0,
    rxDropped: 0,
    rxTooLong: 0,
  };
}
