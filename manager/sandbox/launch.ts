/** Starts a process, confined or not, and says which one it is. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { limit, Rlimit } from '../../host/index.js';
import { identityMap, InfoFd, type Confined } from './bubblewrap.js';

/** What no process of ours uses: a dump of a guest's memory that stays on the disk, memory that is not swapped, and queues of messages. */
const { RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE } = Rlimit;

/** What bwrap says once the process is there, as far as it matters. */
const Info = Type.Object({ 'child-pid': Type.Integer({ minimum: 2 }) });

export interface Launched {
  /** The process's own; 0 where it could not be started. */
  readonly pid: number;
  /** Resolves with how it ended, once it has. */
  readonly ended: Promise<string>;
  readonly errorOutput: Readable | null;
  /** This process need not live until that one has ended. */
  leave(): void;
}

/** In a session of its own. `output` takes its standard output and error. */
export function launch(line: readonly string[], output: number): Launched {
  const child = spawn(process.execPath, line, { ...COMMON, stdio: ['ignore', output, output] });
  return { pid: child.pid ?? 0, ended: endOf(child), errorOutput: null, leave: () => child.unref() };
}

const COMMON = { detached: true, cwd: '/' } as const;

/** As `launch`, confined. Its users are those of the daemon's namespace, which only the daemon can have it be. */
export async function launchConfined(
  { program, args, filter }: Confined,
  output: number | 'pipe',
): Promise<Launched> {
  const stdio: StdioOptions = [
    'ignore',
    output,
    output,
    'pipe',
    'pipe',
    ...(filter ? ['pipe' as const] : []),
  ];
  const child = spawn(program, args, { ...COMMON, stdio });
  const ended = endOf(child);
  if (filter) pipeTo(child, InfoFd.filter).end(filter);
  const info = child.stdio[InfoFd.info] as Readable;
  const ready = pipeTo(child, InfoFd.ready);
  const pid = await Promise.race([childPid(info), ended.then(() => 0)]);
  if (pid === 0) ready.destroy();
  else begin(pid, ready);
  return { pid, ended, errorOutput: child.stderr, leave: () => child.unref() };
}

/** A pipe that it may leave unread: its end says why. */
function pipeTo(child: ChildProcess, fd: number): Writable {
  const pipes: readonly unknown[] = child.stdio;
  return (pipes[fd] as Writable).on('error', () => undefined);
}

/** A shell's way to say that a program was killed, and bwrap's: the signal's number and this. */
const KILLED = 128;

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`it could not be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      const name = signal ?? signalOf((code ?? 0) - KILLED);
      resolve(name === undefined ? `it exited with status ${code}` : `it was killed by ${name}`);
    });
  });
}

function signalOf(number: number): string | undefined {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
}

/** It waits until it has users. One that is gone already is seen to be by its end. */
function begin(pid: number, ready: Writable): void {
  try {
    for (const resource of [RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE]) limit(pid, resource, 0);
    if (process.geteuid?.() !== 0) writeFileSync(`/proc/${pid}/setgroups`, 'deny');
    for (const kind of ['uid_map', 'gid_map'] as const)
      writeFileSync(`/proc/${pid}/${kind}`, identityMap(kind));
    ready.end('\n');
  } catch {
    ready.destroy();
  }
}

/** 0 where it says none. */
async function childPid(info: Readable): Promise<number> {
  let text = '';
  info.setEncoding('utf8').on('data', (more: string) => (text += more));
  await once(info, 'close').catch(() => undefined);
  try {
    const said: unknown = JSON.parse(text);
    return Value.Check(Info, said) ? said['child-pid'] : 0;
  } catch {
    return 0;
  }
}
