/** passt, started by the daemon for a process that has no network. It ends with the other end of its socket: with the card, or its process. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { closeFd, setBlocking, socketPair } from '../../host/index.js';
import type { PasstNetwork } from '../control/api.js';
import { cannotStartPasst, passtArguments, passtRefused, STARTED_LINE, STARTED_MS } from './passt.js';

const LOOK_MS = 5;

/** Our end of its socket. @throws ChassisError NETWORK_UNAVAILABLE, with what passt says */
export async function connectPasst(network: PasstNetwork, logPath: string): Promise<number> {
  const [ours, theirs] = socketPair();
  setBlocking(theirs);
  // A file: passt would end where nobody reads what it says, and it is to outlive this daemon.
  const log = openSync(logPath, 'w', 0o600);
  const child = spawn('passt', ['--foreground', '--fd', '3', ...passtArguments(network)], {
    ...{ detached: true, stdio: ['ignore', log, log, theirs] },
  });
  child.unref();
  closeFd(theirs);
  closeSync(log);
  let failure: Error | undefined;
  const said = () => readFileSync(logPath, 'utf8');
  child.once('error', (error: NodeJS.ErrnoException) => (failure = cannotStartPasst(error)));
  child.once('exit', () => (failure = passtRefused(said())));
  for (const end = performance.now() + STARTED_MS; performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (failure !== undefined || STARTED_LINE.test(said())) break;
  }
  if (failure === undefined) return ours;
  closeFd(ours);
  throw failure;
}
