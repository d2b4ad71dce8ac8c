/** Goes through what the upper layer has: its entries, and the names that it hides, top down. Takes memory for one path's directories. */
import { isFailure, type Failure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { listEntries } from './layer.js';
import type { OverlayNode } from './overlay-node.js';
import { ENTRIES_A_TURN, Pace } from './pace.js';
import { isReserved } from './reserved-names.js';

/** One name of a directory that both layers, or the upper one, have. */
export interface UpperEntry {
  readonly directory: OverlayNode;
  readonly name: ByteString;
  /** As guests see it. */
  readonly path: ByteString;
  /** Undefined where the upper layer only hides the name. Good until the next entry is asked for. */
  readonly node: OverlayNode | undefined;
  /** What a failure was, which there the whole listing ends with. */
  readonly error: Failure;
}

interface Level {
  readonly directory: OverlayNode;
  readonly path: ByteString;
  readonly names: ByteString[];
}

/** The names of the upper layer's entries and of its marks, sorted backwards. The lock is held. */
export async function upperNames(directory: OverlayNode): Promise<ByteString[] | Failure> {
  if (directory.upper === undefined) return [];
  const marks = await directory.marks();
  if (isFailure(marks)) return marks;
  const entries = await listEntries(directory.upper);
  if (isFailure(entries)) return entries;
  const names = new Set(marks.names());
  for (const { name } of entries) if (!isReserved(name)) names.add(name);
  return [...names].sort().reverse();
}

/** Directories come before what is below them; `descend` says which are gone into. */
export async function* upperEntries(
  root: OverlayNode,
  descend: (path: ByteString) => boolean = () => true,
): AsyncGenerator<UpperEntry> {
  const stack: Level[] = [];
  const pace = new Pace(ENTRIES_A_TURN);
  const { lock } = root.context;
  try {
    let failed = await enter(stack, root, '');
    for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
      const { directory, names, path: above } = level;
      const name = names.pop();
      if (name === undefined) {
        stack.pop();
        directory.release();
        continue;
      }
      await pace.spend(1);
      const path = `${above}/${name}`;
      const found = await lock.shared(() => directory.find(name));
      const node = isFailure(found) || found.upper === undefined ? undefined : found;
      yield { directory, name, path, node, error: 0 };
      if (node?.type === FileMode.S_IFDIR && descend(path)) failed = await enter(stack, node, path);
      if (!isFailure(found)) found.release();
      if (failed < 0) yield { directory, name, path, node: undefined, error: failed };
      if (failed < 0) return;
    }
  } finally {
    for (const { directory } of stack) directory.release();
  }
}

async function enter(stack: Level[], directory: OverlayNode, path: ByteString): Promise<number> {
  const names = await directory.context.lock.shared(() => upperNames(directory));
  if (isFailure(names)) return names;
  directory.retain();
  stack.push({ directory, path, names });
  return 0;
}
