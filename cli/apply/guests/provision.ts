/** Does the steps of a manifest in a guest: those that are due, in their order. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChassisError } from '../../../manager/control/api.js';
import { copyIn } from '../../guest/copy/copy-in.js';
import { GuestRun, type GuestAddress } from '../../guest/guest-run.js';
import {
  noteBeginning,
  noteEnd,
  noteStep,
  readRecord,
  type ProvisionRecord,
} from '../../guest/provision/record.js';
import type { DesiredStep } from '../plan/desired.js';
import { stepDigest } from './step-digest.js';
import { StepLog } from './step-log.js';

export interface ProvisionOptions {
  /** Where logs go, a file a step. */
  readonly logs: string;
  /** How long the guest may take to boot, and run its helper. */
  readonly bootTimeoutMs: number;
  readonly onStep: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface StepDone {
  readonly chassis: string;
  readonly step: string;
  readonly ran: boolean;
  readonly durationMs: number;
}

/** A step, and whether it is to be done. */
export interface StepState {
  readonly step: DesiredStep;
  readonly digest: string;
  readonly isDue: boolean;
}

const LOOK_MS = 500;
/** A helper that follows mounts and runs no commands may be just about to. */
const CHOICE_MS = 5000;
const GRACE_MS = 5000;
/** A script of its own is a file, so that it can name its interpreter, and read nothing of itself. */
const RUN_SCRIPT = `file=$(mktemp) || exit 125
trap 'rm -f "$file"' EXIT
cat > "$file" || exit 125
if [ "$(head -c 2 "$file")" = '#!' ]; then chmod 700 "$file" && "$file" </dev/null
else sh -e "$file" </dev/null; fi`;

/** @throws ChassisError PROVISION_FAILED with the step, COMMANDS_OFF where the guest has no part in it */
export async function provision(
  address: GuestAddress,
  steps: readonly DesiredStep[],
  options: ProvisionOptions,
): Promise<StepDone[]> {
  await commandsReady(address, options.bootTimeoutMs);
  const states = await stepStates(steps, await readRecord(address));
  const done: StepDone[] = [];
  if (states.some(({ isDue }) => isDue)) await noteBeginning(address);
  for (const [i, { step, digest, isDue }] of states.entries()) {
    const started = performance.now();
    if (isDue) {
      options.onStep(`provision ${address.chassis}: ${step.name} ...`);
      await perform(
        address,
        step,
        join(options.logs, `${String(i + 1).padStart(2, '0')}-${step.name}.log`),
        options,
      );
      await noteStep(address, step.name, digest);
      options.onStep(`provision ${address.chassis}: ${step.name} is done (${seconds(started)})`);
    }
    done.push({
      chassis: address.chassis,
      step: step.name,
      ran: isDue,
      durationMs: performance.now() - started,
    });
  }
  await noteEnd(address, allDigest(states));
  return done;
}

export async function stepStates(
  steps: readonly DesiredStep[],
  record: ProvisionRecord,
): Promise<StepState[]> {
  const states: StepState[] = [];
  for (const step of steps) {
    const digest = await stepDigest(step);
    const before = record.get(step.name);
    const isDue =
      step.when === 'always' || before === undefined || (step.when === 'changed' && before !== digest);
    states.push({ step, digest, isDue });
  }
  return states;
}

/** @throws ChassisError COMMANDS_OFF, GUEST_TIMEOUT */
async function commandsReady({ client, chassis }: GuestAddress, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let chosen: number | undefined;
  for (;;) {
    const { vmm, guestHelper, guestCommands, mounts } = await client.get(chassis);
    if (guestCommands) return;
    const hasTree = mounts.some(({ via }) => via === 'tree');
    if (!hasTree || !vmm) throw off(chassis, vmm ? 'its guest has no mount tree' : 'no VM is connected');
    if (guestHelper) chosen ??= performance.now();
    if (chosen !== undefined && performance.now() > chosen + CHOICE_MS)
      throw off(chassis, 'the helper in the guest runs no commands');
    if (performance.now() > deadline)
      throw new ChassisError(
        'GUEST_TIMEOUT',
        `the guest of ${chassis} runs no helper after ${timeoutMs / 1000} s`,
        'run it there: chassis guest-setup --exec',
      );
    await sleep(LOOK_MS);
  }
}

function off(chassis: string, why: string): ChassisError {
  return new ChassisError(
    'COMMANDS_OFF',
    `${chassis} cannot be provisioned: ${why}`,
    'attach a mount over the tree (via: tree, or a target), and run the helper in the guest: chassis guest-setup --exec',
  );
}

async function perform(
  address: GuestAddress,
  step: DesiredStep,
  logPath: string,
  options: ProvisionOptions,
): Promise<void> {
  const log = new StepLog(logPath);
  try {
    if (step.action.type === 'copy') await copyIn(address, step.action.from, step.action.to);
    else await runScript(address, step, step.action.script, log, options);
  } catch (error) {
    if (!(error instanceof ChassisError) || error.code === 'PROVISION_FAILED') throw error;
    throw failed(address.chassis, step, error.message, log);
  } finally {
    log.close();
  }
}

async function runScript(
  address: GuestAddress,
  step: DesiredStep,
  script: string,
  log: StepLog,
  { signal }: ProvisionOptions,
): Promise<void> {
  const { user, timeoutMs } = step;
  const take = (bytes: Buffer) => log.write(bytes);
  const run = new GuestRun(
    address,
    { command: ['sh', '-c', RUN_SCRIPT], ...(user !== undefined && { user }) },
    { input: only(Buffer.from(script)), onStdout: take, onStderr: take },
  );
  let why: string | undefined;
  const end = (reason: string) => {
    why ??= reason;
    void run.signal('TERM').catch(() => undefined);
    setTimeout(() => run.giveUp(), GRACE_MS).unref();
  };
  const timer = setTimeout(() => end(`it took longer than ${timeoutMs / 1000} s`), timeoutMs);
  const interrupt = () => end('it was interrupted');
  signal?.addEventListener('abort', interrupt, { once: true });
  try {
    const exitCode = await run.finished();
    if (why !== undefined) throw failed(address.chassis, step, why, log);
    if (exitCode !== 0) throw failed(address.chassis, step, `exit code ${exitCode}`, log);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', interrupt);
  }
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function failed(chassis: string, { name }: DesiredStep, why: string, log: StepLog): ChassisError {
  const said = log.lastLines;
  const error = new ChassisError(
    'PROVISION_FAILED',
    `the step ${name} of ${chassis} failed: ${why}${said === '' ? '' : `\n${said}`}`,
    `all that it printed is in ${log.path}; the steps before it are done, and are not done again`,
  );
  return Object.assign(error, { details: { step: name, why, log: log.path } });
}

function allDigest(states: readonly StepState[]): string {
  const hash = createHash('sha256');
  for (const { step, digest } of states) hash.update(`${step.name} ${digest}\n`);
  return hash.digest('hex');
}

function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}
