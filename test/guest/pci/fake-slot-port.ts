/** The registers of a hot-plug port, whose hardware is the test: it says what happens, and how well commands are obeyed. */
import type { ConfigAccess } from '../../../guest/pci/config.js';
import { FunctionConfig } from '../../../guest/pci/config.js';
import { SlotRegisters } from '../../../guest/pci/slot-registers.js';

/** Where the PCI Express capability is. */
const EXPRESS = 0x40;
const LINK_STATUS = EXPRESS + 0x12;
const SLOT_CAPABILITIES = EXPRESS + 0x14;
const SLOT_CONTROL = EXPRESS + 0x18;
const SLOT_STATUS = EXPRESS + 0x1a;

export const ABP = 0x1;
export const PFD = 0x2;
export const PDC = 0x8;
export const CC = 0x10;
export const DLLSC = 0x100;
const PRESENT = 0x40;

const LIGHTS = ['?', 'on', 'blink', 'off'];

export class FakeSlotPort implements ConfigAccess {
  capabilities = 0x7b;
  control = 0x7c0;
  isPresent = false;
  isLinkActive = false;
  /** The port's registers read all ones. */
  isGone = false;
  /** Commands are completed at once. */
  completes = true;
  /** The link comes up with the power. */
  links = true;
  /** Events are never cleared. */
  isStuck = false;
  /** Every command that was not the same as before: power, attention and power indicator. */
  readonly commands: string[] = [];
  interrupt: () => void = () => {};
  #events = 0;

  /** The guest's view of it, which looks at capabilities once. */
  get registers(): SlotRegisters {
    return new SlotRegisters(new FunctionConfig(this, { bus: 0, device: 1, fn: 0 }), EXPRESS);
  }

  readConfig(_bus: number, _device: number, _fn: number, offset: number): number {
    if (this.isGone) return 0xffff;
    if (offset === LINK_STATUS) return this.isLinkActive ? 0x2011 : 0x11;
    if (offset === SLOT_CAPABILITIES) return this.capabilities;
    if (offset === SLOT_CONTROL) return this.control;
    return offset === SLOT_STATUS ? this.#events | (this.isPresent ? PRESENT : 0) : 0;
  }

  writeConfig(
    _bus: number,
    _device: number,
    _fn: number,
    offset: number,
    _width: number,
    value: number,
  ): void {
    if (this.isGone) return;
    if (offset === SLOT_STATUS && !this.isStuck) this.#events &= ~value;
    if (offset === SLOT_CONTROL) this.#command(value);
  }

  /** Events happen, and the guest is interrupted. */
  raise(events: number): void {
    this.#events |= events;
    this.interrupt();
  }

  insert(): void {
    this.isPresent = true;
    this.raise(PDC | ABP);
  }

  /** The card is pulled out. */
  remove(): void {
    const linkEvent = this.isLinkActive ? DLLSC : 0;
    this.isPresent = false;
    this.isLinkActive = false;
    this.raise(PDC | linkEvent);
  }

  setLink(isActive: boolean): void {
    this.links = isActive;
    this.isLinkActive = isActive;
    this.raise(DLLSC);
  }

  get isPowered(): boolean {
    return (this.control & 0x400) === 0;
  }

  /** Notifications that are enabled. */
  get enabled(): number {
    return this.control & 0x103b;
  }

  #command(value: number): void {
    const changed = ((this.control ^ value) & 0x7c0) !== 0;
    this.control = value;
    if (changed) {
      const power = this.isPowered ? 'power' : 'no power';
      this.commands.push(
        `${power}, attention ${LIGHTS[(value >> 6) & 3]}, indicator ${LIGHTS[(value >> 8) & 3]}`,
      );
    }
    const isActive = this.isPowered && this.isPresent && this.links;
    if (isActive !== this.isLinkActive) {
      this.isLinkActive = isActive;
      this.#events |= DLLSC;
    }
    if (this.completes) this.#events |= CC;
    if (this.#events !== 0) queueMicrotask(() => this.interrupt());
  }
}
