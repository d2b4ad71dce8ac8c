const DEFAULT_QUEUE_SIZE = 256;
const MAX_QUEUE_PAIRS = 32;
const DEFAULT_SPEED_MBPS = 10_000;
/** What IPv4 needs of every network, and the longest that the config space can say. */
const MTU_RANGE = { min: 68, max: 65535 } as const;

export interface VirtioNetOptions {
  /** The card's address: `52:54:00:12:34:56`. */
  readonly mac: string;
  /** Queues for each direction, 1 to 32: as a rule as many as the guest has processors. Default: 1. */
  readonly queuePairs?: number;
  /** Descriptors of each queue: a power of two, 4 at least. Default: 256. */
  readonly queueSize?: number;
  /** The longest packet in bytes, without Ethernet's header: 68 to 65535. Default: the driver decides. */
  readonly mtu?: number;
  /** What the driver shows as the link's speed. Default: 10,000. */
  readonly speedMbps?: number;
}

/**
 * The same, with defaults; the address is checked where it is parsed.
 *
 * @throws RangeError for a number of queues, a size or an MTU that cannot be
 */
export function checkedOptions(options: VirtioNetOptions) {
  const { queuePairs = 1, queueSize = DEFAULT_QUEUE_SIZE, mtu, speedMbps = DEFAULT_SPEED_MBPS } = options;
  if (!Number.isInteger(queuePairs) || queuePairs < 1 || queuePairs > MAX_QUEUE_PAIRS) {
    throw new RangeError(`a network card has 1 to ${MAX_QUEUE_PAIRS} pairs of queues, not ${queuePairs}`);
  }
  if (queueSize < 4 || queueSize > 32768 || !Number.isInteger(Math.log2(queueSize))) {
    throw new RangeError(
      `a network card's queue has a power of two of descriptors from 4 on, not ${queueSize}`,
    );
  }
  if (mtu !== undefined && (!Number.isInteger(mtu) || mtu < MTU_RANGE.min || mtu > MTU_RANGE.max)) {
    throw new RangeError(`an MTU is ${MTU_RANGE.min} to ${MTU_RANGE.max} bytes, not ${mtu}`);
  }
  return { queuePairs, queueSize, mtu, speedMbps };
}
