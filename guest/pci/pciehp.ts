/**
 * The driver of one hot-plug slot, which behaves as Linux's pciehp does: a press of the attention button makes the power indicator
 * blink for some seconds, in which a second press takes the first back; then the slot is powered up or down. A change of presence or
 * of the link means that what was in the slot is gone, whatever is there now.
 *
 * Interrupts only note what has happened; everything else is done by one thread of work a slot, in order.
 */
import { SlotControl, SlotStatus } from './express-registers.js';
import type { SlotRegisters } from './slot-registers.js';
import { systemTimers, type Timers } from './timers.js';

export type PciehpState = 'off' | 'blinking-on' | 'blinking-off' | 'power-on' | 'on' | 'power-off';

/** What is in the slot, as far as the rest of the system goes. Nothing here rejects. */
export interface Board {
  /** Looks at what is behind the port, and takes it into use; false where nothing answers. */
  configure(): Promise<boolean>;
  /** Lets everything go. With `gone` it was pulled out already and is not touched: what is under way fails. */
  unconfigure(gone: boolean): Promise<void>;
  /** True while somebody uses it: it is not let go before that ends, unless it goes by itself. */
  readonly isInUse: boolean;
  /** Somebody wants the slot back. */
  ejectRequested(): void;
}

export interface PciehpOptions {
  /** How long the button can be pressed again to take a press back, in milliseconds; default 5,000. */
  readonly blinkMs?: number;
  /** How long a link may take to come up, in milliseconds; default 1,000. */
  readonly linkTimeoutMs?: number;
  /** How long the port may take for a command, in milliseconds; default 1,000. */
  readonly commandTimeoutMs?: number;
  /** How long power takes to be gone, in milliseconds; default 1,000. */
  readonly powerOffMs?: number;
  readonly timers?: Timers;
}

/** A port that still has something to say after so many looks is broken: it is not listened to before its next interrupt. */
const MAX_LOOKS = 64;

/** What the driver asks of itself, beside the events of slot status. */
const Request = { DISABLE: 1 << 16, LOOK: 1 << 17 } as const;
const CHANGES = SlotStatus.PRESENCE_CHANGED | SlotStatus.LINK_CHANGED;
const INDICATORS = SlotControl.ATTENTION_INDICATOR | SlotControl.POWER_INDICATOR;

export class PciehpSlot {
  readonly #registers: SlotRegisters;
  readonly #board: Board;
  readonly #options: Required<PciehpOptions>;
  #state: PciehpState = 'off';
  /** What has happened and was not handled yet. */
  #events = 0;
  #commandPending = false;
  /** The blink is over, and the slot goes as soon as it is out of use. */
  #awaitsRelease = false;
  #hasBegun = false;
  #isStopped = false;
  #isWorking = false;
  #work: Promise<void> = Promise.resolve();
  #cancelBlink: () => void = () => {};
  /** Called on each event, by whoever waits for one. */
  #stir: () => void = () => {};

  constructor(registers: SlotRegisters, board: Board, options: PciehpOptions = {}) {
    this.#registers = registers;
    this.#board = board;
    this.#options = withDefaults(options);
  }

  get state(): PciehpState {
    return this.#state;
  }

  /** True while the slot is on its way out: nothing in it is taken into use any more. */
  get isLeaving(): boolean {
    return this.#state === 'blinking-off' || this.#state === 'power-off';
  }

  /**
   * Takes notice of what happens from now on, and does nothing about it before `begin`. `isConfigured` says that the board was
   * found already: there must have been no chance for it to change since.
   */
  listen(isConfigured: boolean): void {
    this.#state = isConfigured ? 'on' : 'off';
    this.#registers.clearEvents(this.#registers.events);
    this.#registers.enableNotifications();
  }

  /** Sees to what has happened since `listen`, and to what happens later. */
  begin(): void {
    this.#hasBegun = true;
    this.#request(Request.LOOK);
  }

