/** `npm run bench -- NAME [options]`: measurements, each against a peer in the same run. */
import { ninePServers } from './9p.js';
import { attach } from './attach.js';
import { hotplug } from './hotplug.js';
import { kicks } from './kicks.js';
import { ring } from './ring.js';
import { upgrade } from './upgrade.js';
import { vm9p } from './vm-9p.js';
import { vmBlk } from './vm-blk.js';
import { vmNet } from './vm-net.js';

interface Benchmark {
  readonly summary: string;
  run(options: readonly string[]): Promise<void>;
}

const BENCHMARKS: Record<string, Benchmark> = {
  'vm-9p': { summary: "9p in a Linux guest, beside QEMU's own virtio-9p", run: vm9p },
  'vm-blk': { summary: "disks in a Linux guest, beside QEMU's own virtio-blk", run: vmBlk },
  'vm-net': { summary: "network cards in a Linux guest, beside QEMU's own virtio-net", run: vmNet },
  '9p': { summary: 'the 9p server on a socket, beside diod; --in-process: by itself', run: ninePServers },
  ring: {
    summary: 'the device side of a virtqueue alone',
    run: (options) => ring(options.includes('--json')),
  },
  kicks: {
    summary: 'doorbells and interrupts: one a queue, one a device, none; suppressed and not',
    run: (options) => kicks(options.includes('--json')),
  },
  hotplug: {
    summary: 'attach and detach in one process and through the daemon, as mounts grow to 1,000',
    run: hotplug,
  },
  upgrade: { summary: 'how long a guest waits while its device process is replaced', run: upgrade },
  attach: { summary: "from typing attach to the guest seeing it, beside QEMU's device_add", run: attach },
};

function usage(): string {
  const rows = Object.entries(BENCHMARKS).map(([name, { summary }]) => `  ${name.padEnd(11)}${summary}`);
  return `npm run bench -- NAME [--json] [--help]\n\n${rows.join('\n')}\n`;
}

const [name, ...options] = process.argv.slice(2);
const benchmark = name === undefined ? undefined : BENCHMARKS[name];
if (benchmark === undefined) {
  const asked = name === undefined || name === '--help' || name === '-h';
  (asked ? process.stdout : process.stderr).write(
    asked ? usage() : `no benchmark is called ${name}\n\n${usage()}`,
  );
  process.exitCode = asked ? 0 : 2;
} else {
  await benchmark.run(options).catch((error: Error) => {
    process.stderr.write(`the benchmark failed: ${error.message}\n`);
    process.exitCode = 1;
  });
}
