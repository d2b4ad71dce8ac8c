import type { VmTest } from './vm-tests.js';

export const MIB = 2 ** 20;

/** What is measured on a disk. In commands DEVICE stands for it. */
export type DiskTest = Omit<VmTest, 'prepare' | 'turns'>;

/** Operations of a random test, by depth: what takes a second or so. */
const RANDOM: readonly { readonly depth: number; readonly operations: number }[] = [
  { depth: 1, operations: 4000 },
  { depth: 32, operations: 12_000 },
];

export function diskTests(sizeMiB: number): DiskTest[] {
  const kinds = ['read', 'write'] as const;
  return [
    ...kinds.map((kind): DiskTest => {
      const command = `/blkbench seq-${kind} DEVICE ${sizeMiB}`;
      return { name: `seq ${kind} 1M`, unit: 'MiB/s', better: 'more', command, per: 'MiB' };
    }),
    ...RANDOM.flatMap(({ depth, operations }) =>
      kinds.map((kind): DiskTest => ({
        name: `random ${kind} 4K depth ${depth}`,
        unit: '/s',
        better: 'more',
        command: `/blkbench rand-${kind} DEVICE ${sizeMiB} ${operations} ${depth}`,
        per: '1000 operations',
        operations,
      })),
    ),
  ];
}
