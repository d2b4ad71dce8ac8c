import type { Comparison } from './results.js';

/** What is measured in the guest. */
export interface VmTest {
  readonly name: string;
  readonly unit: string;
  readonly better: Comparison['better'];
  /** A shell command in the guest that prints one number. DIR stands for the folder, SIZE for the MiB of its large file. */
  readonly command: string;
  /** What has to be there, or to be gone, before; not measured. */
  readonly prepare: string;
  /** What interrupts are counted against, and how many of it the command does: MiB are as many as SIZE says. */
  readonly per: 'MiB' | '1000 operations';
  readonly operations?: number;
  /** How often a side has its turn within a round: more often where a turn is over in a moment. */
  readonly turns: number;
}

const SHORT_TURNS = 5;
const FILES = 2000;
const RANDOM_OPERATIONS = 4000;
const TAR_FILES = 500;
/** Processes of the guest that share the work of a bulk test. */
const JOBS = 8;

const LARGE_FILE = '[ -e DIR/sequential ] || /fsbench seq-write DIR SIZE buffered';
const SMALL_FILES = `[ -e DIR/file-00000 ] || /fsbench create DIR ${FILES}`;
const NO_SMALL_FILES = `! [ -e DIR/file-00000 ] || /fsbench unlink DIR ${FILES}`;

export const VM_TESTS: readonly VmTest[] = [
  ...(['buffered', 'direct'] as const).flatMap((mode) => [
    sequential('write', mode, 'true'),
    sequential('read', mode, LARGE_FILE),
  ]),
  bulk('write', 'true'),
  bulk('read', LARGE_FILE),
  random('read'),
  random('write'),
  metadata('create', NO_SMALL_FILES),
  metadata('stat', SMALL_FILES),
  metadata('unlink', SMALL_FILES),
  {
    name: `untar ${TAR_FILES} files`,
    unit: 's',
    better: 'less',
    command: '/fsbench time tar -xf /tmp/tree.tar -C DIR/tree',
    prepare: 'rm -rf DIR/tree; mkdir DIR/tree',
    per: '1000 operations',
    operations: TAR_FILES,
    turns: 1,
  },
];

/** Made once, in the guest's own memory, so that only the writing is measured. */
export const MAKE_TAR = `mkdir -p /tmp/tree && cd /tmp/tree && i=0
while [ $i -lt ${TAR_FILES} ]; do head -c $((i * 37)) /dev/zero > f$i; i=$((i+1)); done
cd /tmp && tar -cf tree.tar -C tree . && rm -rf tree`;

function sequential(kind: string, mode: string, prepare: string): VmTest {
  const command = `/fsbench seq-${kind} DIR SIZE ${mode}`;
  const name = `seq ${kind} 1M ${mode}`;
  return { name, unit: 'MiB/s', better: 'more', command, prepare, per: 'MiB', turns: SHORT_TURNS };
}

/** Many requests under way at once: what a device may publish together, and the guest may be told of together. */
function bulk(kind: string, prepare: string): VmTest {
  const command = `/fsbench seq-${kind} DIR SIZE direct ${JOBS}`;
  const name = `bulk ${kind} 1M direct, ${JOBS} at once`;
  return { name, unit: 'MiB/s', better: 'more', command, prepare, per: 'MiB', turns: SHORT_TURNS };
}

function random(kind: string): VmTest {
  return {
    name: `random ${kind} 4K depth 1`,
    unit: '/s',
    better: 'more',
    command: `/fsbench rand-${kind} DIR SIZE ${RANDOM_OPERATIONS}`,
    prepare: LARGE_FILE,
    per: '1000 operations',
    operations: RANDOM_OPERATIONS,
    turns: SHORT_TURNS,
  };
}

function metadata(kind: string, prepare: string): VmTest {
  return {
    name: `${kind} ${FILES} files`,
    unit: '/s',
    better: 'more',
    command: `/fsbench ${kind} DIR ${FILES}`,
    prepare,
    per: '1000 operations',
    operations: FILES,
    turns: 1,
  };
}
