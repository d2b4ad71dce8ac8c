/**
 * What the executables of the daemon's own processes share: `node entry.js --socket PATH --stamp PATH --log PATH`. Started by a daemon, each
 * outlives it, and serves the next one. It ends when it is asked to, or when nobody needs it any more.
 */
import { closeSync, constants, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Value } from '@sinclair/typebox/value';
import { flock, FlockOperation, Reactor } from '../host/index.js';
import { BoundedLog } from './device-process/bounded-log.js';
import { ControlSocket } from './device-process/control-socket.js';
import { GrantReceiver } from './device-process/grant-channel.js';
import { createLog } from './logging/create-log.js';
import type { Log, LogSettings } from './logging/log.js';
import {
  PROTOCOL_REVISION,
  PROTOCOL_VERSION,
  ProcessRequest,
  type Hello,
  type Reply,
} from './process-protocol.js';
import { stampOf } from './process-stamp.js';
import { Unclaimed, UNCLAIMED_MS } from './unclaimed.js';

/** What the process is for. */
export interface ProcessWork {
  /** Something of a guest's uses it: then it stays, whether there is a daemon or not. */
  readonly inUse: boolean;
  /** Takes one line of the daemon, parsed. @throws TypeError where it is no request: then the daemon is not ours */
  receive(message: unknown, reply: Reply): void;
  /** The daemon is gone, and with it who waited for what is under way. */
  daemonGone(): void;
  close(): Promise<void>;
}

export interface ProcessTools {
  readonly reactor: Reactor;
  /** What the daemon opened for it. */
  readonly grants: GrantReceiver;
  /** Sends to the daemon, if there is one. */
  readonly report: (report: object) => void;
  readonly log: Log;
  /** It takes the place of another process: its socket and its stamp are found there from now on. */
  readonly moveTo: (place: ProcessPlace) => void;
}

/** Where a process is found. */
export interface ProcessPlace {
  readonly socket: string;
  readonly stamp: string;
}

interface ProcessArguments {
  readonly socket: string;
  readonly stamp: string;
  readonly log: string;
  readonly logSettings: Partial<LogSettings>;
  readonly unclaimedMs: number;
}

/** Serves daemons. */
export function runProcess(begin: (tools: ProcessTools) => ProcessWork): void {
  serve(begin, readArguments()).catch((error: unknown) => {
    // Standard error is the log file: see `supervised-process.ts`.
    createLog({ write: (text) => process.stderr.write(text) }).error('it cannot begin', error);
    process.exit(1);
  });
}

async function serve(begin: (tools: ProcessTools) => ProcessWork, paths: ProcessArguments): Promise<void> {
  const file = new BoundedLog(paths.log);
  const log = createLog({ ...paths.logSettings, write: (text) => file.write(Buffer.from(text)) });
  // A bug that one device runs into must not cut off all others: not every VM gets a device back whose process died.
  process.on('uncaughtException', (error: unknown) => log.error('a bug', error));
  claimStamp(paths.stamp);
  const reactor = new Reactor({ onError: (error, fd) => log.with({ fd }).error('a bug', error) });
  const moveTo = ({ socket, stamp }: ProcessPlace) => {
    control.moveTo(socket);
    grants.moveTo(socket);
    unclaimed.moveTo(socket);
    renameSync(paths.stamp, stamp);
  };
  const grants = new GrantReceiver({ controlSocket: paths.socket, reactor, log: log.warn });
  grants.listen();
  const work = begin({ reactor, grants, report: (report) => control.send(report), log, moveTo });
  let ending = false;
  const end = (reason: string) => {
    if (ending) return;
    ending = true;
    log.info(`ends: ${reason}`);
    void work.close().finally(() => {
      control.close();
      grants.close();
      process.exit(0);
    });
  };
  const unclaimed = new Unclaimed({
    ...{ limitMs: paths.unclaimedMs, socketPath: paths.socket },
    inUse: () => work.inUse,
    onUnclaimed: () => end('no daemon asked for it, and no VM used it'),
  });
  const control = await ControlSocket.listen({
    path: paths.socket,
    onMessage: (message, reply) => {
      if (Value.Check(ProcessRequest, message)) answer(message, reply, end);
      else work.receive(message, reply);
    },
    onDaemon: () => unclaimed.claimed(),
    onDaemonGone: (problem) => {
      if (problem !== undefined) log.warn(`the control connection broke: ${problem}`);
      work.daemonGone();
      grants.forget();
      unclaimed.abandoned();
    },
  });
  process.on('SIGTERM', () => end('SIGTERM'));
  unclaimed.abandoned();
  reactor.start();
}

function answer({ id, method }: ProcessRequest, reply: Reply, end: (reason: string) => void): void {
  const hello: Hello = {
    ...{ protocol: PROTOCOL_VERSION, revision: PROTOCOL_REVISION },
    pid: process.pid,
  };
  reply({ id, result: method === 'hello' ? hello : {} });
  if (method === 'end') end('it was asked to');
}

/**
 * Says which process this is, in a file that is locked for as long as it lives: where a daemon was killed between starting a process and
 * noting that, the next one starts another, and only one may serve.
 */
function claimStamp(path: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  if (flock(fd, FlockOperation.LOCK_EX | FlockOperation.LOCK_NB) < 0) {
    closeSync(fd);
    throw new Error(`another process serves there already: ${path}`);
  }
  ftruncateSync(fd);
  writeSync(fd, JSON.stringify(stampOf(process.pid)), 0);
}

function readArguments(): ProcessArguments {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { socket: text, stamp: text, log: text, 'log-settings': text, 'unclaimed-ms': text },
  });
  const { socket, stamp, log, 'log-settings': settings = '{}' } = values;
  if (socket === undefined || stamp === undefined || log === undefined)
    throw new Error(
      'usage: entry.js --socket PATH --stamp PATH --log PATH [--log-settings JSON] [--unclaimed-ms N]',
    );
  const unclaimedMs = Number(values['unclaimed-ms'] ?? UNCLAIMED_MS);
  // Of our own daemon's making: `commandLine` in supervised-process.ts.
  return { socket, stamp, log, logSettings: JSON.parse(settings) as Partial<LogSettings>, unclaimedMs };
}
