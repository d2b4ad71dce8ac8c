/** `node dist/testbed/main.js fetch|boot`: fetches the real guests' parts beforehand, or tries them out. */
import { findBusybox } from './busybox.js';
import { QemuUnavailableError } from './errors.js';
import { LinuxGuest } from './guest.js';
import { findKernel, kernelVersions, type KernelVersion } from './kernel.js';
import { findOvmf } from './ovmf.js';
import type { Progress } from './progress.js';
import { findQemu } from './qemu.js';

const usage = `node dist/testbed/main.js fetch          fetch QEMU, OVMF, the kernels and busybox into the cache
node dist/testbed/main.js boot [6.1|6.12]  boot a guest, run a command in it, and print how long it took
`;

const roundTrips = 20;
const abort = new AbortController();

async function main([command, ...rest]: string[]): Promise<void> {
  if (command === 'fetch' && rest.length === 0) return fetchAll();
  if (command === 'boot' && rest.length <= 1) return bootAll(rest.map(kernelVersion));
  throw new Error(`usage:\n${usage}`);
}

async function fetchAll(): Promise<void> {
  await timed('QEMU', async () => (await findQemu(report, abort.signal)).version.join('.'));
  await timed('OVMF', () => findOvmf(report, abort.signal));
  await timed('busybox', async () => (await findBusybox(report, abort.signal)).path);
  for (const version of kernelVersions) {
    await timed(`Linux ${version}`, async () => (await findKernel(version, report, abort.signal)).release);
  }
}

async function bootAll(versions: KernelVersion[]): Promise<void> {
  await fetchAll();
  const qemu = await findQemu(report, abort.signal);
  for (const kernel of versions.length > 0 ? versions : kernelVersions) {
    const guest = await timed(`boot Linux ${kernel}`, () =>
      LinuxGuest.boot({ qemu, kernel, signal: abort.signal }),
    );
    try {
      await timed('uname -a', async () => (await guest.ok('uname -a')).stdout.trim());
      await timed(`${roundTrips} commands`, async () => {
        for (let count = 0; count < roundTrips; count++) await guest.ok('true');
      });
    } finally {
      await timed('shutdown', async () => (await guest.shutdown()).exitCode);
    }
  }
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  const shown = typeof result === 'object' || result === undefined ? '' : `  ${String(result)}`;
  clearLine();
  process.stdout.write(
    `${what.padEnd(18)} ${(performance.now() - started).toFixed(0).padStart(7)} ms${shown}\n`,
  );
  return result;
}

/** On a terminal one line that is overwritten; in a log nothing but the results. */
function report({ step, percent, detail }: Progress): void {
  if (!process.stderr.isTTY) return;
  clearLine();
  process.stderr.write([step, percent && `${percent.toFixed(0)} %`, detail].filter(Boolean).join('  '));
}

function clearLine(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

function kernelVersion(text: string): KernelVersion {
  const version = kernelVersions.find((known) => known === text);
  if (version === undefined) throw new Error(`usage:\n${usage}`);
  return version;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => abort.abort(new Error(`interrupted by ${signal}`)));
}
try {
  await main(process.argv.slice(2));
} catch (error) {
  clearLine();
  process.stderr.write(
    `${error instanceof QemuUnavailableError ? `${error.code}: ` : ''}${(error as Error).message}\n`,
  );
  process.exitCode = 1;
}
