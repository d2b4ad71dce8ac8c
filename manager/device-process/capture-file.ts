/** The file of a capture: whole blocks, up to a size, whatever ends it. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { ChassisError } from '../control/api.js';
import { hostPath } from './host-paths.js';

/** O_NONBLOCK: a FIFO without a reader would keep us, and with us the guest, waiting. */
const { O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;

export class CaptureFile {
  private readonly fd: number;
  private sizeBytes = 0;
  private open = true;

  /** Makes or empties it. @throws ChassisError SOURCE_UNREADABLE */
  constructor(path: string) {
    this.fd = openCaptureFile(path);
    if (fstatSync(this.fd).isFile()) {
      ftruncateSync(this.fd);
      return;
    }
    closeSync(this.fd);
    throw unwritable(path, 'it is not a regular file');
  }

  /** Appends a block. What does not fit the disk is taken back. @throws Error */
  write(bytes: Uint8Array): void {
    if (!this.open) throw new Error('the capture is closed');
    try {
      if (writeSync(this.fd, bytes) < bytes.length) throw new Error('the disk is full');
    } catch (error) {
      ftruncateSync(this.fd, this.sizeBytes);
      throw error;
    }
    this.sizeBytes += bytes.length;
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    closeSync(this.fd);
  }
}

/** A confined process's daemon opens it first, and so makes it. @throws ChassisError SOURCE_UNREADABLE */
export function openCaptureFile(path: string): number {
  try {
    // Others of the host have no business with what a guest sends.
    return openSync(hostPath(path), O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0o600);
  } catch (error) {
    throw unwritable(path, (error as Error).message);
  }
}

function unwritable(path: string, reason: string): ChassisError {
  return new ChassisError(
    'SOURCE_UNREADABLE',
    `cannot write to ${path}: ${reason}`,
    'name another file with --out',
  );
}
