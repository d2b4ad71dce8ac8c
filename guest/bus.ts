/** Part of an address space. */
export interface AddressWindow {
  readonly start: number;
  readonly sizeBytes: number;
}

/** Port I/O: a space of 64 KiB beside memory, where legacy devices have their registers. */
export interface PortIo {
  /** Where I/O BARs may be placed. */
  readonly window: AddressWindow;
  /** Registers at a port, aligned to `width`; all ones where no BAR is. */
  read(port: number, width: 1 | 2 | 4): number;
  write(port: number, width: 1 | 2 | 4, value: number): void;
}

/**
 * The machine that an in-process guest runs on: config space, memory-mapped registers, RAM and interrupts. The chassis
 * provides it; the guest's drivers know nothing else of the host. What is plugged in and pulled out, ports say by their own registers
 * and interrupts.
 *
 * Handlers are never called from inside a call of the guest's: a machine delivers interrupts later, in order. Each kind has one
 * handler, and registering another replaces it.
 */
export interface GuestBus {
  /** PCI config space of bus:device.function through ECAM; all ones where nothing is there. `width` is in bytes. */
  readConfig(bus: number, device: number, fn: number, offset: number, width: 1 | 2 | 4): number;
  writeConfig(bus: number, device: number, fn: number, offset: number, width: 1 | 2 | 4, value: number): void;
  /** Memory-mapped registers at a guest-physical address, aligned to `width`; all ones where no BAR is. */
  readMemory(address: number, width: 1 | 2 | 4): number;
  writeMemory(address: number, width: 1 | 2 | 4, value: number): void;
  /** Where BARs may be placed: below 4 GiB. */
  readonly mmioWindow: AddressWindow;
  /** Where prefetchable 64-bit BARs may be placed besides. */
  readonly prefetchableWindow?: AddressWindow;
  /** Undefined where the machine has no such space. */
  readonly io?: PortIo;
  /** The guest's RAM, at guest-physical address 0 (and nothing else is). */
  readonly ram: Uint8Array;
  /** Where RAM lies in this process, for file systems that read straight into it; 0 if unknown. */
  readonly ramAddress: number;
  /**
   * Interrupt messages (MSI, MSI-X): any write to an address in 0xfee00000–0xfeefffff. To be registered before anything else: it
   * tells the machine that a guest boots, and everything is as at power-on then.
   */
  onMessage(handler: (address: number, data: number) => void): void;
  /**
   * The INTx line that all functions share is level-triggered: the handler is called with true again and again while the line
   * is asserted after a call, and once with false when it no longer is.
   */
  onIntx(handler: (asserted: boolean) => void): void;
  /**
   * Takes the guest off the machine, whatever it is doing: everything is reset, no handler is called any more, and nothing that is
   * asked through this bus reaches the machine again. Another guest may boot afterwards, on a bus of its own.
   */
  powerOff(): void;
}
