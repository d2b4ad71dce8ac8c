/**
 * A tree's children for another tree that goes on for this one:
 * `lastId[8] changedMs[8] n[4] n*(id[8] name[b] state[b] detail[b] fileSystem[b])`. Their numbers are the guest's, which answers by them.
 */
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import type { ChildTable } from './child-table.js';
import { ChildState } from './mounting.js';
import type { TreeChild } from './tree-child.js';

const TREE_FIELDS = { lastId: 8, changedMs: 8 } as const;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Or why one of its children cannot be told. */
export function saveTree(table: ChildTable, to: StateDestination): Uint8Array | string {
  const writer = new StateWriter();
  const { lastId, changedMs } = table;
  writer.record(TREE_FIELDS, { lastId, changedMs: Math.floor(changedMs) });
  writer.write(4, table.byName.size);
  for (const { id, name, child, mounting } of table.byName.values()) {
    const fileSystem = child.saveState(to);
    if (typeof fileSystem === 'string') return `${JSON.stringify(mounting.name)}: ${fileSystem}`;
    const { state, detail } = mounting.kept;
    writer.write(8, id);
    writer.text(name);
    writer.text(state);
    writer.blob(encoder.encode(detail));
    writer.blob(fileSystem);
  }
  return writer.bytes;
}

/** Or why not: the children of both have to be the same. */
export async function restoreTree(
  table: ChildTable,
  bytes: Uint8Array,
  descriptors: GivenDescriptors | undefined,
): Promise<string | undefined> {
  const reader = new StateReader(bytes);
  const { lastId, changedMs } = reader.record(TREE_FIELDS);
  const children = reader.list(() => ({
    id: reader.read(8),
    name: reader.text(),
    state: reader.text(),
    detail: decoder.decode(reader.blob()),
    fileSystem: reader.blob(),
  }));
  if (reader.overrun || reader.leftBytes > 0) return 'the state of a tree has another length';
  const ids = new Map<TreeChild, number>();
  for (const { id, name, state } of children) {
    const found = table.byName.get(name);
    if (found === undefined) return `${JSON.stringify(name)} is not in the tree here`;
    if (!isChildState(state) || !(id > 0 && id <= lastId))
      return `${JSON.stringify(name)} is in no state that there is`;
    ids.set(found, id);
  }
  if (new Set(ids.values()).size !== children.length)
    return 'two children of the tree have one number or name';
  for (const { name, fileSystem } of children) {
    const problem = await table.byName.get(name)?.child.restoreState(fileSystem, descriptors);
    if (problem !== undefined) return `${JSON.stringify(name)}: ${problem}`;
  }
  for (const { name, state, detail } of children)
    if (isChildState(state)) table.byName.get(name)?.mounting.resume({ state, detail });
  table.resume(ids, lastId, changedMs);
  return undefined;
}

function isChildState(state: string): state is ChildState {
  return Object.hasOwn(ChildState, state);
}
