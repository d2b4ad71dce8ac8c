/** MSI-X of one function: finds the table, fills in an entry a handler, and undoes it all. */
import type { GuestPciFunction } from './function.js';
import { MESSAGE_ADDRESS, type InterruptController } from './interrupts.js';
import { Msix, PciCapabilityId, PciCommand } from './registers.js';

export class MsixVectors {
  readonly #fn: GuestPciFunction;
  readonly #interrupts: InterruptController;
  readonly #capability: number;
  readonly #table: number;
  readonly #messages: number[] = [];
  /** Entries in the function's table. */
  readonly tableSize: number;

  private constructor(
    fn: GuestPciFunction,
    interrupts: InterruptController,
    capability: number,
    table: number,
    tableSize: number,
  ) {
    this.#fn = fn;
    this.#interrupts = interrupts;
    this.#capability = capability;
    this.#table = table;
    this.tableSize = tableSize;
  }

  /** The function's MSI-X, not yet enabled; undefined where it has none that can be used. */
  static find(fn: GuestPciFunction, interrupts: InterruptController): MsixVectors | undefined {
    const capability = fn.capabilities().find(({ id }) => id === PciCapabilityId.MSIX)?.offset;
    if (capability === undefined) return undefined;
    const control = fn.readConfig(capability + Msix.MESSAGE_CONTROL, 2);
    const tableSize = (control & Msix.CONTROL_TABLE_SIZE_MASK) + 1;
    const register = fn.readConfig(capability + Msix.TABLE, 4);
    const bar = register & Msix.BIR_MASK;
    const table = fn.locate(bar, (register & ~Msix.BIR_MASK) >>> 0, tableSize * Msix.ENTRY_SIZE);
    return table === undefined ? undefined : new MsixVectors(fn, interrupts, capability, table, tableSize);
  }

  /** Entry i calls `handlers[i]`; entries beyond stay masked. The pin falls silent. */
  enable(handlers: readonly (() => void)[]): void {
    this.#setControl(Msix.CONTROL_ENABLE | Msix.CONTROL_FUNCTION_MASK);
    handlers.forEach((handler, vector) => this.#program(vector, this.#interrupts.allocateMessage(handler)));
    this.#fn.setCommand(0, PciCommand.INTX_DISABLE);
    this.#setControl(Msix.CONTROL_ENABLE);
  }

  disable(): void {
    this.#setControl(0);
    this.#fn.setCommand(PciCommand.INTX_DISABLE, 0);
    this.release();
  }

  /** Frees the messages without touching the function, which is gone. */
  release(): void {
    for (const message of this.#messages) this.#interrupts.freeMessage(message);
    this.#messages.length = 0;
  }

  #program(vector: number, message: number): void {
    const entry = this.#table + vector * Msix.ENTRY_SIZE;
    this.#messages.push(message);
    this.#fn.writeMemory(entry + Msix.ENTRY_VECTOR_CONTROL, 4, Msix.VECTOR_MASKED);
    this.#fn.writeMemory(entry + Msix.ENTRY_ADDRESS_LOW, 4, MESSAGE_ADDRESS);
    this.#fn.writeMemory(entry + Msix.ENTRY_ADDRESS_HIGH, 4, 0);
    this.#fn.writeMemory(entry + Msix.ENTRY_DATA, 4, message);
    this.#fn.writeMemory(entry + Msix.ENTRY_VECTOR_CONTROL, 4, 0);
  }

  /** Writes enable and function mask; the other bits of message control are read-only. */
  #setControl(bits: number): void {
    this.#fn.writeConfig(this.#capability + Msix.MESSAGE_CONTROL, 2, bits);
  }
}
