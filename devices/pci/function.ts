/**
 * The contract between a PCI function and whatever plugs it into a machine: a vfio-user connection, or the
 * bus in software that an in-process guest enumerates.
 */
import type { MsixTable } from './msix.js';

/** Widths of one register access, in bytes. A port splits an 8-byte access in two, low half first. */
export type AccessWidth = 1 | 2 | 4;

/** One base address register's space, as the function asks for it. Sizes are powers of two. */
export interface BarSpec {
  /** 0–5. A 64-bit BAR takes `index` and `index + 1`. */
  readonly index: number;
  readonly kind: 'memory32' | 'memory64' | 'io';
  readonly prefetchable: boolean;
  readonly sizeBytes: number;
}

/** What a function may do to the machine it sits in. Provided by the port; every method is safe to call at any time. */
export interface FunctionPort {
  /**
   * Vector `vector` of the function's MSI-X table fires. A port whose VMM keeps the table (vfio-user) signals the vector; a
   * bus in software calls `fn.msix.deliver(vector, send)`, which masks, and comes back here when a pending vector is unmasked.
   */
  triggerMsix(vector: number): void;
  /** Sets the level of the function's INTx pin. Idempotent. */
  setIntx(asserted: boolean): void;
}

export interface PciFunction {
  /** The BARs the function has, fixed for its lifetime. */
  readonly bars: readonly BarSpec[];
  /** Vectors in the MSI-X table; 0 where the function has no MSI-X capability. */
  readonly msixVectorCount: number;
  /** The MSI-X table behind its BAR and capability, where the function has one. See `FunctionPort.triggerMsix`. */
  readonly msix: MsixTable | undefined;
  /** True where the function has an interrupt pin. */
  readonly hasIntx: boolean;
  /** Size of config space: 256 (PCI) or 4096 (PCI Express). */
  readonly configSizeBytes: number;

  /** Config space. Offsets are aligned to `width`. Reads beyond the space give all ones; writes go through write masks. */
  readConfig(offset: number, width: AccessWidth): number;
  writeConfig(offset: number, width: AccessWidth, value: number): void;
  /** A BAR's registers. Unclaimed offsets read 0 and ignore writes; nothing throws. */
  readBar(bar: number, offset: number, width: AccessWidth): number;
  /**
   * A doorbell write only marks its queue; the work runs after the write has been answered (`afterWrite`), so that
   * a port which answers writes over a socket can answer first.
   */
  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void;
  /**
   * Runs the work that writes (config or BAR) since the last call have asked for. A port calls it once it has answered
   * them. Work is bounded; what is left goes on from the event loop by itself. Calls from within it (an interrupt handler
   * that rings a doorbell) return at once: the call under way sees to their work.
   */
  afterWrite(): void;

  /** Plugs the function into a port, or (undefined) takes it out; interrupts go nowhere while it is out. */
  connect(port: FunctionPort | undefined): void;
  /** Conventional or function-level reset: registers and device as at power-on. */
  reset(): void;
}
