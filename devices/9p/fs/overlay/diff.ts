/** What guests changed in an overlay, as a list to be reviewed. */
import { isFailure, type Failure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { compare } from './compare.js';
import { lookBelow } from './lookup.js';
import { typeOf } from './layer.js';
import type { OverlayNode } from './overlay-node.js';
import { upperEntries, type UpperEntry } from './upper-entries.js';

export type ChangeKind = 'added' | 'changed' | 'removed' | 'renamed' | 'metadata';

export interface Change {
  readonly kind: ChangeKind;
  /** As guests see it, from '/' on. Of what is 'removed', as it was seen. */
  readonly path: ByteString;
  /** S_IFMT bits; of what is 'removed', of the lower layer's file. */
  readonly type: number;
  /** Of what is 'renamed': its path in the lower layer. */
  readonly from?: ByteString;
}

export interface MovedDirectory {
  readonly path: ByteString;
  readonly source: ByteString;
  /** As the upper layer has it: a killed commit may have written down where the directory was to go. */
  readonly origin: ByteString;
}

/** Where names of the lower layer went. */
export interface Moves {
  /** Paths of the lower layer that the upper one hides, and where that is seen. */
  readonly hidden: ReadonlyMap<ByteString, ByteString>;
  /** By their paths in the lower layer, files and directories that are found under other names, and which. */
  readonly moved: ReadonlyMap<ByteString, ByteString>;
  /** Directories that are found under other names: where, and their paths in the lower layer. */
  readonly directories: readonly MovedDirectory[];
}

/** Takes a path of memory for each name that was removed or moved. */
export async function findMoves(root: OverlayNode): Promise<Moves | Failure> {
  const hidden = new Map<ByteString, ByteString>();
  const moved = new Map<ByteString, ByteString>();
  const directories: MovedDirectory[] = [];
  for await (const { directory, name, path, node, error } of upperEntries(root)) {
    if (error < 0) return error;
    const above = directory.lowerPath();
    const marks = await directory.marks();
    if (!isFailure(marks) && above !== undefined && marks.get(name) !== undefined)
      hidden.set(`${above}/${name}`, path);
    if (node?.redirect === undefined) continue;
    moved.set(node.redirect, path);
    if (node.type !== FileMode.S_IFDIR) continue;
    const own = await node.marks();
    if (isFailure(own)) return own;
    directories.push({ path, source: node.redirect, origin: own.origin ?? node.redirect });
  }
  return { hidden, moved, directories };
}

/** A failure ends the list, as its last item. */
export async function* diff(root: OverlayNode): AsyncGenerator<Change | Failure> {
  const moves = await findMoves(root);
  if (isFailure(moves)) {
    yield moves;
    return;
  }
  if ((await differenceOf(root)) === 'metadata')
    yield { kind: 'metadata', path: '/', type: FileMode.S_IFDIR };
  for await (const entry of upperEntries(root)) {
    const change = entry.error < 0 ? entry.error : await changeOf(entry, moves);
    if (change !== undefined) yield change;
    if (typeof change === 'number') return;
  }
}

async function changeOf(entry: UpperEntry, moves: Moves): Promise<Change | Failure | undefined> {
  const { directory, name, path, node } = entry;
  const below = await lookBelow(directory, name);
  if (!isFailure(below)) below.node.release();
  const source = `${directory.lowerPath() ?? ''}/${name}`;
  const wasThere = !isFailure(below) && !moves.moved.has(source);
  if (node === undefined)
    return wasThere ? { kind: 'removed', path, type: typeOf(below.attributes) } : undefined;
  const { type, redirect } = node;
  if (redirect !== undefined && isHidden(redirect, moves))
    return { kind: 'renamed', path, type, from: redirect };
  if (redirect !== undefined || node.lower === undefined)
    return { kind: wasThere ? 'changed' : 'added', path, type };
  const difference = await differenceOf(node);
  if (difference === 'none') return undefined;
  if (isFailure(difference)) return difference;
  return { kind: difference === 'content' ? 'changed' : 'metadata', path, type };
}

export async function differenceOf({
  upper,
  lower,
}: OverlayNode): Promise<'content' | 'metadata' | 'none' | Failure> {
  return upper === undefined || lower === undefined ? 'none' : compare(upper, lower);
}

/** True where the lower layer's file does not show under its own name: it was moved, and not linked. */
function isHidden(source: ByteString, { hidden, moved }: Moves): boolean {
  if (hidden.has(source)) return true;
  for (let at = source.lastIndexOf('/'); at > 0; at = source.lastIndexOf('/', at - 1)) {
    const above = source.slice(0, at);
    if (moved.has(above)) return false;
    if (hidden.has(above)) return true;
  }
  return false;
}
