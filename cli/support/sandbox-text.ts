/** What confines a process, in words. */
import type { InForce } from '../../manager/control/api.js';

export function sandboxText(sandbox: InForce): string {
  const { namespaces, noNewPrivileges, seccomp, capabilities, coreDumps, openFiles, reason, unfiltered } =
    sandbox;
  if (namespaces.length === 0) return `none: ${reason}`;
  return [
    `namespaces of its own: ${namespaces.join(', ')}`,
    `capabilities there: 0x${capabilities.replace(/^0+(?=.)/, '')}`,
    noNewPrivileges ? 'no new privileges' : 'new privileges possible',
    seccomp ? 'system calls filtered' : `no filter of system calls: ${unfiltered ?? 'none was asked for'}`,
    coreDumps ? 'core dumps possible' : 'no core dumps',
    openFiles === undefined ? 'any number of open files' : `at most ${openFiles} open files`,
  ].join('; ');
}
