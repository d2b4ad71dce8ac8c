/** What the executables of the daemon's own processes share: `node entry.js --socket PATH`. Started by the daemon, each ends with it. */
import { parseArgs } from 'node:util';
import { Reactor } from '../host/index.js';
import { ControlSocket } from './device-process/control-socket.js';
import { READY_LINE } from './process-protocol.js';

/** What the process is for. */
export interface ProcessWork {
  /** Takes one line of the daemon, parsed. @throws TypeError where it is no request: then the daemon is not ours */
  receive(message: unknown): void;
  close(): Promise<void>;
}

export interface ProcessTools {
  readonly reactor: Reactor;
  /** Sends to the daemon. */
  readonly report: (report: object) => void;
  readonly log: (message: string) => void;
}

const DAEMON_TIMEOUT_MS = 30_000;

function log(message: string): void {
  process.stderr.write(`${new Date().toISOString()} ${message}\n`);
}

/** Serves the daemon, and exits with it. */
export function runProcess(begin: (tools: ProcessTools) => ProcessWork): void {
  serve(begin).catch((error: unknown) => {
    log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exit(1);
  });
}

async function serve(begin: (tools: ProcessTools) => ProcessWork): Promise<void> {
  const { values } = parseArgs({ options: { socket: { type: 'string' } } });
  if (values.socket === undefined) throw new Error('usage: entry.js --socket PATH');
  const reactor = new Reactor({
    onError: (error, fd) => log(`fd ${fd}: ${error instanceof Error ? error.stack : String(error)}`),
  });
  const work = begin({ reactor, report: (report) => control.send(report), log });
  const end = (reason: string) => {
    log(`ends: ${reason}`);
    void work.close().finally(() => process.exit(0));
  };
  const control = await ControlSocket.listen({
    path: values.socket,
    onMessage: (message) => work.receive(message),
    onEnd: end,
    connectTimeoutMs: DAEMON_TIMEOUT_MS,
  });
  // A terminal's Ctrl-C reaches the daemon too, which ends this process when its guests' mounts have been seen to.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => {
    control.close();
    end('SIGTERM');
  });
  // A bug that one device runs into must not cut off all others: a VM does not get a device back whose process died.
  process.on('uncaughtException', (error: unknown) => {
    log(`a bug: ${error instanceof Error ? error.stack : String(error)}`);
  });
  // The daemon may be gone, and with it the other end of both pipes.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  reactor.start();
  process.stdout.write(READY_LINE + '\n');
}
