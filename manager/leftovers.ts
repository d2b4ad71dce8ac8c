/** Clears what is left of chassis that no journal speaks of: sockets, logs, and processes. */
import { existsSync, lstatSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import { ChassisName } from './control/api.js';
import { ChassisPaths, type SwitchPaths } from './control/state-directory.js';
import { isRunning, readStamp } from './process-stamp.js';

const OUR_FILES =
  /^(device\.(sock|fds|log|log\.old|pid)|next\.(sock|fds|pid)|move\.sock|s\d{1,3}f[0-7]\.sock|slot\d{1,3}-fn[0-7]\.keep-[a-z]+)$/;
const VM_FILES = /^(journal\.json\.new|peers\.json(\.new)?|passt\.log)$/;
const SWITCH_FILES = /^(switch\.(sock|fds|log|log\.old|pid)|p\d{1,9}\.sock)$/;

/** The chassis that have a folder in a state directory, or of which a VM has one. */
export function chassisFolders(directory: string): ChassisPaths[] {
  const names = readdirSync(directory)
    .filter((name) => lstatSync(join(directory, name)).isDirectory())
    .map((name) => name.replace(/\.vm$/, ''));
  return [...new Set(names)]
    .filter((name) => Value.Check(ChassisName, name))
    .map((name) => new ChassisPaths(directory, name));
}

/**
 * Sweeps a state directory whose lock the caller holds: a daemon was killed while it made a chassis or gave one up. Answers the pids of
 * processes that it had to kill.
 */
export async function sweepStateDirectory(directory: string): Promise<number[]> {
  const killed: number[] = [];
  for (const paths of chassisFolders(directory)) {
    if (existsSync(paths.journal)) continue;
    killed.push(...killLeft(paths.deviceStamp));
    await removeChassisFiles(paths);
  }
  return killed;
}

/** Removes one switch's files by their names. */
export function removeSwitchFiles({ directory }: SwitchPaths): void {
  removeFiles(directory, SWITCH_FILES);
  removeFolder(directory);
}

/** A process is ours only if pid, start time and boot all match the stamp that it wrote. */
export function killLeft(stampPath: string): number[] {
  const stamp = readStamp(stampPath);
  if (!stamp || !isRunning(stamp)) return [];
  try {
    process.kill(stamp.pid, 'SIGKILL');
    return [stamp.pid];
  } catch {
    return [];
  }
}

/**
 * Removes one chassis's files by their names. The sockets of VMMs are theirs: while a VM listens there one stays, so that a
 * chassis of the same name finds the VM again.
 */
export async function removeChassisFiles(paths: ChassisPaths): Promise<void> {
  removeFiles(paths.directory, OUR_FILES);
  for (const socket of [paths.qmpSocket, paths.cloudHypervisorSocket]) {
    if (await isListening(socket)) continue;
    rmSync(socket, { force: true });
    // Cloud Hypervisor's lock beside its socket.
    rmSync(`${socket}.lock`, { force: true });
  }
  removeFolder(paths.directory);
  removeFiles(paths.vmDirectory, VM_FILES);
  removeFolder(paths.vmDirectory);
}

function removeFiles(directory: string, ours: RegExp): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return;
  }
  for (const name of names) {
    if (ours.test(name)) rmSync(join(directory, name), { force: true });
  }
}

function removeFolder(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody else's file is in it, or a VM's socket: then it stays. Or it was never made.
  }
}

/** Whether somebody serves this socket. */
export function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Anything but "nobody listens" leaves the socket alone.
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
