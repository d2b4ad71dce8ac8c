/** The executable of a device process: `node entry.js --socket PATH`. Started by the daemon, and ends with it. */
import { parseArgs } from 'node:util';
import { Reactor } from '../../host/index.js';
import { servedFunctions } from '../composition.js';
import { READY_LINE } from '../process-protocol.js';
import { ControlSocket } from './control-socket.js';
import { DeviceProcess } from './device-process.js';

const DAEMON_TIMEOUT_MS = 30_000;

function log(message: string): void {
  process.stderr.write(`${new Date().toISOString()} ${message}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { socket: { type: 'string' } } });
  if (values.socket === undefined) throw new Error('usage: entry.js --socket PATH');
  const reactor = new Reactor({
    onError: (error, fd) => log(`fd ${fd}: ${error instanceof Error ? error.stack : String(error)}`),
  });
  const devices = new DeviceProcess({
    createFunction: servedFunctions(reactor, log),
    report: (report) => control.send(report),
    log,
  });
  const end = (reason: string) => {
    log(`ends: ${reason}`);
    void devices.close().finally(() => process.exit(0));
  };
  const control = await ControlSocket.listen({
    path: values.socket,
    onMessage: (message) => devices.receive(message),
    onEnd: end,
    connectTimeoutMs: DAEMON_TIMEOUT_MS,
  });
  // A terminal's Ctrl-C reaches the daemon too, which ends this process when its guests' mounts have been seen to.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => {
    control.close();
    end('SIGTERM');
  });
  // A bug that one mount runs into must not cut off all others: a VM does not get a device back whose process died.
  process.on('uncaughtException', (error: unknown) => {
    log(`a bug: ${error instanceof Error ? error.stack : String(error)}`);
  });
  // The daemon may be gone, and with it the other end of both pipes.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  reactor.start();
  process.stdout.write(READY_LINE + '\n');
}

main().catch((error: unknown) => {
  log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(1);
});
