/** What confines a process, as the kernel has it: whoever started it, and whatever was asked for. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { InForce } from '../control/api.js';
import type { Sandbox } from './sandbox.js';

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
      ...limitsOf(pid),
    };
  } catch {
    return undefined;
  }
}

/** The same, with why it is no more than that. Undefined without a sandbox that could say. */
export function explainedSandbox(pid: number, sandbox: Sandbox | undefined): InForce | undefined {
  const inForce = sandbox && sandboxOf(pid);
  if (inForce === undefined || inForce.seccomp) return inForce;
  return inForce.namespaces.length === 0
    ? { ...inForce, reason: sandbox?.reason }
    : { ...inForce, unfiltered: sandbox?.unfiltered };
}

/** Undefined where there is no limit. */
function limitsOf(pid: number): Pick<InForce, 'coreDumps' | 'openFiles'> {
  const limits = readFileSync(`/proc/${pid}/limits`, 'latin1');
  const hard = (name: string) => new RegExp(`^${name} +\\S+ +(\\S+)`, 'm').exec(limits)?.[1] ?? '';
  const openFiles = hard('Max open files');
  return {
    coreDumps: hard('Max core file size') !== '0',
    ...(openFiles !== 'unlimited' && { openFiles: Number(openFiles) }),
  };
}

/** It sees none of the host's files by their paths. */
export function isConfined(pid: number): boolean {
  return sandboxOf(pid)?.namespaces.includes('mnt') === true;
}

function namespaceOf(pid: number | 'self', kind: string): string {
  return readlinkSync(`/proc/${pid}/ns/${kind}`);
}
