/** The states of a device process's functions, to a file and from one. */
import { ChassisError } from '../control/api.js';
import { readBounded, writePrivate } from '../saved-state/private-file.js';
import { SAVED_BYTES_MAX } from '../saved-state/saved-file.js';
import { decodeStates, encodeStates, type FunctionFileState } from '../saved-state/states.js';
import type { ServedFunction } from './device-process.js';
import { nameOf } from './hand-over/giving.js';
import type { FunctionSpec } from './protocol.js';

export interface NamedFunction {
  readonly spec: FunctionSpec;
  readonly served: Pick<ServedFunction, 'saveToFile' | 'loadFromFile'>;
}

/**
 * Writes where all of them stand at this moment. Nothing is changed.
 * @throws ChassisError SAVE_REFUSED, which names each that cannot tell
 */
export function saveStates(functions: readonly NamedFunction[], path: string): void {
  const states: FunctionFileState[] = [];
  const problems: string[] = [];
  for (const { spec, served } of functions) {
    try {
      const state = served.saveToFile();
      if (state) states.push({ function: spec.function, ...state });
    } catch (error) {
      problems.push(`${nameOf(spec)}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (problems.length > 0) throw new ChassisError('SAVE_REFUSED', problems.join('\n'));
  writePrivate(path, encodeStates(states));
}

/** Has functions that no driver has used yet go on from such a file. Answers what is in the way, function by function. */
export async function loadStates(functions: readonly NamedFunction[], path: string): Promise<string[]> {
  const states = decodeStates(readBounded(path, SAVED_BYTES_MAX));
  if (typeof states === 'string') return [states];
  const problems = await Promise.all(states.map((state) => load(functions, state)));
  return problems.filter((problem) => problem !== undefined);
}

async function load(
  functions: readonly NamedFunction[],
  state: FunctionFileState,
): Promise<string | undefined> {
  const found = functions.find(({ spec }) => spec.function === state.function);
  if (!found) return `there is no ${state.function} for the state that the file has of it`;
  const problem = await found.served.loadFromFile(state);
  return problem && `${nameOf(found.spec)}: ${problem}`;
}
