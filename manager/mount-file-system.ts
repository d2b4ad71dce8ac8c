/** The file systems of a mount, one over the other: the source, whose files they are, where changes go; the policy goes on top. */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { Errno, isFailure } from '../devices/errno.js';
import type { FileSystem, Owner as OwnerIds } from '../devices/9p/fs/file-system.js';
import { IdentityError, IdentityFs, type Identity } from '../devices/9p/fs/identity/identity-fs.js';
import { MappedFs } from '../devices/9p/fs/identity/mapped-fs.js';
import { NodeFs } from '../devices/9p/fs/node-fs/node-fs.js';
import type { NodeFsContents } from '../devices/9p/fs/node-fs/node-fs-contents.js';
import { OverlayFs } from '../devices/9p/fs/overlay/overlay-fs.js';
import { PatternError } from '../devices/9p/fs/policy/policy-fs.js';
import { flock } from '../host/index.js';
import { ChassisError, type MountTerms, type Owner, type Source, type Upper } from './control/api.js';
import { hostPath } from './device-process/host-paths.js';
import { ServedMount, type Beginning, type Layers } from './device-process/served-mount.js';
import { LockedFolder } from './locked-folder.js';
import { sourceError } from './source-check.js';

export type OpenSource = (source: Source) => Promise<FileSystem>;

/** flock(2) */
const LOCK_EX_NB = 2 | 4;
const LOCK_PATIENCE_MS = 2000;
const LOCK_POLL_MS = 20;

/**
 * @throws ChassisError as the source cannot be opened; SOURCE_IN_USE where somebody else has the upper folder; BAD_REQUEST
 */
export async function openMount(
  openSource: OpenSource,
  source: Source,
  terms: MountTerms,
  beginning: Beginning = 'anew',
): Promise<ServedMount> {
  const layers = await openLayers(openSource, source, terms, beginning);
  try {
    return new ServedMount(layers, terms);
  } catch (error) {
    await layers.fs.close();
    throw asBadRequest(error);
  }
}

/** An overlay by itself, for whoever reviews its changes. @throws as `openMount` */
export async function openOverlay(
  openSource: OpenSource,
  source: Source,
  upper: Upper,
  owner: Owner | undefined,
): Promise<OverlayFs> {
  const { overlay } = await openLayers(openSource, source, { owner, overlay: upper }, 'anew');
  if (overlay === undefined) throw new Error('an overlay has an upper layer');
  return overlay;
}

async function openLayers(
  open: OpenSource,
  source: Source,
  { owner, overlay: upper }: Pick<MountTerms, 'owner' | 'overlay'>,
  beginning: Beginning,
): Promise<Layers> {
  const inMemory: NodeFsContents[] = [];
  const openSource = async (each: Source): Promise<FileSystem> => {
    const fs = await open(each);
    if (fs instanceof NodeFs && fs.contents) inMemory.push(fs.contents);
    return fs;
  };
  const identify = identityOf(source, owner);
  const lower = identify(await openSource(source));
  if (upper === undefined) return { fs: lower, overlay: undefined, inMemory };
  try {
    const overlay = new OverlayFs(lower, identify(await openUpper(openSource, upper, beginning)));
    // Its upper layer is another process's still, which may be at work in it.
    if (beginning === 'anew') await probe(overlay, source, upper);
    return { fs: overlay, overlay, inMemory };
  } catch (error) {
    await lower.close();
    throw error;
  }
}

/** What puts the terms' owners in the place of those that a layer has. @throws ChassisError BAD_REQUEST */
function identityOf(source: Source, owner: Owner | undefined): (fs: FileSystem) => FileSystem {
  if (owner === undefined) return (fs) => fs;
  if (owner.type === 'mapped') return (fs) => new MappedFs(fs);
  const identity: Identity =
    owner.type === 'squash'
      ? { squash: { guest: ids(owner.guest), host: ids(owner.host ?? ownerOf(source)) } }
      : owner;
  return (fs) => {
    try {
      return new IdentityFs(fs, identity);
    } catch (error) {
      throw asBadRequest(error);
    }
  };
}

function ids({ uid, gid }: { readonly uid: number; readonly gid: number }): OwnerIds {
  return { uid, gid };
}

/** Whose new files are: a directory's owner's, so that what guests add to a user's project is that user's. */
function ownerOf(source: Source): OwnerIds {
  return source.type === 'directory' ? statSync(hostPath(source.path)) : { uid: 0, gid: 0 };
}

async function openUpper(openSource: OpenSource, upper: Upper, beginning: Beginning): Promise<FileSystem> {
  if (upper.type === 'memory') return openSource({ type: 'memory' });
  const lock = beginning === 'anew' ? await lockFolder(upper.path) : undefined;
  try {
    return new LockedFolder(await openSource({ type: 'directory', path: upper.path }), lock);
  } catch (error) {
    if (lock !== undefined) closeSync(lock);
    throw error;
  }
}

/**
 * Two overlays on one upper folder would not know of each other. The lock goes with the descriptor, and so with its process; a mount that
 * was just taken away may have it for a moment.
 */
async function lockFolder(path: string): Promise<number> {
  const fd = openFolder(path);
  const end = performance.now() + LOCK_PATIENCE_MS;
  while (flock(fd, LOCK_EX_NB) < 0) {
    if (performance.now() > end) {
      closeSync(fd);
      throw new ChassisError(
        'SOURCE_IN_USE',
        `another mount keeps its changes in ${path}`,
        'detach that one first, or choose another folder',
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
  return fd;
}

/** @throws ChassisError SOURCE_MISSING, SOURCE_NOT_DIRECTORY or SOURCE_UNREADABLE */
function openFolder(path: string): number {
  try {
    return openSync(hostPath(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw sourceError(path, error as NodeJS.ErrnoException);
  }
}

/** What is wrong with either layer is said now, and not when a guest mounts it. */
async function probe(overlay: OverlayFs, source: Source, upper: Upper): Promise<void> {
  const root = await overlay.attach();
  if (!isFailure(root)) {
    root.release();
    return;
  }
  await overlay.close();
  const name = Object.entries(Errno).find(([, value]) => value === -root)?.[0] ?? `errno ${-root}`;
  const over = source.type === 'directory' ? source.path : 'mem:';
  const place = upper.type === 'memory' ? 'memory' : upper.path;
  throw new ChassisError(
    'SOURCE_UNREADABLE',
    `changes of ${over} cannot be kept in ${place}: ${name}`,
    'let the user of the daemon write to the upper folder',
  );
}

function asBadRequest(error: unknown): unknown {
  if (error instanceof PatternError) {
    return new ChassisError('BAD_REQUEST', error.message, 'patterns are explained in docs/file-systems.md');
  }
  if (error instanceof IdentityError) {
    return new ChassisError('BAD_REQUEST', error.message, 'see: chassis attach --help');
  }
  return error;
}
