import { expect } from 'vitest';
import { exactPart, type Holdings } from './holdings.js';

/**
 * What a process's private memory may grow by, however many the cycles: JavaScript heaps and QEMU's translated code move by up to
 * 10 MiB either way before they settle, the daemon's young generation by 25 MiB (in 3,000 cycles without a VM it went from 46 to 71 MiB, and no
 * further in the last 1,000). In 500 cycles it shows a leak of 50 KiB a cycle, and of 70 in the daemon; smaller ones take a longer soak.
 */
const PRIVATE_ALLOWANCE_KIB = { daemon: 36 * 1024, 'device process': 16 * 1024, QEMU: 16 * 1024 } as const;

/** Expects that all is held that was held before, and nothing else; prints what became of memory. */
export async function expectNothingLeft(before: Holdings, holdings: () => Promise<Holdings>): Promise<void> {
  // A VMM that has let a function go closes what belonged to it a moment later.
  const settled = expect.poll(async () => exactPart(await holdings()), { timeout: 20_000 });
  await settled.toEqual(exactPart(before));
  const after = await holdings();
  process.stdout.write(growth(before, after));
  for (const name of Object.keys(PRIVATE_ALLOWANCE_KIB) as (keyof Holdings['processes'])[]) {
    const grown = after.processes[name].privateKiB - before.processes[name].privateKiB;
    expect(grown, `${name}: KiB`).toBeLessThan(PRIVATE_ALLOWANCE_KIB[name]);
  }
}

function growth(before: Holdings, after: Holdings): string {
  const lines = Object.entries(after.processes).map(([name, { privateKiB, mappings }]) => {
    const first = before.processes[name as keyof Holdings['processes']];
    const memory = `private memory ${first.privateKiB} -> ${privateKiB} KiB`;
    return `  ${name}: ${memory}, anonymous mappings ${first.mappings.anonymous} -> ${mappings.anonymous}\n`;
  });
  return lines.join('');
}
