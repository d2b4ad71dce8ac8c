/** Clears what a daemon that was killed left behind: sockets, logs, and device processes that outlived it. */
import { lstatSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import { ChassisName } from './control/api.js';
import { ChassisPaths } from './control/state-directory.js';
import { isRunning, readStamp } from './process-stamp.js';

const OUR_FILES = /^(device\.(sock|log|log\.old|pid)|s\d{1,3}f[0-7]\.sock)$/;

/** Sweeps a state directory whose lock the caller holds. Answers the pids of device processes that it had to kill. */
export async function sweepStateDirectory(directory: string): Promise<number[]> {
  const killed: number[] = [];
  for (const name of readdirSync(directory)) {
    if (!Value.Check(ChassisName, name) || !lstatSync(join(directory, name)).isDirectory()) continue;
    const paths = new ChassisPaths(directory, name);
    const pid = killLeftDeviceProcess(paths);
    if (pid !== undefined) killed.push(pid);
    await removeChassisFiles(paths);
  }
  return killed;
}

/** A process is ours only if pid, start time and boot all match the stamp that its daemon wrote. */
function killLeftDeviceProcess(paths: ChassisPaths): number | undefined {
  const stamp = readStamp(paths.deviceStamp);
  if (!stamp || !isRunning(stamp)) return undefined;
  try {
    process.kill(stamp.pid, 'SIGKILL');
    return stamp.pid;
  } catch {
    return undefined;
  }
}

/**
 * Removes one chassis's files by their names. The QMP socket is QEMU's: while a VM listens there it stays, so that a
 * chassis of the same name finds the VM again.
 */
export async function removeChassisFiles(paths: ChassisPaths): Promise<void> {
  let names: string[];
  try {
    names = readdirSync(paths.directory);
  } catch {
    return;
  }
  for (const name of names) {
    if (OUR_FILES.test(name)) rmSync(join(paths.directory, name), { force: true });
  }
  if (!(await isListening(paths.qmpSocket))) rmSync(paths.qmpSocket, { force: true });
  try {
    rmdirSync(paths.directory);
  } catch {
    // Somebody else's file is in it, or a VM's socket: then it stays.
  }
}

function isListening(path: string): Promise<boolean> {
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
