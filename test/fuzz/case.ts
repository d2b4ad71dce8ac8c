import type { Random } from '../support/random.js';

/** What a fuzzer runs: small whole numbers, of which every one means something, so that any change of a case is a case. */
export interface FuzzCase {
  /** What the case starts with. */
  readonly setup: readonly number[];
  /** What is done then, one after the other: a kind and its arguments. */
  readonly steps: readonly (readonly number[])[];
}

export const MAX_NUMBER = 0x1_0000;
const MAX_STEPS = 120;
/** Where things go wrong more often than elsewhere. */
const INTERESTING = [0, 1, 2, 3, 4, 7, 8, 15, 16, 255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff];

/** One line of a corpus: `1.2.3 4.5 6.7.8`, the setup first. */
export function encodeCase({ setup, steps }: FuzzCase): string {
  return [setup, ...steps].map((numbers) => numbers.join('.')).join(' ');
}

export function decodeCase(line: string): FuzzCase {
  const [setup, ...steps] = line.split(' ').map((part) => part.split('.').map(Number));
  return { setup, steps };
}

/** Another case made of one, and now and then of the end of a second one. */
export function mutated(one: FuzzCase, other: FuzzCase, random: Random, newStep: () => number[]): FuzzCase {
  const setup = [...one.setup];
  let steps = [...one.steps];
  if (random(4) === 0) setup[random(setup.length)] = anyNumber(random);
  if (random(6) === 0)
    steps = [...steps.slice(0, random(steps.length + 1)), ...other.steps.slice(random(other.steps.length))];
  for (let changes = 1 + random(24); changes > 0; changes--) {
    const at = random(steps.length + 1);
    const choice = random(10);
    if (choice < 5 || at === steps.length) steps.splice(at, 0, newStep());
    else if (choice < 7) steps.splice(at, 1);
    else if (choice === 7) steps.splice(at, 0, steps[random(steps.length)]);
    else steps[at] = changed(steps[at], random);
  }
  return { setup, steps: steps.slice(0, MAX_STEPS) };
}

export function anyNumber(random: Random): number {
  const choice = random(4);
  if (choice === 0) return INTERESTING[random(INTERESTING.length)];
  return random(choice === 1 ? MAX_NUMBER : 32);
}

function changed(numbers: readonly number[], random: Random): number[] {
  const copy = [...numbers];
  // The kind stays: another one would make nonsense of the arguments.
  copy[1 + random(copy.length - 1)] = anyNumber(random);
  return copy;
}
