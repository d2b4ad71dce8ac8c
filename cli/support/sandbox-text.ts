/** What confines a device process, in words. */
import type { Chassis } from '../../manager/control/api.js';

type Sandbox = NonNullable<Chassis['deviceProcess']['sandbox']>;

export function sandboxText(sandbox: Sandbox): string {
  const { namespaces, noNewPrivileges, seccomp, capabilities, reason } = sandbox;
  if (namespaces.length === 0) return `none: ${reason}`;
  return [
    `namespaces of its own: ${namespaces.join(', ')}`,
    `capabilities there: 0x${capabilities.replace(/^0+(?=.)/, '')}`,
    noNewPrivileges ? 'no new privileges' : 'new privileges possible',
    seccomp ? 'system calls filtered' : 'no filter of system calls',
  ].join('; ');
}
