/** Policies and what they refused, for people. */
import { constants } from 'node:os';
import type { AuditEvent, Policy, PolicyView } from '../../manager/control/api.js';
import { sizeText } from './size.js';

/** The first of those that mean the same: EAGAIN, not EWOULDBLOCK. */
const ERRNO_NAMES = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/** A line for each setting; one where there is none. */
export function policyText(tag: string, { readOnly, revoked, policy }: PolicyView): string {
  const lines = settings(policy);
  const access = revoked ? 'revoked: everything is refused' : readOnly ? 'read-only' : 'read and write';
  return [`${tag}: ${access}`, ...lines.map((line) => `  ${line}`)].join('\n');
}

function settings(policy: Policy): string[] {
  const { allow, deny, maxBytes, maxFiles, maxFids, maxOpenFiles } = policy;
  return [
    ...(allow ?? []).map((pattern) => `allow           ${pattern}`),
    ...(allow?.length === 0 ? ['allow           nothing'] : []),
    ...(deny ?? []).map((pattern) => `deny            ${pattern}`),
    ...(maxBytes !== undefined ? [`quota-bytes     ${sizeText(maxBytes)}`] : []),
    ...(maxFiles !== undefined ? [`quota-files     ${maxFiles}`] : []),
    ...(maxFids !== undefined ? [`max-fids        ${maxFids}`] : []),
    ...(maxOpenFiles !== undefined ? [`max-open-files  ${maxOpenFiles}`] : []),
  ];
}

/** `2026-01-31T12:00:00.000Z EACCES open /path`; 'ok' for what was let through. */
export function eventText({ operation, path, errno, timeMs }: AuditEvent): string {
  const verdict = errno === 0 ? 'ok' : (ERRNO_NAMES.get(errno) ?? `errno ${errno}`);
  return `${new Date(timeMs).toISOString()} ${verdict} ${operation} ${path}`;
}

export function droppedText(count: number): string {
  return `(${count} more were too many to keep)`;
}
