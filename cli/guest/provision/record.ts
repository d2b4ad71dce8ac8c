/**
 * What of a provisioning a guest has behind it. The guest keeps that itself, on what it boots from: a new guest has nothing behind it, one that
 * is set back to an earlier state has what it had then, and no daemon has to know which guest is which.
 */
import { ChassisError } from '../../../manager/control/api.js';
import { outputOf, type GuestAddress } from '../guest-run.js';
import { guestFailure } from '../copy/guest-place.js';

const DIRECTORY = '/var/lib/chassis/provision';
/** What all of the steps together were when they were done last. */
const ALL = '.all';

/** Digests of the steps that were done last, by the steps' names. */
export type ProvisionRecord = ReadonlyMap<string, string>;

const READ = `cd ${DIRECTORY} 2>/dev/null || exit 0
for name in .all *; do [ -f "$name" ] && printf '%s %.64s\\n' "$name" "$(cat "$name")"; done
exit 0`;
const WRITE = `mkdir -p ${DIRECTORY} && cd ${DIRECTORY} && printf '%s\\n' "$2" > ".new" && mv -f .new "$1"`;
const FORGET = `rm -f ${DIRECTORY}/${ALL}`;

/** @throws ChassisError COMMANDS_OFF and others of a command */
export async function readRecord(address: GuestAddress): Promise<ProvisionRecord> {
  const { exitCode, stdout, stderr } = await outputOf(address, ['sh', '-c', READ]);
  if (exitCode !== 0) throw guestFailure('read', DIRECTORY, exitCode, stderr);
  const lines = Array.from(stdout.matchAll(/^(\S+) ([0-9a-f]{64})$/gm), ([, name, digest]) => [name, digest]);
  return new Map(lines as [string, string][]);
}

/** True once everything was done that the last apply had. */
export async function isProvisioned(address: GuestAddress): Promise<boolean> {
  try {
    return (await readRecord(address)).has(ALL);
  } catch (error) {
    // It may be there yet.
    const later = ['COMMANDS_OFF', 'COMMAND_LOST', 'GUEST_TIMEOUT', 'CHASSIS_IN_USE'];
    if (error instanceof ChassisError && later.includes(error.code)) return false;
    throw error;
  }
}

export async function noteStep(address: GuestAddress, name: string, digest: string): Promise<void> {
  await must(address, [WRITE, name, digest]);
}

/** Nothing is provisioned while it is being done. */
export async function noteBeginning(address: GuestAddress): Promise<void> {
  await must(address, [FORGET]);
}

export async function noteEnd(address: GuestAddress, digest: string): Promise<void> {
  await must(address, [WRITE, ALL, digest]);
}

export function allDone(record: ProvisionRecord): string | undefined {
  return record.get(ALL);
}

async function must(address: GuestAddress, [script, ...words]: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await outputOf(address, ['sh', '-c', script, 'sh', ...words]);
  if (exitCode !== 0) throw guestFailure('write to', DIRECTORY, exitCode, stderr);
}
