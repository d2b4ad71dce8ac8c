/**
 * Measures one case in a process of its own, so that what V8 learned from other cases does not count: `ring.ts` asks for a figure at a time.
 * It runs with --expose-gc and with a young generation that no measurement fills.
 */
import { RingWorkload, type RingCase } from './ring-workload.js';

/** Nanoseconds of processor time a chain, or bytes of heap a chain. */
export type RingQuestion = { readonly chains: number; readonly measure: 'time' | 'heap' };

const workload = new RingWorkload(JSON.parse(process.argv[2]) as RingCase);
const collectGarbage = (globalThis as { gc?: () => void }).gc;

process.on('message', ({ chains, measure }: RingQuestion) => {
  process.send?.(measure === 'time' ? nanoseconds(chains) : heapBytes(chains));
});

/** Processor time, which the other processes of a busy machine do not count in. */
function nanoseconds(chains: number): number {
  const start = process.cpuUsage();
  workload.run(chains);
  const { user, system } = process.cpuUsage(start);
  return ((user + system) * 1000) / chains;
}

/** The second time of two: in the first, compiled code and its records may still be among what is allocated. */
function heapBytes(chains: number): number {
  workload.run(chains);
  collectGarbage?.();
  const before = process.memoryUsage().heapUsed;
  workload.run(chains);
  return Math.max(0, process.memoryUsage().heapUsed - before) / chains;
}
