/** Where something is copied from or to, as the command line says it. */
import { ChassisError } from '../../../manager/control/api.js';

export type Place =
  | { readonly kind: 'host'; readonly path: string }
  /** `chassis` is '' where there is only one. */
  | { readonly kind: 'guest'; readonly chassis: string; readonly path: string };

/** A chassis's name, or none, before a colon; what is meant of the host, though it has one, begins with `/` or `.`. */
const GUEST = /^([a-z0-9][a-z0-9-]{0,31})?:(.*)$/s;

/** @throws ChassisError BAD_REQUEST */
export function parsePlace(text: string): Place {
  const [, chassis = '', path] = GUEST.exec(text) ?? [];
  if (path === undefined) {
    if (text === '') throw new ChassisError('BAD_REQUEST', 'an empty path is no place');
    return { kind: 'host', path: text };
  }
  if (!path.startsWith('/') || path.includes('\0'))
    throw new ChassisError(
      'BAD_REQUEST',
      `${JSON.stringify(path)} is not an absolute path in the guest`,
      'write it as CHASSIS:/path',
    );
  return { kind: 'guest', chassis, path };
}

/** True where the contents of a directory are meant, and not it: its path ends with `/.`. */
export function meansContents(path: string): boolean {
  return path === '.' || path.endsWith('/.');
}
