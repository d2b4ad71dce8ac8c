/**
 * Where a daemon keeps its sockets: one private directory, held by one daemon at a time, swept of what a killed
 * predecessor left.
 */
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ChassisError } from './api.js';
import { isRunning, readStamp, stampOf } from '../process-stamp.js';

/** `sun_path` of sockaddr_un (Linux, unix(7)) has 108 bytes, the last of which is NUL. */
export const SOCKET_PATH_MAX_BYTES = 107;
/** The longest path below the directory: a name of 32 characters, `.vm/api.sock`; or `@`, 31 characters, `/switch.sock`. */
const LONGEST_NAME_BYTES = 1 + 32 + '.vm/api.sock'.length;

/**
 * Where the daemon's directory is, unless told otherwise: $CHASSIS_DIR, $XDG_RUNTIME_DIR/chassis, /run/chassis for root,
 * $TMPDIR/chassis-UID.
 */
export function defaultStateDirectory(
  env: NodeJS.ProcessEnv = process.env,
  uid = process.getuid?.() ?? 0,
): string {
  if (env.CHASSIS_DIR) return resolve(env.CHASSIS_DIR);
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'chassis');
  if (uid === 0) return '/run/chassis';
  return join(env.TMPDIR ?? tmpdir(), `chassis-${uid}`);
}

/**
 * Where changes of guests are kept, which outlive daemons: in a state directory that was chosen, in a place of its own; the default ones
 * are gone with the next boot, so for those in $XDG_STATE_HOME/chassis/overlays, or for root in /var/lib/chassis/overlays.
 */
export function overlaysDirectory(
  stateDirectory: string,
  env: NodeJS.ProcessEnv = process.env,
  uid = process.getuid?.() ?? 0,
): string {
  const isChosen = stateDirectory !== defaultStateDirectory({ ...env, CHASSIS_DIR: undefined }, uid);
  // No chassis can have this name.
  if (isChosen) return join(stateDirectory, 'overlays.d');
  if (uid === 0) return '/var/lib/chassis/overlays';
  return join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'chassis', 'overlays');
}

export function apiSocketPath(directory: string): string {
  return join(directory, 'api.sock');
}

/**
 * The files of one chassis: in a folder that its device process can write to, and one that is kept from it. Who has the VMM's socket has it open
 * what he likes, and who writes the journal the next daemon.
 */
export class ChassisPaths {
  readonly directory: string;
  /** No chassis can have this name. */
  readonly vmDirectory: string;
  readonly name: string;

  constructor(stateDirectory: string, name: string) {
    this.directory = join(stateDirectory, name);
    this.vmDirectory = join(stateDirectory, `${name}.vm`);
    this.name = name;
  }

  /** QEMU makes it. */
  get qmpSocket(): string {
    return join(this.vmDirectory, 'qmp.sock');
  }
  /** Where Cloud Hypervisor serves its API, unless it was said otherwise. */
  get cloudHypervisorSocket(): string {
    return join(this.vmDirectory, 'api.sock');
  }
  /** The device process's control socket. */
  get deviceSocket(): string {
    return join(this.directory, 'device.sock');
  }
  get deviceLog(): string {
    return join(this.directory, 'device.log');
  }
  /** What the daemon was asked for. */
  get journal(): string {
    return join(this.vmDirectory, 'journal.json');
  }
  /** Whom the functions of the device process are connected to. */
  get peers(): string {
    return join(this.vmDirectory, 'peers.json');
  }
  /** What passt says, the last that was started. */
  get passtLog(): string {
    return join(this.vmDirectory, 'passt.log');
  }
  /** Which process serves the devices, by which the next daemon finds it. */
  get deviceStamp(): string {
    return join(this.directory, 'device.pid');
  }
  /** Of a process that is to take over from the one that serves the devices. */
  get nextSocket(): string {
    return join(this.directory, 'next.sock');
  }
  get nextStamp(): string {
    return join(this.directory, 'next.pid');
  }
  /** Where the one hands over to the other. */
  get handOverSocket(): string {
    return join(this.directory, 'move.sock');
  }
  /** The states of all functions, on their way between daemon and device process. */
  get states(): string {
    return join(this.directory, 'states');
  }

  /** Where the process tells the daemon of connections that are to outlive it. */
  get keeperSocket(): string {
    return join(this.directory, 'keep.sock');
  }
  functionSocket(slot: number, fn: number): string {
    return join(this.directory, `s${slot}f${fn}.sock`);
  }
  /** How the paths begin of what a function keeps over the death of its process: a name follows, without dots. */
  functionFiles(functionName: string): string {
    return join(this.directory, `${functionName}.keep-`);
  }
}

/** The files of one switch, in a folder that no chassis can have. Its process makes the sockets. */
export class SwitchPaths {
  readonly directory: string;

