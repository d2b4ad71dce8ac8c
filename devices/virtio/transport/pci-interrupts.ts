import type { ConfigSpace } from '../../pci/config-space.js';
import { PciCommand, PciConfig, PciStatus } from '../../pci/defs.js';
import type { FunctionPort } from '../../pci/function.js';
import type { MsixTable } from '../../pci/msix.js';
import { VIRTIO_MSI_NO_VECTOR } from '../ring/queue-config.js';
import { VirtioPciIsr } from './virtio-pci-defs.js';

/** A virtio function's interrupts (virtio 1.3, sections 4.1.4.5 and 4.1.5.3): by MSI-X while that is enabled, else by INTx and ISR status. */
export class PciInterrupts {
  readonly #config: ConfigSpace;
  readonly #msix: MsixTable | undefined;
  #port: FunctionPort | undefined;
  #isr = 0;

  constructor(config: ConfigSpace, msix: MsixTable | undefined) {
    this.#config = config;
    this.#msix = msix;
  }

  connect(port: FunctionPort | undefined): void {
    this.#port?.setIntx(false);
    this.#port = port;
    this.update();
  }

  get msixEnabled(): boolean {
    return this.#msix?.enabled === true;
  }

  /** Used buffers. False where the driver gave the queue no vector, and so hears of nothing. */
  queue(vector: number): boolean {
    if (this.msixEnabled) return this.fire(vector);
    this.#raise(VirtioPciIsr.QUEUE);
    return true;
  }

  /** The config space or the device's status changed. With MSI-X, too, ISR status tells so. */
  configuration(vector: number): void {
    this.#raise(VirtioPciIsr.CONFIG);
    if (this.msixEnabled) this.fire(vector);
  }

  fire(vector: number): boolean {
    if (vector === VIRTIO_MSI_NO_VECTOR) return false;
    this.#port?.triggerMsix(vector);
    return true;
  }

  /** ISR status, for saving: no driver's read. */
  get isr(): number {
    return this.#isr;
  }

  set isr(isr: number) {
    this.#isr = isr;
    this.update();
  }

  /** The ISR status register: reading takes the interrupt back. */
  readIsr(): number {
    const isr = this.#isr;
    this.clear();
    return isr;
  }

  clear(): void {
    if (this.#isr === 0) return;
    this.#isr = 0;
    this.update();
  }

  /** Brings the status bit and the pin in line with ISR status, MSI-X enable and the command register. */
  update(): void {
    const pending = this.#isr !== 0 && !this.msixEnabled;
    const status = this.#config.get(PciConfig.PCI_STATUS, 2) & ~PciStatus.PCI_STATUS_INTERRUPT;
    this.#config.set(PciConfig.PCI_STATUS, 2, pending ? status | PciStatus.PCI_STATUS_INTERRUPT : status);
    const command = this.#config.get(PciConfig.PCI_COMMAND, 2);
    this.#port?.setIntx(pending && (command & PciCommand.PCI_COMMAND_INTX_DISABLE) === 0);
  }

  #raise(bit: number): void {
    this.#isr |= bit;
    this.update();
  }
}