  /** Listens no more, once what is under way is done: nothing new is begun. The board stays as it is. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelBlink();
    this.#stir();
    await this.#work;
    this.#registers.disableNotifications();
  }

  /** The port's interrupt; true where it was for this slot. */
  interrupt(): boolean {
    let mine = false;
    // A port with messages sends no other before every event is cleared, and more may come meanwhile.
    for (let looks = 0; looks < MAX_LOOKS; looks++) {
      const events = this.#registers.events;
      if (events === 0) break;
      mine = true;
      this.#registers.clearEvents(events);
      if ((events & SlotStatus.COMMAND_COMPLETED) !== 0) this.#commandPending = false;
      this.#events |= events & ~SlotStatus.COMMAND_COMPLETED;
    }
    if (mine) this.#wake();
    return mine;
  }

  /** Something in the slot is no longer in use: lets the slot go if that was waited for. */
  released(): void {
    if (this.#awaitsRelease) this.#request(Request.DISABLE);
  }

  /** True while there is more to do than to wait for an interrupt, a release, or the end of the blinking. */
  get isWorking(): boolean {
    return this.#isWorking;
  }

  /** Resolves once that is so no longer. */
  async idle(): Promise<void> {
    while (this.#isWorking) await this.#work;
  }

  // ——— The thread ———

  #request(request: number): void {
    this.#events |= request;
    this.#wake();
  }

  #wake(): void {
    this.#stir();
    if (!this.#hasBegun || this.#isWorking || this.#isStopped || this.#events === 0) return;
    this.#isWorking = true;
    this.#work = this.#run();
  }

  async #run(): Promise<void> {
    try {
      while (this.#events !== 0 && !this.#isStopped) {
        const events = this.#events;
        this.#events = 0;
        await this.#handle(events);
      }
    } finally {
      this.#isWorking = false;
    }
  }

