/** Finds what an overlay shows under a name: the upper layer's entry, the lower one's, or both where one was made from the other. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, type ByteString, type FsNode } from '../file-system.js';
import { lookAt, lookAtPath, typeOf, type Look } from './layer.js';
import { Marks, originMark, originPath, type Mark } from './marks.js';
import { Layer, type OverlayContext } from './overlay-context.js';
import { isReserved, STAGE_DIRECTORY } from './reserved-names.js';

/** A directory of the overlay, as look-ups use it. */
export interface Directory {
  readonly context: OverlayContext;
  readonly upper: FsNode | undefined;
  readonly lower: FsNode | undefined;
  marks(): Promise<Marks | Failure>;
}

/** What was found. Whoever gets it holds the nodes. */
export interface Found {
  /** S_IFMT bits. */
  readonly type: number;
  /** The overlay's inode number: the lower layer's for what is there or was made from it. */
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly upper: Look | undefined;
  readonly lower: Look | undefined;
  /** The path of `lower`, where that does not follow from the name. */
  readonly redirect: ByteString | undefined;
  /** The marks of an upper directory, which had to be read. */
  readonly marks: Marks | undefined;
}

interface Origin {
  readonly look: Look | undefined;
  readonly redirect: ByteString | undefined;
}

/** How paths in a commit's stage start. */
const STAGED = `/${STAGE_DIRECTORY}/`;

const NO_ORIGIN: Origin = { look: undefined, redirect: undefined };

export function releaseFound({ upper, lower }: Found): void {
  upper?.node.release();
  lower?.node.release();
}

/** -ENOENT where nothing shows under the name. The lock is held. */
export async function lookup(directory: Directory, name: ByteString): Promise<Found | Failure> {
  if (isReserved(name)) return -Errno.ENOENT;
  const marks = await directory.marks();
  if (isFailure(marks)) return marks;
  const mark = marks.get(name);
  const upper = directory.upper === undefined ? -Errno.ENOENT : await lookAt(directory.upper, name);
  if (!isFailure(upper)) return withOrigin(directory, name, upper, mark);
  // A name that the upper layer cannot have may be the lower one's.
  if (upper !== -Errno.ENOENT && upper !== -Errno.EINVAL) return upper;
  const lower = mark === undefined ? await lookBelow(directory, name) : -Errno.ENOENT;
  if (!isFailure(lower)) return numbered(directory, { ...NOTHING, lower });
  return upper === -Errno.ENOENT ? lower : upper;
}

/** The lower layer's entry of this name, whatever hides it. */
export async function lookBelow({ lower }: Directory, name: ByteString): Promise<Look | Failure> {
  return lower === undefined ? -Errno.ENOENT : lookAt(lower, name);
}

const NOTHING = { upper: undefined, lower: undefined, redirect: undefined, marks: undefined };

async function withOrigin(
  directory: Directory,
  name: ByteString,
  upper: Look,
  mark: Mark | undefined,
): Promise<Found | Failure> {
  const isDirectory = typeOf(upper.attributes) === FileMode.S_IFDIR;
  const marks = isDirectory ? await Marks.load(upper.node) : undefined;
  if (isFailure(marks)) {
    upper.node.release();
    return marks;
  }
  const origin = await findOrigin(directory, name, upper, mark, marks);
  if (!isFailure(origin))
    return numbered(directory, { upper, lower: origin.look, redirect: origin.redirect, marks });
  upper.node.release();
  return origin;
}

async function findOrigin(
  directory: Directory,
  name: ByteString,
  upper: Look,
  mark: Mark | undefined,
  marks: Marks | undefined,
): Promise<Origin | Failure> {
  const path = marks === undefined ? originPath(mark ?? '') : marks.origin;
  if (path === undefined) {
    return mark === undefined ? accept(await lookBelow(directory, name), upper, undefined) : NO_ORIGIN;
  }
  const { lowerRoot, journal } = directory.context;
  const look = await lookAtPath(lowerRoot, path);
  if (look === -Errno.ENOENT && path.startsWith(STAGED)) {
    const source = journal.get(path.slice(STAGED.length));
    // A commit was killed before it got there, or has put it where the name leads and did not live to say so.
    return source === undefined
      ? accept(await lookBelow(directory, name), upper, undefined)
      : accept(await lookAtPath(lowerRoot, source), upper, source);
  }
  if (isFailure(look) || marks !== undefined || originMark(look.attributes, path) === mark)
    return accept(look, upper, path);
  // Another file is there by now.
  look.node.release();
  return NO_ORIGIN;
}

/** A file can only have been made from one of its type. */
function accept(look: Look | Failure, upper: Look, redirect: ByteString | undefined): Origin | Failure {
  if (isFailure(look)) return isAbsence(look) ? NO_ORIGIN : look;
  if (typeOf(look.attributes) === typeOf(upper.attributes)) return { look, redirect };
  look.node.release();
  return NO_ORIGIN;
}

function isAbsence(failure: Failure): boolean {
  return (
    failure === -Errno.ENOENT ||
    failure === -Errno.ENOTDIR ||
    failure === -Errno.EINVAL ||
    failure === -Errno.ENAMETOOLONG
  );
}

function numbered(
  { context }: Directory,
  found: Omit<Found, 'type' | 'inodeLow' | 'inodeHigh'>,
): Found | Failure {
  const { upper, lower } = found;
  const isLowers = lower !== undefined && (upper === undefined || keepsNumber(lower));
  const { attributes } = isLowers ? lower : (upper as Look);
  const error = context.number(isLowers ? Layer.lower : Layer.upper, attributes);
  if (error === 0) {
    return {
      ...found,
      type: typeOf(attributes),
      inodeLow: attributes.inodeLow,
      inodeHigh: attributes.inodeHigh,
    };
  }
  upper?.node.release();
  lower?.node.release();
  return error;
}

/**
 * A copy has the number of what it was copied from, unless that has other names: they go on showing the old content, and two files
 * of one number would be one to the guest's cache.
 */
export function keepsNumber({ attributes }: Look): boolean {
  return typeOf(attributes) === FileMode.S_IFDIR || attributes.nlink === 1;
}
