import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** What tells this host from others, the same after each boot: machine-id(5), or its name where there is none. */
export function hostIdentity(): string {
  try {
    return readFileSync('/etc/machine-id', 'utf8').trim();
  } catch {
    return hostname();
  }
}
