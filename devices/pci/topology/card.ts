import type { PciFunction } from '../function.js';
import { DEVFNS, FUNCTIONS } from './defs.js';
import { Endpoint } from './endpoint.js';
import type { Occupant, Slot } from './slot.js';

/** A function for a card, and its number there. */
export interface CardFunction {
  /** 0–7; up to 255 where the guest has to know ARI (alternative routing-ID interpretation) to find it. */
  readonly number: number;
  readonly function: PciFunction;
}

/**
 * A card with one function or several. What only the card knows, its functions' config spaces say for it: the multi-function
 * bit, and where a number is above 7 the ARI capability (PCI Express Base 5.0, section 7.8.8), by which the guest finds the next.
 */
export class Card implements Occupant {
  /** By number. */
  readonly functions: readonly Endpoint[];
  seat: Slot | undefined;

  /** The functions are reset whenever the card gets or loses power. Numbers are unique, and one is 0. */
  constructor(functions: readonly CardFunction[]) {
    const sorted = [...functions].sort((a, b) => a.number - b.number);
    assertNumbers(sorted.map(({ number }) => number));
    const hasAri = sorted.some(({ number }) => number >= FUNCTIONS);
    this.functions = sorted.map(
      ({ number, function: pci }, i) =>
        new Endpoint(pci, {
          number,
          multiFunction: number === 0 && sorted.length > 1,
          nextFunction: hasAri ? (sorted.at(i + 1)?.number ?? 0) : undefined,
        }),
    );
  }
}

function assertNumbers(sorted: readonly number[]): void {
  const valid = sorted.every((number) => Number.isInteger(number) && number < DEVFNS);
  if (!valid || sorted.at(0) !== 0 || new Set(sorted).size !== sorted.length) {
    throw new RangeError(`functions need numbers of their own from 0 to ${DEVFNS - 1}, and one has to be 0`);
  }
}
