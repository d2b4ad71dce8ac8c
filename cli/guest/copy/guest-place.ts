/** What is at a path in a guest. */
import { posix } from 'node:path';
import { ChassisError } from '../../../manager/control/api.js';
import { outputOf, type GuestAddress } from '../guest-run.js';

/** `nowhere`: not even its directory is there. */
const KINDS = ['directory', 'other', 'none', 'nowhere'] as const;
export type GuestKind = (typeof KINDS)[number];

const PROBE = `if [ -d "$1" ]; then echo directory
elif [ -e "$1" ] || [ -L "$1" ]; then echo other
elif [ -d "$2" ]; then echo none
else echo nowhere; fi`;

/** Links are followed, as far as they lead to a directory. */
export async function guestKind(address: GuestAddress, path: string): Promise<GuestKind> {
  const { exitCode, stdout, stderr } = await outputOf(address, [
    ...['sh', '-c', PROBE, 'sh', path, posix.dirname(path)],
  ]);
  const kind = KINDS.find((each) => each === stdout.trim());
  if (exitCode !== 0 || kind === undefined) throw guestFailure('look at', path, exitCode, stderr);
  return kind;
}

export function guestFailure(what: string, path: string, exitCode: number, stderr: string): ChassisError {
  const said = stderr
    .trim()
    .slice(0, 500)
    .replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ');
  return new ChassisError(
    'GUEST_REFUSED',
    `the guest could not ${what} ${path}: ${said === '' ? `exit code ${exitCode}` : said}`,
  );
}
