/** The interrupt of a port: a message where the port can send one, else its pin. */
import type { FunctionConfig } from './config.js';
import { CapabilityId, MsiRegister } from './express-registers.js';
import { MESSAGE_ADDRESS, type IntxHandler, type InterruptController } from './interrupts.js';
import { PciCommand } from './registers.js';

/** What of the guest's interrupt controller ports use. */
export type PortInterrupts = Pick<
  InterruptController,
  'allocateMessage' | 'freeMessage' | 'addIntx' | 'removeIntx'
>;

const MAX_MESSAGE_DATA = 0xffff;

export class PortInterrupt {
  readonly #config: FunctionConfig;
  readonly #interrupts: PortInterrupts;
  readonly #handler: IntxHandler;
  readonly #msi: number | undefined;
  #message: number | undefined;

  constructor(config: FunctionConfig, interrupts: PortInterrupts, handler: IntxHandler) {
    this.#config = config;
    this.#interrupts = interrupts;
    this.#handler = handler;
    this.#msi = config.capability(CapabilityId.MSI);
  }

  enable(): void {
    if (this.#msi !== undefined && this.#enableMessage(this.#msi)) return;
    this.#interrupts.addIntx(this.#handler);
    this.#config.setCommand(PciCommand.INTX_DISABLE, 0);
  }

  disable(): void {
    this.#config.setCommand(0, PciCommand.INTX_DISABLE);
    this.#interrupts.removeIntx(this.#handler);
    if (this.#message === undefined || this.#msi === undefined) return;
    this.#config.write(this.#msi + MsiRegister.MESSAGE_CONTROL, 2, 0);
    this.#interrupts.freeMessage(this.#message);
    this.#message = undefined;
  }

  /** False where the guest has run out of numbers that fit the 16 bits of data that a message has. */
  #enableMessage(msi: number): boolean {
    const message = this.#interrupts.allocateMessage(() => void this.#handler());
    if (message > MAX_MESSAGE_DATA) {
      this.#interrupts.freeMessage(message);
      return false;
    }
    this.#message = message;
    const control = this.#config.read(msi + MsiRegister.MESSAGE_CONTROL, 2);
    const is64Bit = (control & MsiRegister.CONTROL_64_BIT) !== 0;
    this.#config.write(msi + MsiRegister.ADDRESS_LOW, 4, MESSAGE_ADDRESS);
    if (is64Bit) this.#config.write(msi + MsiRegister.ADDRESS_HIGH, 4, 0);
    this.#config.write(msi + (is64Bit ? MsiRegister.DATA_64 : MsiRegister.DATA_32), 2, message);
    this.#config.setCommand(0, PciCommand.INTX_DISABLE);
    this.#config.write(msi + MsiRegister.MESSAGE_CONTROL, 2, MsiRegister.CONTROL_ENABLE);
    return true;
  }
}