  constructor(stateDirectory: string, name: string) {
    this.directory = join(stateDirectory, `@${name}`);
  }

  /** The process's control socket. */
  get controlSocket(): string {
    return join(this.directory, 'switch.sock');
  }
  get log(): string {
    return join(this.directory, 'switch.log');
  }
  get stamp(): string {
    return join(this.directory, 'switch.pid');
  }
  /** Where the device process of a port's card connects. */
  portSocket(number: number): string {
    return join(this.directory, `p${number}.sock`);
  }
}

/** A directory that this process holds; `release` lets the next daemon have it. */
export interface StateDirectory {
  readonly path: string;
  release(): void;
}

/**
 * Makes the directory (mode 0700) if need be, checks that it is ours alone, and takes its lock.
 * @throws ChassisError STATE_UNWRITABLE, or CHASSIS_IN_USE with the other daemon's pid
 */
export function openStateDirectory(path: string): StateDirectory {
  checkLength(path);
  makePrivate(path);
  const lock = join(path, 'daemon.lock');
  takeLock(path, lock);
  return { path, release: () => rmSync(lock, { force: true }) };
}

function checkLength(path: string): void {
  const spare = SOCKET_PATH_MAX_BYTES - LONGEST_NAME_BYTES;
  const lengthBytes = Buffer.byteLength(path);
  if (lengthBytes <= spare) return;
  throw new ChassisError(
    'STATE_UNWRITABLE',
    `${path} has ${lengthBytes} bytes: the path of a socket below it could pass the ${SOCKET_PATH_MAX_BYTES} bytes that Linux allows`,
    `choose a directory of at most ${spare} bytes with $CHASSIS_DIR or --dir`,
  );
}

/**
 * Whether the directory is there, and could be held; where it is not, whether it could be made. Nothing is made.
 * @throws ChassisError STATE_UNWRITABLE, saying what is wrong with it
 */
export function checkStateDirectory(path: string): boolean {
  checkLength(path);
  if (existsSync(path)) {
    checkPrivate(path);
    return true;
  }
  let above = dirname(path);
  while (!existsSync(above)) above = dirname(above);
  try {
    accessSync(above, constants.W_OK | constants.X_OK);
    return false;
  } catch (error) {
    throw unwritable(path, (error as Error).message);
  }
}

function makePrivate(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritable(path, (error as Error).message);
  }
  checkPrivate(path);
}

function checkPrivate(path: string): void {
  try {
    const stat = lstatSync(path);
    if (!stat.isDirectory()) throw unwritable(path, 'it is not a directory');
    const uid = process.getuid?.();
    if (uid !== undefined && stat.uid !== uid) throw unwritable(path, `it belongs to user ${stat.uid}`);
    if ((stat.mode & 0o077) !== 0) {
      throw unwritable(
        path,
        `others may enter it (mode ${(stat.mode & 0o777).toString(8)})`,
        `run: chmod 700 ${path}`,
      );
    }
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw error instanceof ChassisError ? error : unwritable(path, (error as Error).message);
  }
}

function unwritable(path: string, reason: string, suggestion?: string): ChassisError {
  return new ChassisError(
    'STATE_UNWRITABLE',
    `cannot use the directory ${path}: ${reason}`,
    suggestion ?? 'choose another with $CHASSIS_DIR or --dir',
  );
}

/**
 * The lock is a file with its holder's stamp (pid and start time), written whole before it is linked to its name, so that
 * no reader finds half of one. A killed daemon's lock names a process that is no more, and is taken over.
 */
function takeLock(path: string, lock: string): void {
  const mine = `${lock}.${process.pid}`;
  try {
    writeFileSync(mine, JSON.stringify(stampOf(process.pid)), { mode: 0o600 });
    while (!tryLink(mine, lock)) {
      const holder = readStamp(lock);
      if (holder && isRunning(holder)) {
        throw new ChassisError(
          'CHASSIS_IN_USE',
          `a daemon already runs on ${path} (pid ${holder.pid})`,
          'use that one, end it, or choose another directory with $CHASSIS_DIR or --dir',
        );
      }
      discardStale(lock, `${mine}.stale`);
    }
  } catch (error) {
    throw error instanceof ChassisError ? error : unwritable(path, (error as Error).message);
  } finally {
    rmSync(mine, { force: true });
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Two daemons that start at once may both find the same stale lock, and the second would remove the first's new one:
 * so it is moved aside, looked at again, and put back if it is not stale after all.
 */
function discardStale(lock: string, aside: string): void {
  try {
    renameSync(lock, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const holder = readStamp(aside);
  if (holder && isRunning(holder)) tryLink(aside, lock);
  rmSync(aside, { force: true });
}
