/**
 * Which process a file speaks of, beyond doubt: process ids are used again, start times within one boot are not.
 */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';

export interface ProcessStamp {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), field 22 of `stat`). */
  readonly startTicks: number;
  readonly bootId: string;
}

/** The stamp of a running process; undefined where there is none. */
export function stampOf(pid: number): ProcessStamp | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name is in brackets and may hold anything: fields count from the last bracket, the third one on.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return { pid, startTicks: Number(fields[19]), bootId };
  } catch {
    return undefined;
  }
}

/** Reads a stamp that was written as JSON; undefined where the file is not there or holds no stamp. */
export function readStamp(path: string): ProcessStamp | undefined {
  try {
    const value = JSON.parse(readOwnFile(path)) as Partial<ProcessStamp> | null;
    const { pid, startTicks, bootId } = value ?? {};
    if (!Number.isInteger(pid) || typeof startTicks !== 'number' || typeof bootId !== 'string')
      return undefined;
    return { pid: pid as number, startTicks, bootId };
  } catch {
    return undefined;
  }
}

/** Its folder is the process's to write to: a link or a FIFO that is put there is neither followed nor waited for. */
function readOwnFile(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** True while the process that was stamped runs. */
export function isRunning(stamp: ProcessStamp): boolean {
  const now = stampOf(stamp.pid);
  return now?.startTicks === stamp.startTicks && now.bootId === stamp.bootId;
}
