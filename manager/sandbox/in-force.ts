/** What confines a process, as the kernel has it: whoever started it, and whatever was asked for. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Chassis } from '../control/api.js';

export type InForce = NonNullable<Chassis['deviceProcess']['sandbox']>;

const KINDS = ['user', 'mnt', 'net', 'ipc', 'uts', 'cgroup', 'pid'] as const;

/** Undefined where there is no such process. */
export function sandboxOf(pid: number): InForce | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '0';
    return {
      namespaces: KINDS.filter((kind) => namespaceOf(pid, kind) !== namespaceOf('self', kind)),
      noNewPrivileges: field('NoNewPrivs') === '1',
      seccomp: field('Seccomp') === '2',
      capabilities: field('CapEff'),
    };
  } catch {
    return undefined;
  }
}

/** It sees none of the host's files by their paths. */
export function isConfined(pid: number): boolean {
  return sandboxOf(pid)?.namespaces.includes('mnt') === true;
}

function namespaceOf(pid: number | 'self', kind: string): string {
  return readlinkSync(`/proc/${pid}/ns/${kind}`);
}
