/**
 * A slot that the operator wants back, asked for as hands would: press the attention button, watch the power indicator, take the
 * card out once it is dark (PCI Express Base 5.0, section 6.7.1). The button is one bit that a guest clears when it looks, so a
 * press is held back while another waits to be seen, and while the indicator blinks, when it would mean the opposite.
 */

/** What an operator can see. */
export interface SlotView {
  readonly powerIndicator: IndicatorState;
  /** Power is off and the indicator dark: the guest has let the slot go, or never took it. */
  readonly isDark: boolean;
  /** A press of the button that the guest has not looked at yet. */
  readonly buttonPending: boolean;
}

export type IndicatorState = 'on' | 'blink' | 'off';

/** What an operator can do. */
export interface SlotHands {
  pressButton(): void;
  /** Takes out what is in the slot. */
  takeOut(): void;
  /** Shows the guest the card once more, as though it had just been put in. */
  present(): void;
}

export type EjectionState =
  | 'idle'
  /** The button is to be pressed as soon as the guest is done with what it is doing. */
  | 'waiting'
  /** The button was pressed. */
  | 'asked'
  /** The indicator blinks: the guest is at it. */
  | 'answered'
  /** The guest has taken its answer back. It may be asked again. */
  | 'refused'
  /** No longer wanted, and the guest has not answered yet: nothing can be taken back before it blinks. */
  | 'withdrawing'
  /** The button was pressed a second time. */
  | 'withdrawn';

const WANTED: ReadonlySet<EjectionState> = new Set(['waiting', 'asked', 'answered', 'refused']);
/** Those in which the button was not pressed, or what came of it is known. */
const SETTLED: ReadonlySet<EjectionState> = new Set(['waiting', 'refused']);

export class Ejection {
  #state: EjectionState = 'idle';
  readonly #hands: SlotHands;

  constructor(hands: SlotHands) {
    this.#hands = hands;
  }

  get state(): EjectionState {
    return this.#state;
  }

  /** True while the slot is wanted back. */
  get isWanted(): boolean {
    return WANTED.has(this.#state);
  }

  /** Does nothing while the guest has yet to answer a request. */
  request(view: SlotView): void {
    if (this.isWanted && this.#state !== 'refused') return;
    this.#state = 'waiting';
    this.advance(view);
  }

  /** Takes the request back. A guest that lets the slot go all the same is shown the card again. */
  withdraw(view: SlotView): void {
    if (!this.isWanted) return;
    this.#state = SETTLED.has(this.#state) ? 'idle' : 'withdrawing';
    this.advance(view);
  }

  /** The slot is empty, or the guest that was asked is no more. */
  forget(): void {
    this.#state = 'idle';
  }

  /** What an operator sees may have changed. */
  advance(view: SlotView): void {
    if (this.#state === 'idle') return;
    if (view.isDark) this.#dark();
    else if (view.powerIndicator === 'blink') this.#blinking(view.buttonPending);
    else this.#steady(view.buttonPending);
  }

  #dark(): void {
    const { isWanted } = this;
    this.#state = 'idle';
    if (isWanted) this.#hands.takeOut();
    else this.#hands.present();
  }

  #blinking(buttonPending: boolean): void {
    if (this.#state === 'asked') this.#state = 'answered';
    else if (this.#state === 'withdrawing' && !buttonPending) this.#press('withdrawn');
  }

  #steady(buttonPending: boolean): void {
    if (this.#state === 'answered') this.#state = 'refused';
    if (buttonPending) return;
    if (this.#state === 'waiting') this.#press('asked');
    else if (this.#state === 'withdrawn') this.#state = 'idle';
  }

  /** The state first: pressing makes the guest and its slot move on. */
  #press(next: EjectionState): void {
    this.#state = next;
    this.#hands.pressButton();
  }
}
