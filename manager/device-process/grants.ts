/** What a request to a device process names of the host's, which the daemon opens for a process that is confined. */
import { openSync } from 'node:fs';
import { closeFd, Errno, HostError, OpenFlags, openTap } from '../../host/index.js';
import { ChassisError, type DiskSource, type Shown, type Upper } from '../control/api.js';
import { openCaptureFile } from './capture-file.js';
import { tapKey } from './host-paths.js';
import { tapUnavailable } from './network-errors.js';
import type { CardSpec, FunctionSpec, Request } from './protocol.js';

/** Descriptors by what the process looks them up by. They are the caller's. */
export type Opened = Map<string, number>;

/** Makes a mount of a directory: see `cloneMount`. */
export type CloneMount = (path: string) => Promise<number>;

type Open = (path: string, clone: CloneMount) => Promise<number | undefined> | number | undefined;

/** What is to be opened, and how, by key. */
type Wanted = Map<string, Open>;

type Method = Request['method'];
type ParamsOf<M extends Method> = Extract<Request, { method: M }>['params'];

const OPENERS: { readonly [M in Method]?: (params: ParamsOf<M>, wanted: Wanted) => void } = {
  addFunction: wantFunction,
  setSource: ({ source, overlay }, wanted) => wantMount(source, overlay, wanted),
  addChild: ({ source, overlay }, wanted) => wantMount(source, overlay, wanted),
  addSeat: ({ source, overlay }, wanted) => wantMount(source, overlay, wanted),
  startReview: ({ overlay }, wanted) => {
    if (overlay) wantMount(overlay.source, overlay.upper, wanted);
  },
  capture: ({ capture }, wanted) => void wanted.set(capture.path, openCaptureFile),
};

/**
 * Opens all of it. What is not there is left out: the process says so, as it would by itself.
 * @throws ChassisError SOURCE_UNREADABLE, NETWORK_UNAVAILABLE
 */
export function openFor(method: string, params: unknown, clone: CloneMount): Promise<Opened> {
  const wanted: Wanted = new Map();
  const opener = OPENERS[method as Method] as ((params: unknown, wanted: Wanted) => void) | undefined;
  opener?.(params, wanted);
  return openAll(wanted, clone);
}

/** Opens the directories of mounts. */
export function openDirectories(paths: Iterable<string>, clone: CloneMount): Promise<Opened> {
  return openAll(new Map(Array.from(paths, (path) => [path, openDirectory])), clone);
}

async function openAll(wanted: Wanted, clone: CloneMount): Promise<Opened> {
  const opened: Opened = new Map();
  try {
    for (const [key, open] of wanted) {
      const fd = await open(key, clone);
      if (fd !== undefined) opened.set(key, fd);
    }
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

export function closeAll(opened: Opened): void {
  for (const fd of opened.values()) closeFd(fd);
}

function wantFunction({ device, kept }: FunctionSpec, wanted: Wanted): void {
  for (const path of Object.values(kept ?? {})) wanted.set(path, openFile);
  if (device.type === '9p') wantMount(device.source, device.overlay, wanted);
  else if (device.type === 'card') wantPeer(device.peer, wanted);
  else {
    wantDisk(device.source, wanted);
    if (device.overlayDirectory !== undefined) wanted.set(device.overlayDirectory, openDirectory);
  }
}

function wantMount(source: Shown | undefined, upper: Upper | undefined, wanted: Wanted): void {
  if (source?.type === 'directory') wanted.set(source.path, openDirectory);
  if (upper && upper.type !== 'memory') wanted.set(upper.path, openDirectory);
}

function wantDisk(source: DiskSource, wanted: Wanted): void {
  if (source.type === 'file' || source.type === 'cloud-init') wanted.set(source.path, openFile);
}

function wantPeer(peer: CardSpec['peer'], wanted: Wanted): void {
  if (peer.type === 'tap') wanted.set(tapKey(peer.interface), () => openTapFor(peer.interface));
}

function openTapFor(name: string): number {
  try {
    return openTap(name);
  } catch (error) {
    throw error instanceof HostError ? tapUnavailable(name, error) : error;
  }
}

/** From which nothing leads up to what is not below it. */
async function openDirectory(path: string, clone: CloneMount): Promise<number | undefined> {
  const fd = await clone(path);
  if (fd === -Errno.ENOENT) return undefined;
  if (fd < 0) throw unreadable(path, HostError.from(fd, 'open_tree', path).message);
  return fd;
}

/** Without opening what is behind it: a FIFO would wait, and a tape wind. */
function openFile(path: string): number | undefined {
  try {
    return openSync(path, OpenFlags.O_PATH);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw unreadable(path, message);
  }
}

function unreadable(path: string, message: string): ChassisError {
  return new ChassisError(
    'SOURCE_UNREADABLE',
    `cannot open ${path}: ${message}`,
    'let the user of the daemon read it',
  );
}
