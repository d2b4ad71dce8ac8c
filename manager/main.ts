/** The daemon's executable: `node main.js [--dir DIRECTORY] [--end] [--json]`. Runs until it is interrupted. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ChassisError } from './control/api.js';
import { apiSocketPath, defaultStateDirectory } from './control/state-directory.js';
import { Daemon } from './daemon.js';

function log(message: string): void {
  process.stderr.write(`chassis: ${message}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dir: { type: 'string' },
      end: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const directory = resolve(values.dir ?? defaultStateDirectory());
  const daemon = new Daemon({ directory, log, onShutdown: () => stop() });
  const stop = () => {
    (values.end ? daemon.end() : daemon.leave()).then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  // Before it starts, or an early signal would leave the lock behind.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  // A bug in one request must not end what all others wait for.
  process.on('uncaughtException', (error: unknown) => {
    log(`a bug: ${error instanceof Error ? error.stack : String(error)}`);
  });
  // Whoever read our output may be gone; that ends nothing.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  await daemon.start();
  const socket = apiSocketPath(directory);
  const { pid } = process;
  // One line either way, once requests are answered: whoever started the daemon waits for it.
  const ready = values.json ? JSON.stringify({ socket, pid }) : `chassis: serving at ${socket} (pid ${pid})`;
  process.stdout.write(`${ready}\n`);
}

function fail(error: unknown): never {
  if (error instanceof ChassisError) {
    log(error.message);
    if (error.suggestion !== undefined) log(error.suggestion);
  } else {
    log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  process.exit(1);
}

main().catch(fail);
