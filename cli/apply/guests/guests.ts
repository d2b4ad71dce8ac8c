/** After devices are as a manifest says: its VMs, and what is done in their guests. */
import { join } from 'node:path';
import { ChassisError } from '../../../manager/control/api.js';
import type { ChassisClient } from '../../../manager/control/client.js';
import { readRecord } from '../../guest/provision/record.js';
import type { Desired, DesiredChassis } from '../plan/desired.js';
import { provision, stepStates, type ProvisionOptions, type StepDone } from './provision.js';
import { startVm } from './start-vm.js';

export interface GuestsOptions extends Omit<ProvisionOptions, 'logs'> {
  /** The daemon's directory: logs are below it. */
  readonly stateDirectory: string;
  readonly timeoutMs: number;
}

export interface GuestsDone {
  /** The chassis whose VMs were started. */
  readonly started: readonly string[];
  readonly steps: readonly StepDone[];
}

/** @throws ChassisError of a VM that does not start, or of a step that failed; what was done stays done */
export async function bringUpGuests(
  client: ChassisClient,
  { chassis }: Desired,
  options: GuestsOptions,
): Promise<GuestsDone> {
  const started: string[] = [];
  const steps: StepDone[] = [];
  for (const { name, vm, provision: wanted = [] } of chassis) {
    const address = { client, chassis: name };
    if (vm && !(await client.get(name)).vmm) {
      options.onStep(`starting the VM of ${name} ...`);
      await startVm(address, vm, options.timeoutMs);
      started.push(name);
    }
    const logs = join(options.stateDirectory, 'provision', name);
    if (wanted.length > 0) steps.push(...(await provision(address, wanted, { ...options, logs })));
  }
  return { started, steps };
}

/** What is to be done, a line each; steps that are done each time are none of it. */
export async function guestsDrift(client: ChassisClient, { chassis }: Desired): Promise<string[]> {
  const lines: string[] = [];
  if (chassis.every(({ vm, provision: wanted }) => vm === undefined && wanted === undefined)) return lines;
  const actual = await client.list();
  for (const each of chassis) {
    const found = actual.find(({ name }) => name === each.name);
    if (each.vm && !found?.vmm) lines.push(`+ the VM of ${each.name} is to be started`);
    lines.push(...(await stepLines(client, each, found?.guestCommands === true)));
  }
  return lines;
}

async function stepLines(
  client: ChassisClient,
  { name, provision: wanted = [] }: DesiredChassis,
  canAsk: boolean,
): Promise<string[]> {
  if (wanted.length === 0) return [];
  if (!canAsk)
    return [`+ ${wanted.length} steps in ${name}, whose guest cannot be asked what of them is done`];
  try {
    const states = await stepStates(wanted, await readRecord({ client, chassis: name }));
    return states.flatMap(({ step, isDue }) =>
      isDue && step.when !== 'always' ? [`+ step ${step.name} in ${name} (${step.when})`] : [],
    );
  } catch (error) {
    if (!(error instanceof ChassisError)) throw error;
    return [`+ steps in ${name}: ${error.message}`];
  }
}
