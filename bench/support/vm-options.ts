import { kernelVersions, type KernelVersion } from '../../testbed/kernel.js';
import { positive } from './whole-number.js';

/** What every benchmark in a guest can be told, for `parseArgs`. */
export const VM_OPTIONS = {
  kernel: { type: 'string', default: '6.1' },
  only: { type: 'string', default: '' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

export interface VmValues {
  readonly kernel: string;
  readonly rounds: string;
  readonly size: string;
  readonly only: string;
  readonly json: boolean;
}

export interface VmSettings<Test> {
  readonly kernel: KernelVersion;
  readonly rounds: number;
  readonly sizeMiB: number;
  readonly tests: readonly Test[];
  readonly json: boolean;
}

/** What `parseArgs` made of the options. @throws Error for what they cannot be */
export function vmSettings<Test extends { readonly name: string }>(
  values: VmValues,
  testsOf: (sizeMiB: number) => readonly Test[],
): VmSettings<Test> {
  const kernel = kernelVersions.find((version) => version === values.kernel);
  if (kernel === undefined)
    throw new Error(`--kernel ${values.kernel}: it is one of ${kernelVersions.join(', ')}`);
  const sizeMiB = positive('--size', values.size);
  const tests = testsOf(sizeMiB).filter(({ name }) => name.includes(values.only));
  if (tests.length === 0) throw new Error(`--only ${values.only}: no test's name contains that`);
  return { kernel, rounds: positive('--rounds', values.rounds), sizeMiB, tests, json: values.json };
}
