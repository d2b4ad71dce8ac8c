/** The slot part of a port's PCI Express capability (PCI Express Base 5.0, sections 7.5.3.9 to 7.5.3.11). */
import type { FunctionConfig } from './config.js';
import {
  ExpressRegister,
  LINK_ACTIVE,
  SlotCapability,
  SlotControl,
  SlotStatus,
} from './express-registers.js';

/** Status bits that say that something happened. */
const EVENTS =
  SlotStatus.ATTENTION_BUTTON |
  SlotStatus.POWER_FAULT |
  SlotStatus.PRESENCE_CHANGED |
  SlotStatus.COMMAND_COMPLETED |
  SlotStatus.LINK_CHANGED;

const NOTIFICATIONS =
  SlotControl.ATTENTION_BUTTON_ENABLE |
  SlotControl.POWER_FAULT_ENABLE |
  SlotControl.PRESENCE_ENABLE |
  SlotControl.COMMAND_COMPLETED_ENABLE |
  SlotControl.LINK_ENABLE |
  SlotControl.INTERRUPT_ENABLE;

/** What a register of a port that is gone reads. */
const GONE = 0xffff;

export class SlotRegisters {
  readonly #config: FunctionConfig;
  readonly #express: number;
  /** The slot's number on the chassis. */
  readonly number: number;
  readonly hasPowerController: boolean;
  /** True where the port says when it is done with a command. */
  readonly completesCommands: boolean;

  /** `express` is where the port's PCI Express capability starts. */
  constructor(config: FunctionConfig, express: number) {
    this.#config = config;
    this.#express = express;
    const capabilities = config.read(express + ExpressRegister.SLOT_CAPABILITIES, 4);
    this.number = capabilities >>> SlotCapability.NUMBER_SHIFT;
    this.hasPowerController = (capabilities & SlotCapability.POWER_CONTROLLER) !== 0;
    this.completesCommands = (capabilities & SlotCapability.NO_COMMAND_COMPLETED) === 0;
  }

  /** What has happened since it was last cleared; nothing where the port is gone. */
  get events(): number {
    const status = this.#status;
    return status === GONE ? 0 : status & EVENTS;
  }

  clearEvents(events: number): void {
    this.#config.write(this.#express + ExpressRegister.SLOT_STATUS, 2, events);
  }

  get isPresent(): boolean {
    const status = this.#status;
    return status !== GONE && (status & SlotStatus.PRESENT) !== 0;
  }

  get isLinkActive(): boolean {
    const status = this.#config.read(this.#express + ExpressRegister.LINK_STATUS, 2);
    return status !== GONE && (status & LINK_ACTIVE) !== 0;
  }

  get isPowered(): boolean {
    return !this.hasPowerController || (this.#control & SlotControl.POWER_CONTROLLER_OFF) === 0;
  }

  /** One command: sets slot control's bits in `mask` to those in `bits`. */
  command(mask: number, bits: number): void {
    this.#config.write(this.#express + ExpressRegister.SLOT_CONTROL, 2, (this.#control & ~mask) | bits);
  }

  enableNotifications(): void {
    this.command(NOTIFICATIONS, NOTIFICATIONS);
  }

  disableNotifications(): void {
    this.command(NOTIFICATIONS, 0);
  }

  get #control(): number {
    return this.#config.read(this.#express + ExpressRegister.SLOT_CONTROL, 2);
  }

  get #status(): number {
    return this.#config.read(this.#express + ExpressRegister.SLOT_STATUS, 2);
  }
}
