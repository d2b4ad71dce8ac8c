/** From a guest to the host. */
import { mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { ChassisError } from '../../../manager/control/api.js';
import { GuestRun, type GuestAddress } from '../guest-run.js';
import type { Limits } from './archive-guard.js';
import type { Copied } from './copied.js';
import { guestFailure, guestKind } from './guest-place.js';
import { lstatOrNone, moveContents, moveInto } from './merge.js';
import { meansContents } from './place.js';
import { Unpacking } from './unpack.js';

/** @throws ChassisError SOURCE_MISSING, BAD_REQUEST, or GUEST_REFUSED for an archive that is no honest one: nothing is there of it then */
export async function copyOut(
  address: GuestAddress,
  from: string,
  to: string,
  limits: Limits,
): Promise<Copied> {
  const source = posix.normalize(from);
  const kind = await guestKind(address, source);
  if (kind === 'none' || kind === 'nowhere')
    throw new ChassisError('SOURCE_MISSING', `there is no ${from} in the guest`);
  const contents = kind === 'directory' && (meansContents(from) || source === '/');
  const target = await hostTarget(source, to, contents);
  // Beside its place, so that it can be moved there.
  const directory = await mkdtemp(join(dirname(target), '.chassis-cp-'));
  try {
    const whole = kind === 'directory';
    const guard = await receive(address, source, whole, directory, limits);
    if (whole) await moveDirectory(directory, target, contents);
    else await moveInto(await onlyEntry(directory, source), target);
    const { entries, bytes, skipped } = guard;
    return { entries, bytes, skipped };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Where it is to be; its directory is there. */
async function hostTarget(source: string, to: string, contents: boolean): Promise<string> {
  const path = resolve(to);
  const there = await stat(path).catch(() => undefined);
  if (there?.isDirectory() && !contents) return join(path, basename(source));
  if (there === undefined && (await stat(dirname(path)).catch(() => undefined))?.isDirectory() !== true)
    throw new ChassisError('SOURCE_MISSING', `there is no directory ${dirname(path)}`, 'make it first');
  return path;
}

async function receive(
  address: GuestAddress,
  source: string,
  whole: boolean,
  directory: string,
  limits: Limits,
) {
  const unpacking = new Unpacking(directory, limits);
  try {
    const errors: Buffer[] = [];
    const what = whole ? [source, '.'] : [posix.dirname(source), `./${posix.basename(source)}`];
    const run = new GuestRun(
      address,
      { command: ['tar', '-c', '-f', '-', '-C', ...what] },
      {
        onStdout: (bytes) => unpacking.write(bytes),
        onStderr: (bytes) => void (errors.length < 16 && errors.push(bytes)),
      },
    );
    const exitCode = await run.finished();
    if (exitCode !== 0)
      throw guestFailure('pack', source, exitCode ?? 1, Buffer.concat(errors).toString('utf8'));
    await unpacking.finish();
    return unpacking.guard;
  } finally {
    unpacking.close();
  }
}

async function onlyEntry(directory: string, source: string): Promise<string> {
  const path = join(directory, basename(source));
  const found = await lstatOrNone(path);
  if (found === undefined || found.isDirectory())
    throw new ChassisError(
      'GUEST_REFUSED',
      `the guest did not send ${source}: it is no file, or not what it was`,
    );
  return path;
}

/** A new directory takes the name; one that is there gets what is in it. */
async function moveDirectory(directory: string, target: string, contents: boolean): Promise<void> {
  const there = await lstatOrNone(target);
  if (there === undefined) return rename(directory, target);
  if (!contents && !there.isDirectory())
    throw new ChassisError('BAD_REQUEST', `${target} is something else than a directory here`);
  await moveContents(directory, target);
}
