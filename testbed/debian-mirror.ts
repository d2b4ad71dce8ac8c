import { execa, ExecaError } from 'execa';
import { aptFailure } from './apt-failure.js';
import { QemuUnavailableError } from './errors.js';

/**
 * The URI of a Debian mirror: `$CHASSIS_DEBIAN_MIRROR`, or the one that the system's own apt is configured with.
 * @throws QemuUnavailableError NO_APT; NO_MIRROR on systems that are not Debian (Ubuntu's mirrors do not carry Debian).
 */
export async function findMirror(signal?: AbortSignal): Promise<string> {
  const named = process.env.CHASSIS_DEBIAN_MIRROR;
  if (named) return named;
  const uri = mirrorFromUpdateUris(await updateUris(signal));
  if (uri !== undefined) return uri;
  const ways = 'Name one in CHASSIS_DEBIAN_MIRROR, as in a line of sources.list.';
  throw new QemuUnavailableError(
    'NO_MIRROR',
    "the system's apt is not configured with a Debian mirror",
    ways,
  );
}

/**
 * What `apt-get update` would fetch. Unlike `indextargets` it answers even where the package lists were deleted, as container
 * images do.
 */
async function updateUris(signal?: AbortSignal): Promise<string> {
  try {
    const { stdout } = await execa('apt-get', ['--print-uris', 'update'], {
      cancelSignal: signal,
      stdin: 'ignore',
    });
    return stdout;
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof ExecaError ? aptFailure(error.code, String(error.stderr ?? ''), error) : error;
  }
}

/**
 * Finds the Debian archive among lines like `'<uri>/dists/bookworm/InRelease' <file> 0`. Other vendors use Debian's code
 * names as well, so the archive is known by its folder: `debian` (or a mirror list of that name) by convention of all mirrors.
 */
export function mirrorFromUpdateUris(output: string): string | undefined {
  const uris = [...output.matchAll(/^'([^']+)\/dists\/[^/']+\/InRelease'/gm)].map((match) => match[1]);
  const isDebian = (uri: string) => /\/debian(\.list)?$/.test(uri) && !uri.startsWith('cdrom:');
  const candidates = uris.filter(isDebian);
  // The shortest: third parties keep theirs in folders of their own, such as linux/debian.
  return candidates.sort((a, b) => pathDepth(a) - pathDepth(b))[0];
}

function pathDepth(uri: string): number {
  return uri.split('/').length;
}