  async #handle(events: number): Promise<void> {
    const isPressed = (events & SlotStatus.ATTENTION_BUTTON) !== 0;
    // A press that comes along with a card is for that card, and says no more than that it is there.
    if (isPressed && (events & SlotStatus.PRESENCE_CHANGED) === 0) await this.#buttonPressed();
    if ((events & SlotStatus.POWER_FAULT) !== 0)
      await this.#indicate(SlotControl.ATTENTION_ON, SlotControl.POWER_OFF);
    if ((events & (CHANGES | Request.LOOK)) !== 0) await this.#changed((events & CHANGES) !== 0);
    else if ((events & Request.DISABLE) !== 0) await this.#disableIfFree();
  }

  async #buttonPressed(): Promise<void> {
    if (this.#state === 'on' || this.#state === 'off') {
      this.#state = this.#state === 'on' ? 'blinking-off' : 'blinking-on';
      if (this.#state === 'blinking-off') this.#board.ejectRequested();
      await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_BLINK);
      this.#startBlinking();
    } else if (this.#state === 'blinking-off') {
      this.#endBlinking('on');
      await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_ON);
    } else if (this.#state === 'blinking-on') {
      this.#endBlinking('off');
      await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_OFF);
    }
    // Otherwise power is being switched: the press is ignored.
  }

  #startBlinking(): void {
    const request = this.#state === 'blinking-off' ? Request.DISABLE : Request.LOOK;
    const { blinkMs, timers } = this.#options;
    if (this.#isStopped) return;
    if (blinkMs === 0) this.#request(request);
    else this.#cancelBlink = timers.after(blinkMs, () => this.#request(request));
  }

  #endBlinking(state: PciehpState): void {
    this.#cancelBlink();
    this.#awaitsRelease = false;
    this.#state = state;
  }

  /** The blink is over. A slot in use goes on blinking, so that the button can still take the request back. */
  async #disableIfFree(): Promise<void> {
    if (this.#state !== 'blinking-off') return;
    this.#awaitsRelease = this.#board.isInUse;
    if (!this.#awaitsRelease) await this.#disable(false);
  }

  /** Presence or the link is not what it was (`isChange`), or a board may be waiting. */
  async #changed(isChange: boolean): Promise<void> {
    if (isChange && (this.#state === 'on' || this.#state === 'blinking-off')) await this.#disable(true);
    if (this.#state !== 'off' && this.#state !== 'blinking-on') return;
    if (this.#registers.isPresent || this.#registers.isLinkActive) {
      await this.#enable();
    } else if (this.#state === 'blinking-on' || this.#registers.isPowered) {
      this.#endBlinking('off');
      await this.#powerDown();
      await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_OFF);
    }
  }

  async #enable(): Promise<void> {
    this.#endBlinking('power-on');
    const { POWER_CONTROLLER_OFF, POWER_INDICATOR, POWER_BLINK } = SlotControl;
    await this.#command(POWER_CONTROLLER_OFF | POWER_INDICATOR, POWER_BLINK);
    const isUp = await this.#waitForLink();
    if (this.#isStopped) return;
    this.interrupt();
    const hasFault = (this.#events & SlotStatus.POWER_FAULT) !== 0;
    // What has changed up to here was this driver's doing, and a press meant that the slot be powered up.
    if (isUp) this.#events &= ~(CHANGES | SlotStatus.ATTENTION_BUTTON);
    if (isUp && !hasFault && (await this.#board.configure())) {
      await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_ON);
      this.#state = 'on';
    } else {
      await this.#powerDown();
      await this.#indicate(SlotControl.ATTENTION_ON, SlotControl.POWER_OFF);
      this.#state = 'off';
    }
  }

  async #disable(gone: boolean): Promise<void> {
    this.#endBlinking('power-off');
    await this.#board.unconfigure(gone);
    await this.#powerDown();
    await this.#indicate(SlotControl.ATTENTION_OFF, SlotControl.POWER_OFF);
    this.#state = 'off';
  }

  async #powerDown(): Promise<void> {
    if (!this.#registers.hasPowerController) return;
    await this.#command(SlotControl.POWER_CONTROLLER_OFF, SlotControl.POWER_CONTROLLER_OFF);
    await this.#sleep(this.#options.powerOffMs);
    this.interrupt();
    // The link went with the power, and presence may have, which is no news. A card that is there now was put in meanwhile.
    const isReplaced = (this.#events & SlotStatus.PRESENCE_CHANGED) !== 0 && this.#registers.isPresent;
    this.#events = (this.#events & ~CHANGES) | (isReplaced ? Request.LOOK : 0);
  }

  // ——— Waiting ———

  /** A card that is exchanged meanwhile is another matter: it is not waited for. */
  async #waitForLink(): Promise<boolean> {
    const isAwaited = () =>
      !this.#registers.isLinkActive && (this.#events & SlotStatus.PRESENCE_CHANGED) === 0;
    await this.#waitWhile(isAwaited, this.#options.linkTimeoutMs);
    return this.#registers.isLinkActive;
  }

  #indicate(attention: number, power: number): Promise<void> {
    return this.#command(INDICATORS, attention | power);
  }

  /** One command at a time. A port that never says that it is done is not waited for for ever. */
  async #command(mask: number, bits: number): Promise<void> {
    this.#commandPending = this.#registers.completesCommands;
    this.#registers.command(mask, bits);
    this.interrupt();
    await this.#waitWhile(() => this.#commandPending, this.#options.commandTimeoutMs);
  }

  #sleep(ms: number): Promise<void> {
    return ms === 0 ? Promise.resolve() : this.#waitWhile(() => true, ms);
  }

  /** Resolves once an event has made the condition false, the time is over, or the driver stops. */
  async #waitWhile(condition: () => boolean, timeoutMs: number): Promise<void> {
    if (!condition()) return;
    let isOver = false;
    const cancel = this.#options.timers.after(timeoutMs, () => {
      isOver = true;
      this.#stir();
    });
    while (!isOver && !this.#isStopped && condition()) {
      await new Promise<void>((resolve) => {
        this.#stir = resolve;
      });
    }
    cancel();
  }
}

function withDefaults(options: PciehpOptions): Required<PciehpOptions> {
  return {
    blinkMs: options.blinkMs ?? 5000,
    linkTimeoutMs: options.linkTimeoutMs ?? 1000,
    commandTimeoutMs: options.commandTimeoutMs ?? 1000,
    powerOffMs: options.powerOffMs ?? 1000,
    timers: options.timers ?? systemTimers,
  };
}
