/** `npm run demo`: a running Linux guest gains and loses directories of this machine. */
import { parseArgs } from 'node:util';
import { QemuUnavailableError } from '../testbed/errors.js';
import { Cleanup } from './cleanup.js';
import { demoInProcess } from './in-process.js';
import { Narration } from './narration.js';
import { demoQemu } from './qemu.js';

const USAGE = `npm run demo [-- --guest qemu|in-process]

Boots a guest, hot-plugs two directories and an in-memory file system into it, uses them from inside, and
pulls one out again. Without --guest: a real Linux in QEMU where one can be had, else the in-process guest.
`;

const abort = new AbortController();
const cleanup = new Cleanup();
const narration = new Narration(process.stdout, abort.signal);
const started = performance.now();

function guestChoice(): 'qemu' | 'in-process' | 'auto' | 'help' {
  const { values } = parseArgs({
    options: { guest: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) return 'help';
  const { guest = 'auto' } = values;
  if (guest === 'qemu' || guest === 'in-process' || guest === 'auto') return guest;
  throw new Error(`--guest ${guest}: it is qemu or in-process`);
}

async function tell(guest: 'qemu' | 'in-process' | 'auto'): Promise<void> {
  if (guest !== 'in-process') {
    try {
      return await demoQemu(narration, cleanup, abort.signal);
    } catch (error) {
      if (guest === 'qemu' || !(error instanceof QemuUnavailableError)) throw error;
      narration.say(
        `\nNo real guest on this machine: ${error.message}\nThe in-process guest takes its place.`,
      );
    }
  }
  await demoInProcess(narration);
}

/** Answers the exit code. */
async function main(): Promise<number> {
  let failure: unknown;
  try {
    const guest = guestChoice();
    if (guest === 'help') {
      narration.say(USAGE);
      return 0;
    }
    await tell(guest);
  } catch (error) {
    failure = error;
  }
  const left = await cleanup.run();
  for (const what of left) narration.say(`could not clean up: ${what}`);
  if (abort.signal.aborted) {
    narration.say('\nInterrupted; everything that was started is gone again.');
    return 130;
  }
  if (failure !== undefined) {
    process.stderr.write(`\nThe demo failed: ${(failure as Error).message}\n`);
    return 1;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  narration.say(`\nDone in ${seconds} s. Every process, socket and temporary file of it is gone.`);
  return left.length > 0 ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => abort.abort(new Error(`interrupted by ${signal}`)));
}
process.exitCode = await main();
