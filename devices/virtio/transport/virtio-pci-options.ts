/** What a virtio function can be told when it is made. */
import type { SessionTransport } from '../device-session.js';
import type { RingRecords } from '../ring/inflight/ring-records.js';
import type { Doorbell, VirtioPciInterface } from './virtio-pci-layout.js';

export interface VirtioPciOptions {
  /** Whether the function has MSI-X. INTx it always has. */
  readonly msix: boolean;
  /** Vectors in the MSI-X table, 1 to 2048; by default one a queue, and one for config changes. */
  readonly msixVectorCount?: number;
  /**
   * Which registers the function has: modern ones (default), legacy ones (virtio 0.9.5), or both, and the driver decides. Legacy
   * registers are in I/O space, and only for device ids that have a transitional PCI device id.
   */
  readonly registers?: VirtioPciInterface;
  /**
   * The doorbells that the modern registers offer, best first; by default one a queue. Drivers should take the first, but SeaBIOS takes
   * the address of the first and the multiplier of the last: offer it one.
   */
  readonly doorbells?: readonly [Doorbell, ...Doorbell[]];
  /**
   * Whether the device looks at its rings by itself, all the time, from DRIVER_OK to reset: drivers are asked not to ring any doorbell, and may
   * do without. Default false. `keepAwake` is not used then.
   */
  readonly polled?: boolean;
  /**
   * Features, as bits, that are not offered though the device and the rings have them: for drivers that get one wrong, and for tests of all
   * that drivers may choose. VIRTIO_F_VERSION_1 cannot be withheld. Default: none.
   */
  readonly withheldFeatures?: bigint;
  /** Takes one line on each fault of the driver or the device. */
  readonly log?: (message: string) => void;
  /** Runs work soon, from the event loop. By default with setImmediate, or setTimeout where there is none. */
  readonly defer?: (work: () => void) => void;
  /** Where rings write down what is under way; by default nowhere. */
  readonly records?: RingRecords | undefined;
  /** What polls the rings for a while after a doorbell that woke the process; by default nothing does. */
  readonly keepAwake?: SessionTransport['keepAwake'];
}
