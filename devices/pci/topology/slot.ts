/**
 * A hot-plug slot, native to PCI Express (Base 5.0, sections 6.7 and 7.5.3.9 to 7.5.3.11): presence, power controller, attention
 * button and indicators, command completed and data link state. There is no latch (MRL) and no electromechanical interlock.
 *
 * The methods are the operator's hands; what the guest does comes through the port's registers.
 */
import type { ConfigSpace } from '../config-space.js';
import { PciExpress } from '../defs.js';
import type { BusFunction } from './bus.js';
import { PciExpressPort, PciSlotControl, PciSlotStatus } from './defs.js';
import { Ejection, type IndicatorState, type SlotView } from './ejection.js';
import { SLOT_EVENTS } from './express-port.js';

/** What can be put into a slot: a card, or the upstream port of an extension chassis. */
export interface Occupant {
  /** What appears on the link, function 0 among them. */
  readonly functions: readonly BusFunction[];
  /** The slot it is in. Slots keep it. */
  seat: Slot | undefined;
}

/** Hears what becomes of a slot. Called from within the guest's write that led to it, once the slot is settled. */
export interface SlotListener {
  /** What was asked for: the occupant is out, since the guest let it go or there was no guest to ask. */
  ejected?(slot: Slot, occupant: Occupant): void;
  /** The guest switched power or an indicator. */
  changed?(slot: Slot): void;
}

/** What the slot asks of its port. */
export interface SlotWiring {
  /** The link to these functions is active, or no longer is. */
  linkUp(functions: readonly BusFunction[]): void;
  linkDown(functions: readonly BusFunction[]): void;
  /** Whether the slot has an event that the guest wants to be interrupted for. */
  interrupt(pending: boolean): void;
}

/** Slot status and slot control bits that have the same position: event, and its enable. */
const EVENTS_ENABLED_IN_PLACE =
  PciSlotStatus.PCI_EXP_SLTSTA_ABP |
  PciSlotStatus.PCI_EXP_SLTSTA_PFD |
  PciSlotStatus.PCI_EXP_SLTSTA_PDC |
  PciSlotStatus.PCI_EXP_SLTSTA_CC;

const DRIVER_LISTENS = PciSlotControl.PCI_EXP_SLTCTL_HPIE | PciSlotControl.PCI_EXP_SLTCTL_ABPE;

