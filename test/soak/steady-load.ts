import type { LinuxGuest } from '../../testbed/guest.js';
import type { ShellResult } from '../../testbed/errors.js';

const STOP_FILE = '/tmp/stop-load';
const FILES = 8;
const FILE_BYTES = 256 * 1024;
/** Longer than any soak. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Writes files round robin, reads each back and compares checksums; ends at the first that differs. The mount has no cache, so that
 * what is read comes from the host. Prints the rounds, and the checksums of the files as they should be.
 */
function loadScript(folder: string): string {
  return `cd ${folder} && rm -f ${STOP_FILE} && head -c ${FILE_BYTES} /dev/urandom > /tmp/noise || exit 1
i=0
while [ ! -e ${STOP_FILE} ]; do
  f=load-$((i % ${FILES}))
  { echo $i; cat /tmp/noise; } > /tmp/wanted
  dd if=/tmp/wanted of=$f bs=64k 2>/dev/null || exit 1
  wanted=$(sha256sum < /tmp/wanted)
  found=$(sha256sum < $f)
  [ "$wanted" = "$found" ] || { echo "round $i of $f: $found instead of $wanted" >&2; exit 1; }
  echo "\${wanted%% *}  $f" > /tmp/sum-$f
  i=$((i + 1))
done
echo $i
cat /tmp/sum-*`;
}

export interface LoadResult {
  /** How often a file was written and read back. */
  readonly rounds: number;
  /** SHA-256 of what each file should hold, in hexadecimal digits, by its name. */
  readonly checksums: ReadonlyMap<string, string>;
}

/** Continuous I/O in a folder of the guest, checked as it goes. */
export class SteadyLoad {
  private readonly guest: LinuxGuest;
  private readonly running: Promise<ShellResult>;

  constructor(guest: LinuxGuest, folder: string) {
    this.guest = guest;
    this.running = guest.ok(loadScript(folder), { timeoutMs: NO_TIMEOUT_MS });
    // Whoever stops it hears of its failure.
    this.running.catch(() => undefined);
  }

  /** Ends it. @throws GuestCommandError where what was read was not what had been written */
  async stop(): Promise<LoadResult> {
    await this.guest.ok(`touch ${STOP_FILE}`);
    const [rounds, ...sums] = (await this.running).stdout.trimEnd().split('\n');
    const entries = sums.map((line) => line.split('  ')).map(([sum, name]): [string, string] => [name, sum]);
    return { rounds: Number(rounds), checksums: new Map(entries) };
  }
}
