import type { AccessWidth, FunctionPort, PciFunction } from '../../../../devices/pci/function.js';
import type { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';

/** A place for a function that another one can be put into while the guest runs, which sees nothing of it. */
export class FunctionSeat implements PciFunction {
  readonly bars;
  readonly msixVectorCount;
  readonly hasIntx;
  readonly configSizeBytes;
  current: VirtioPciFunction;
  #port: FunctionPort | undefined;

  constructor(first: VirtioPciFunction) {
    this.current = first;
    this.bars = first.bars;
    this.msixVectorCount = first.msixVectorCount;
    this.hasIntx = first.hasIntx;
    this.configSizeBytes = first.configSizeBytes;
  }

  /** The old function is out from now on, and the new one at work. */
  replace(next: VirtioPciFunction): void {
    this.current.connect(undefined);
    this.current.reset();
    this.current = next;
    next.connect(this.#port);
    next.afterWrite();
  }

  get msix() {
    return this.current.msix;
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.current.readConfig(offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.current.writeConfig(offset, width, value);
  }

  readBar(bar: number, offset: number, width: AccessWidth): number {
    return this.current.readBar(bar, offset, width);
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    this.current.writeBar(bar, offset, width, value);
  }

  afterWrite(): void {
    this.current.afterWrite();
  }

  connect(port: FunctionPort | undefined): void {
    this.#port = port;
    this.current.connect(port);
  }

  reset(): void {
    this.current.reset();
  }
}
