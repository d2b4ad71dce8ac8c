/** From the host to a guest. */
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { basename, posix, resolve } from 'node:path';
import { create } from 'tar';
import { ChassisError } from '../../../manager/control/api.js';
import { GuestRun, outputOf, type GuestAddress } from '../guest-run.js';
import type { Copied } from './copied.js';
import { guestFailure, guestKind } from './guest-place.js';
import { meansContents } from './place.js';

/** Into a file beside, so that a copy that breaks off leaves what was there. */
const WRITE_FILE = `set -e
new=$1.chassis-cp.$$
trap 'rm -f "$new"' EXIT
cat > "$new"
chmod "$2" "$new"
touch -d "@$3" "$new" 2>/dev/null || :
mv -f "$new" "$1"`;
const MAKE_LINK = 'rm -f "$1" && ln -s "$2" "$1"';
/** A directory that is there keeps its mode. */
const UNPACK = '[ -d "$1" ] || { mkdir "$1" && chmod "$2" "$1"; } && exec tar -x -p -o -f - -C "$1"';

/** @throws ChassisError SOURCE_MISSING, BAD_REQUEST, or GUEST_REFUSED with what the guest said */
export async function copyIn(address: GuestAddress, from: string, to: string): Promise<Copied> {
  const path = resolve(from);
  const source = await lstat(path).catch(() => undefined);
  if (source === undefined) throw new ChassisError('SOURCE_MISSING', `there is no ${path}`);
  const contents = source.isDirectory() && meansContents(from);
  const target = await guestTarget(address, path, to, contents);
  if (source.isDirectory()) return copyDirectory(address, path, source, target);
  if (source.isSymbolicLink()) await run(address, [MAKE_LINK, target, await readlink(path)], target);
  else if (source.isFile()) await copyFile(address, path, source, target);
  else throw new ChassisError('BAD_REQUEST', `${path} is neither a file nor a directory`);
  return { entries: 1, bytes: source.isFile() ? source.size : 0, skipped: 0 };
}

async function guestTarget(
  address: GuestAddress,
  path: string,
  to: string,
  contents: boolean,
): Promise<string> {
  const target = posix.normalize(to);
  const kind = await guestKind(address, target);
  if (kind === 'directory') return contents ? target : posix.join(target, basename(path));
  const isDirectory = (await lstat(path)).isDirectory();
  if (kind === 'nowhere')
    throw new ChassisError('BAD_REQUEST', `there is no directory ${posix.dirname(target)} in the guest`);
  if (kind === 'other' && isDirectory)
    throw new ChassisError('BAD_REQUEST', `${target} is something else than a directory in the guest`);
  if (!isDirectory && target.endsWith('/'))
    throw new ChassisError('BAD_REQUEST', `there is no directory ${target} in the guest`);
  return target.length > 1 && target.endsWith('/') ? target.slice(0, -1) : target;
}

async function run(address: GuestAddress, [script, ...words]: string[], target: string): Promise<void> {
  const { exitCode, stderr } = await outputOf(address, ['sh', '-c', script, 'sh', ...words]);
  if (exitCode !== 0) throw guestFailure('make', target, exitCode, stderr);
}

async function copyFile(address: GuestAddress, path: string, source: Stats, target: string): Promise<void> {
  if ((await guestKind(address, target)) === 'directory')
    throw new ChassisError('BAD_REQUEST', `${target} is a directory in the guest`);
  const words = [target, modeOf(source), String(Math.floor(source.mtimeMs / 1000))];
  await feed(address, [WRITE_FILE, ...words], createReadStream(path), target);
}

async function copyDirectory(
  address: GuestAddress,
  path: string,
  source: Stats,
  target: string,
): Promise<Copied> {
  const counts = { entries: 1, bytes: 0, skipped: 0 };
  const names = (await readdir(path)).map((name) => `./${name}`);
  const archive = create(
    {
      cwd: path,
      linkCache: new NoLinks(),
      filter: (_path, entry) => {
        const stats = entry as Stats;
        const isFit = stats.isFile() || stats.isDirectory() || stats.isSymbolicLink();
        if (isFit) counts.entries++;
        else counts.skipped++;
        if (stats.isFile()) counts.bytes += stats.size;
        return isFit;
      },
    },
    names,
  );
  await feed(address, [UNPACK, target, modeOf(source)], archive, target);
  return counts;
}

async function feed(
  address: GuestAddress,
  [script, ...words]: string[],
  input: AsyncIterable<Uint8Array>,
  target: string,
): Promise<void> {
  const errors: Buffer[] = [];
  const guest = new GuestRun(
    address,
    { command: ['sh', '-c', script, 'sh', ...words] },
    { input, onStderr: (bytes) => void (errors.length < 16 && errors.push(bytes)) },
  );
  const exitCode = await guest.finished();
  if (exitCode !== 0)
    throw guestFailure('write', target, exitCode ?? 1, Buffer.concat(errors).toString('utf8'));
}

function modeOf({ mode }: Stats): string {
  return (mode & 0o7777).toString(8);
}

/** Files of several names become as many files: names that an archive leads back to would be another path in the guest. */
class NoLinks extends Map<`${number}:${number}`, string> {
  override get(): undefined {
    return undefined;
  }
}
