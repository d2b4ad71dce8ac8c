import { QemuUnavailableError } from './errors.js';

const network =
  /Temporary failure resolving|Could not resolve|Could not connect|Cannot initiate|Unable to connect|Connection (failed|timed out|refused)|Network is unreachable/;
const keys = /NO_PUBKEY|is not signed|couldn't be verified|public key/;

/**
 * Tells apart the ways in which apt-get fails.
 * @param code Node's error code where the program did not start.
 * @param stderr what it said.
 */
export function aptFailure(code: string | undefined, stderr: string, cause: Error): QemuUnavailableError {
  const said = stderr.trim().split('\n').slice(-6).join('\n');
  if (code === 'ENOENT') {
    const ways = 'Use a Debian or Ubuntu machine or container, or install QEMU 10.1 or newer yourself.';
    return new QemuUnavailableError('NO_APT', 'this is not a Debian-like system: apt-get is missing', ways, {
      cause,
    });
  }
  if (network.test(stderr)) {
    const ways = "Check the network, apt's proxy settings, or name another mirror in CHASSIS_DEBIAN_MIRROR.";
    return new QemuUnavailableError('NO_NETWORK', `the Debian mirror cannot be reached:\n${said}`, ways, {
      cause,
    });
  }
  if (keys.test(stderr)) {
    const ways = 'Install or update the package debian-archive-keyring.';
    return new QemuUnavailableError(
      'NO_KEYRING',
      `the mirror's signature cannot be checked:\n${said}`,
      ways,
      { cause },
    );
  }
  return new QemuUnavailableError('APT_FAILED', `apt-get failed:\n${said}`, undefined, { cause });
}
