import type { ByteString } from '../file-system.js';
import type { TreeChild } from './tree-child.js';

/** The children that a tree has now, by name and by number. */
export class ChildTable {
  /** In the order of their ids. An iterator of its values goes on while children come and go. */
  readonly byName = new Map<ByteString, TreeChild>();
  readonly byId = new Map<number, TreeChild>();
  /** The id of the child added last. */
  lastId = 0;
  /** When one came or went last, in milliseconds since 1970. */
  changedMs = Date.now();

  add(child: TreeChild): void {
    this.lastId = child.id;
    this.byName.set(child.name, child);
    this.byId.set(child.id, child);
    this.changedMs = Date.now();
  }

  /** Goes on with another table's numbers, in their order: `ids` are of children that are there. The rest gets new ones. */
  resume(ids: ReadonlyMap<TreeChild, number>, lastId: number, changedMs: number): void {
    const all = [...this.byName.values()];
    this.lastId = lastId;
    for (const child of all) child.id = ids.get(child) ?? ++this.lastId;
    this.byName.clear();
    this.byId.clear();
    for (const child of all.sort((a, b) => a.id - b.id)) {
      this.byName.set(child.name, child);
      this.byId.set(child.id, child);
    }
    this.changedMs = changedMs;
  }

  delete(child: TreeChild): void {
    this.byName.delete(child.name);
    this.byId.delete(child.id);
    this.changedMs = Date.now();
  }
}
