import { spawnSync } from 'node:child_process';
import koffi from 'koffi';

const CLONE_NEWNET = 0x40000000;

/**
 * Moves this process's main thread, and what it starts from now on, into a network namespace of its own. Answers why that cannot be, or
 * undefined; under CI, where root is to be had, it throws.
 */
export function enterNetworkNamespace(): string | undefined {
  const problem = enter();
  if (problem !== undefined && process.env.CI === 'true') throw new Error(problem);
  return problem;
}

function enter(): string | undefined {
  const unshare = koffi.load(null).func('unshare', 'int', ['int']) as (flags: number) => number;
  if (unshare(CLONE_NEWNET) !== 0) return `no network namespace: errno ${koffi.errno()}`;
  if (spawnSync('ip', ['link', 'set', 'lo', 'up']).status !== 0) return 'no `ip` to set interfaces up with';
  const bridge = spawnSync('ip', ['link', 'add', 'br0', 'up', 'type', 'bridge', 'mcast_snooping', '0'], {
    encoding: 'utf8',
  });
  return bridge.status === 0 ? undefined : `no bridge: ${bridge.stderr.trim()}`;
}

export function ip(...words: string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
}
