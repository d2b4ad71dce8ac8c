/**
 * The daemon's executable: `node main.js [--dir DIRECTORY] [--end] [--sandbox MODE] [--web PORT] [--json] [--log-format FORMAT]
 * [--log-level LEVEL]`. Runs until it is interrupted.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ChassisError } from './control/api.js';
import { apiSocketPath, defaultStateDirectory } from './control/state-directory.js';
import { Daemon } from './daemon.js';
import { createLog, logSettings } from './logging/create-log.js';
import { LogFormat, LogLevel, type LogSettings } from './logging/log.js';
import { Sandbox, SandboxMode } from './sandbox/sandbox.js';
import { WebServer } from './web/web-server.js';

function daemonLog(settings: Partial<LogSettings> = {}) {
  return createLog({ ...settings, head: 'chassis: ', write: (text) => process.stderr.write(text) });
}

/** Until the arguments are read, which may say another one. */
let log = daemonLog();

const OPTIONS = {
  'log-format': { type: 'string', default: LogFormat.text },
  'log-level': { type: 'string', default: LogLevel.info },
  dir: { type: 'string' },
  end: { type: 'boolean', default: false },
  sandbox: { type: 'string', default: SandboxMode.auto },
  web: { type: 'string' },
  json: { type: 'boolean', default: false },
  /** Whoever runs this in a process of its own says what went wrong. */
  within: { type: 'boolean', default: false },
} as const;

const { values } = parseArgs({ options: OPTIONS });

async function main(): Promise<void> {
  log = daemonLog(logSettings(values['log-level'], values['log-format']));
  const directory = resolve(values.dir ?? defaultStateDirectory());
  const sandbox = new Sandbox(sandboxMode(values.sandbox));
  const daemon = new Daemon({ directory, log, sandbox, onShutdown: () => stop() });
  const socket = apiSocketPath(directory);
  const page =
    values.web === undefined ? undefined : new WebServer({ socketPath: socket, port: Number(values.web) });
  const stop = () => {
    page?.stop();
    (values.end ? daemon.end() : daemon.leave()).then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  // Before it starts, or an early signal would leave the lock behind.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  // A bug in one request must not end what all others wait for.
  process.on('uncaughtException', (error: unknown) => {
    log.error('a bug', error);
  });
  // Whoever read our output may be gone; that ends nothing.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const web = await page?.start();
  await daemon.start();
  const { pid } = process;
  // One line in JSON, once requests are answered: whoever started the daemon waits for it.
  const ready = values.json
    ? JSON.stringify({ socket, pid, ...(web !== undefined && { web }) })
    : `chassis: serving at ${socket} (pid ${pid})${web === undefined ? '' : `\nchassis: the page is at ${web}`}`;
  process.stdout.write(`${ready}\n`);
}

function sandboxMode(text: string): SandboxMode {
  const mode = Object.values(SandboxMode).find((each) => each === text);
  if (mode) return mode;
  throw new ChassisError('BAD_REQUEST', `--sandbox is ${Object.values(SandboxMode).join(', ')}, not ${text}`);
}

function fail(error: unknown): never {
  log.error('ends', error);
  process.exit(1);
}

/** Resolves once it serves. */
export const started = main();
if (!values.within) started.catch(fail);