export class Slot {
  readonly physicalSlotNumber: number;
  readonly #space: ConfigSpace;
  readonly #wiring: SlotWiring;
  readonly #control: number;
  readonly #status: number;
  readonly #linkControl: number;
  readonly #linkStatus: number;
  readonly #ejection = new Ejection({
    pressButton: () => this.pressAttentionButton(),
    takeOut: () => this.#eject(),
    present: () => this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_PDC | PciSlotStatus.PCI_EXP_SLTSTA_ABP),
  });
  #listener: SlotListener = {};
  #occupant: Occupant | undefined;
  /** What is on the other end of the link while that is active. */
  #linked: Occupant | undefined;
  /** The port has power and is out of reset. */
  #isLive = false;
  #powerFailed = false;
  #linkBroken = false;
  #heldInReset = false;
  /** Slot control as it last was. */
  #controlSeen = 0;

  /** `express` is where the port's PCI Express capability starts. */
  constructor(physicalSlotNumber: number, space: ConfigSpace, express: number, wiring: SlotWiring) {
    this.physicalSlotNumber = physicalSlotNumber;
    this.#space = space;
    this.#wiring = wiring;
    this.#control = express + PciExpressPort.PCI_EXP_SLTCTL;
    this.#status = express + PciExpressPort.PCI_EXP_SLTSTA;
    this.#linkControl = express + PciExpress.PCI_EXP_LNKCTL;
    this.#linkStatus = express + PciExpress.PCI_EXP_LNKSTA;
    // Control and status share a register: only what reaches control is a command.
    space.hook(this.#control, {
      afterWrite: (offset) => (offset < this.#status ? this.#commanded() : this.#statusChanged()),
    });
    space.hook(this.#linkControl, { afterWrite: () => this.#updateLink() });
  }

  // ——— What an operator sees ———

  get occupant(): Occupant | undefined {
    return this.#occupant;
  }

  /** True while the power controller feeds the slot, occupied or not. */
  get isPowered(): boolean {
    return !this.#powerFailed && (this.#controlBits & PciSlotControl.PCI_EXP_SLTCTL_PCC) === 0;
  }

  get isLinkActive(): boolean {
    return this.#linked !== undefined;
  }

  get powerIndicator(): IndicatorState {
    const { PCI_EXP_SLTCTL_PIC, PCI_EXP_SLTCTL_PWR_IND_ON, PCI_EXP_SLTCTL_PWR_IND_BLINK } = PciSlotControl;
    const bits = this.#controlBits & PCI_EXP_SLTCTL_PIC;
    if (bits === PCI_EXP_SLTCTL_PWR_IND_ON) return 'on';
    return bits === PCI_EXP_SLTCTL_PWR_IND_BLINK ? 'blink' : 'off';
  }

  get attentionIndicator(): IndicatorState {
    const { PCI_EXP_SLTCTL_AIC, PCI_EXP_SLTCTL_ATTN_IND_ON, PCI_EXP_SLTCTL_ATTN_IND_BLINK } = PciSlotControl;
    const bits = this.#controlBits & PCI_EXP_SLTCTL_AIC;
    if (bits === PCI_EXP_SLTCTL_ATTN_IND_ON) return 'on';
    return bits === PCI_EXP_SLTCTL_ATTN_IND_BLINK ? 'blink' : 'off';
  }

  /** True while the guest has a driver that hears of the attention button: only then is anybody asked before an ejection. */
  get driverListens(): boolean {
    return this.#isLive && (this.#controlBits & DRIVER_LISTENS) === DRIVER_LISTENS;
  }

  /** True while an ejection was requested and has neither come about nor been withdrawn. */
  get isEjecting(): boolean {
    return this.#ejection.isWanted;
  }

  // ——— What an operator does ———

  /** The slot has one listener; registering another replaces it. */
  listen(listener: SlotListener): void {
    this.#listener = listener;
  }

  /**
   * Puts a card or an extension chassis in, and presses the attention button: guests do not look at a slot that has a button
   * before it is pressed. Throws where the slot is taken or the occupant sits elsewhere.
   */
  insert(occupant: Occupant): void {
    if (this.#occupant !== undefined) throw new Error(`slot ${this.physicalSlotNumber} is taken`);
    if (occupant.seat !== undefined) throw new Error(`it sits in slot ${occupant.seat.physicalSlotNumber}`);
    occupant.seat = this;
    this.#occupant = occupant;
    this.#linkBroken = false;
    this.#showPresence();
    this.#updateLink();
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_PDC | PciSlotStatus.PCI_EXP_SLTSTA_ABP);
  }

  /**
   * Pulls out what is in the slot, in use or not: a surprise for the guest. A request for an ejection is met by it. Answers
   * what was there.
   */
  remove(): Occupant | undefined {
    const occupant = this.#occupant;
    if (occupant === undefined) return undefined;
    const wasWanted = this.#ejection.isWanted;
    this.#takeOut();
    if (wasWanted) this.#listener.ejected?.(this, occupant);
    return occupant;
  }

  /**
   * Asks the guest for what is in the slot. `SlotListener.ejected` hears when it is out: at once, from within this call, where no
   * guest listens or the slot has no power. Throws where the slot is empty.
   */
  requestEjection(): void {
    if (this.#occupant === undefined) throw new Error(`slot ${this.physicalSlotNumber} is empty`);
    if (this.driverListens) this.#ejection.request(this.#view());
    else this.#eject();
  }

  /** Takes the request back: the occupant stays, and a guest that lets it go all the same is told to look again. */
  withdrawEjection(): void {
    this.#ejection.withdraw(this.#view());
  }

  pressAttentionButton(): void {
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_ABP);
  }

  /** The power controller reports a fault, and the slot has no power before the guest has switched it off and on again. */
  failPower(): void {
    if (!this.#isLive || !this.isPowered) return;
    this.#powerFailed = true;
    this.#updateLink();
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_PFD);
  }

  /** The link breaks under the occupant, which stays present: a cable that is pulled, a device process that died. */
  breakLink(): void {
    this.#linkBroken = true;
    this.#updateLink();
  }

  mendLink(): void {
    this.#linkBroken = false;
    this.#updateLink();
  }

  // ——— The port's side ———

  /** The port comes up, as at power-on: an occupied slot has power, as firmware finds it; an empty one has none. */
  portUp(): void {
    const { PCI_EXP_SLTCTL_ATTN_IND_OFF, PCI_EXP_SLTCTL_PWR_IND_ON } = PciSlotControl;
    const { PCI_EXP_SLTCTL_PWR_IND_OFF, PCI_EXP_SLTCTL_PCC } = PciSlotControl;
    const power = this.#occupant
      ? PCI_EXP_SLTCTL_PWR_IND_ON
      : PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC;
    this.#space.set(this.#control, 2, PCI_EXP_SLTCTL_ATTN_IND_OFF | power);
    this.#controlSeen = this.#controlBits;
    this.#powerFailed = false;
    this.#heldInReset = false;
    this.#isLive = true;
    this.#showPresence();
    this.#updateLink();
    // Nobody has to be told of what they find.
    this.#setStatus(SLOT_EVENTS, 0);
  }

  /** The port is reset or loses power. The guest that was asked for the slot will not answer any more: it is given back. */
  portDown(): void {
    this.#isLive = false;
    this.#updateLink();
    if (this.#ejection.isWanted) this.#eject();
    this.#ejection.forget();
  }

  /** The port's secondary bus is held in reset, or no longer is. */
  holdInReset(held: boolean): void {
    this.#heldInReset = held;
    this.#updateLink();
  }

  // ——— Registers ———

  get #controlBits(): number {
    return this.#space.get(this.#control, 2);
  }

  /** The guest wrote slot control: whatever it wrote, that is one command, and it is completed at once. */
  #commanded(): void {
    const control = this.#controlBits;
    const changed = control ^ this.#controlSeen;
    this.#controlSeen = control;
    if ((control & PciSlotControl.PCI_EXP_SLTCTL_PCC) !== 0) this.#powerFailed = false;
    this.#updateLink();
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_CC);
    const { PCI_EXP_SLTCTL_AIC, PCI_EXP_SLTCTL_PIC, PCI_EXP_SLTCTL_PCC } = PciSlotControl;
    if ((changed & (PCI_EXP_SLTCTL_AIC | PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_PCC)) !== 0) {
      this.#listener.changed?.(this);
    }
  }

  #raise(events: number): void {
    if (this.#isLive) this.#setStatus(0, events);
  }

  #setStatus(clear: number, set: number): void {
    this.#space.set(this.#status, 2, (this.#space.get(this.#status, 2) & ~clear) | set);
    this.#statusChanged();
  }

  #statusChanged(): void {
    const status = this.#space.get(this.#status, 2);
    const control = this.#controlBits;
    const linkEvent =
      (status & PciSlotStatus.PCI_EXP_SLTSTA_DLLSC) !== 0 &&
      (control & PciSlotControl.PCI_EXP_SLTCTL_DLLSCE) !== 0;
    const hasEvent = linkEvent || (status & control & EVENTS_ENABLED_IN_PLACE) !== 0;
    this.#wiring.interrupt(hasEvent && (control & PciSlotControl.PCI_EXP_SLTCTL_HPIE) !== 0);
    if (this.#isLive) this.#ejection.advance(this.#view());
  }

  #view(): SlotView {
    const { powerIndicator, isPowered } = this;
    const isDark = powerIndicator === 'off' && !isPowered;
    const buttonPending = (this.#space.get(this.#status, 2) & PciSlotStatus.PCI_EXP_SLTSTA_ABP) !== 0;
    return { powerIndicator, isDark, buttonPending };
  }

  #showPresence(): void {
    const { PCI_EXP_SLTSTA_PDS } = PciSlotStatus;
    const status = this.#space.get(this.#status, 2) & ~PCI_EXP_SLTSTA_PDS;
    this.#space.set(this.#status, 2, this.#occupant ? status | PCI_EXP_SLTSTA_PDS : status);
  }

  // ——— Link and occupant ———

  #updateLink(): void {
    const linked = this.#canLink() ? this.#occupant : undefined;
    const before = this.#linked;
    if (linked === before) return;
    this.#linked = linked;
    const status = this.#space.get(this.#linkStatus, 2) & ~PciExpressPort.PCI_EXP_LNKSTA_DLLLA;
    this.#space.set(this.#linkStatus, 2, linked ? status | PciExpressPort.PCI_EXP_LNKSTA_DLLLA : status);
    if (before) this.#wiring.linkDown(before.functions);
    if (linked) this.#wiring.linkUp(linked.functions);
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_DLLSC);
  }

  #canLink(): boolean {
    const disabled = (this.#space.get(this.#linkControl, 2) & PciExpressPort.PCI_EXP_LNKCTL_LD) !== 0;
    return this.#isLive && this.isPowered && !this.#linkBroken && !this.#heldInReset && !disabled;
  }

  #eject(): void {
    const occupant = this.#takeOut();
    if (occupant) this.#listener.ejected?.(this, occupant);
  }

  #takeOut(): Occupant | undefined {
    const occupant = this.#occupant;
    if (occupant === undefined) return undefined;
    this.#ejection.forget();
    this.#occupant = undefined;
    occupant.seat = undefined;
    this.#showPresence();
    this.#updateLink();
    this.#raise(PciSlotStatus.PCI_EXP_SLTSTA_PDC);
    return occupant;
  }
}
