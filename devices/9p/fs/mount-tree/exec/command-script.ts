/** A command as the script that the guest's shell runs: every word of it is one word there, whatever is in it. */
import { shellQuote } from '../../../../shell-quote.js';

/** What is to be run in the guest. */
export interface CommandRequest {
  /** The program and its arguments; it is looked for in the guest's PATH. */
  readonly command: readonly string[];
  /** Added to the environment of the guest's helper. */
  readonly env: Readonly<Record<string, string>>;
  /** `/` without it. */
  readonly cwd?: string;
  /** A name that the guest knows; root without it. */
  readonly user?: string;
}

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const USER = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
/** Where Linux has no room for more as one argument, which is what `su` gets it as. */
const SCRIPT_MAX_BYTES = 120_000;

/**
 * The script. Its descriptor 6 is the command's `status`.
 *
 * @throws RangeError with what of the request cannot be
 */
export function commandScript(request: CommandRequest): Uint8Array {
  const { command, user } = request;
  if (command.length === 0 || command[0] === '') throw new RangeError('there is no command');
  if (user !== undefined && !USER.test(user)) throw new RangeError(`${user} is not a user's name`);
  const body = bodyOf(request);
  const script = `printf 'started %s\\n' "$$" >&6 || exit 125
exec 6>&-
[ -n "\${PATH-}" ] || PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ -n "\${HOME-}" ] || HOME=/root
export PATH HOME
${user === undefined ? body : `exec su -s /bin/sh ${shellQuote(user)} -c ${shellQuote(body)}\n`}`;
  if (script.includes('\0')) throw new RangeError('no word of a command can have a NUL');
  const bytes = new TextEncoder().encode(script);
  if (bytes.length > SCRIPT_MAX_BYTES)
    throw new RangeError(`a command with its environment has at most ${SCRIPT_MAX_BYTES} bytes`);
  return bytes;
}

function bodyOf({ command, env, cwd = '/' }: CommandRequest): string {
  const variables = Object.entries(env).map(([name, value]) => {
    if (!VARIABLE.test(name)) throw new RangeError(`${JSON.stringify(name)} is not a variable's name`);
    return `export ${name}=${shellQuote(value)}\n`;
  });
  // What begins with a dash is a directory's name all the same.
  const place = cwd.startsWith('-') ? `./${cwd}` : cwd;
  return `${variables.join('')}cd ${shellQuote(place)} || exit 125\nexec ${command.map(shellQuote).join(' ')}\n`;
}
