/**
 * An open directory of an overlay: a snapshot of both layers' names, taken whenever reading starts at cookie 0, so that each is given
 * once though entries go from layer to layer meanwhile. A cookie is a position in it. It takes some 100 bytes an entry.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  Attributes,
  FileMode,
  OpenFile,
  type AttributeChanges,
  type DirectorySink,
  type FsNode,
} from '../file-system.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import { NOTHING_KEPT, type Kept } from '../kept.js';
import { isEntryName } from '../node-fs/names.js';
import { listEntries, type LayerEntry } from './layer.js';
import { lookup, releaseFound } from './lookup.js';
import { Layer } from './overlay-context.js';
import type { OverlayNode } from './overlay-node.js';
import { isReserved } from './reserved-names.js';

const DT_DIR = FileMode.S_IFDIR >> 12;
const ENTRY_FIELDS = { inodeLow: 4, inodeHigh: 4, type: 1 } as const;
/** Most entries of a snapshot that goes along: some 150 KB. */
const KEPT_ENTRIES_MAX = 4096;

/** What the directory shows, without '.' and '..'; of the upper layer first. The lock is held. */
export async function mergedEntries(node: OverlayNode): Promise<LayerEntry[] | Failure> {
  const marks = await node.marks();
  if (isFailure(marks)) return marks;
  const above = await layerEntries(node, Layer.upper, node.upper);
  if (isFailure(above)) return above;
  const below = await layerEntries(node, Layer.lower, node.lower);
  if (isFailure(below)) return below;
  const shown = below.filter(({ name }) => marks.get(name) === undefined);
  if (above.length === 0) return shown;
  const namesBelow = new Set(shown.map(({ name }) => name));
  const merged: LayerEntry[] = [];
  for (const entry of above) {
    const { name, type } = entry;
    // What may have been made from the lower layer has its number from there.
    const mayBeLowers = type === DT_DIR || namesBelow.has(name) || Boolean(marks.get(name));
    merged.push(mayBeLowers ? await withItsNumber(node, entry) : entry);
  }
  const namesAbove = new Set(above.map(({ name }) => name));
  return merged.concat(shown.filter(({ name }) => !namesAbove.has(name)));
}

async function layerEntries(
  { context }: OverlayNode,
  layer: Layer,
  directory: FsNode | undefined,
): Promise<LayerEntry[] | Failure> {
  if (directory === undefined) return [];
  const of = new Attributes();
  const entries = await listEntries(directory);
  const error = isFailure(entries) ? entries : await directory.getattr(of);
  // Removed while somebody stands in it.
  if (error === -Errno.ENOENT || error === -Errno.ESTALE) return [];
  if (error < 0 || isFailure(entries)) return error;
  const { device } = of;
  const numbered: LayerEntry[] = [];
  for (const entry of entries) {
    if (isReserved(entry.name)) continue;
    const { name, type } = entry;
    of.device = device;
    of.inodeHigh = entry.inodeHigh;
    const failed = context.number(layer, of);
    if (failed < 0) return failed;
    numbered.push({ name, inodeLow: entry.inodeLow, inodeHigh: of.inodeHigh, type });
  }
  return numbered;
}

async function withItsNumber(node: OverlayNode, entry: LayerEntry): Promise<LayerEntry> {
  const found = await lookup(node, entry.name);
  if (isFailure(found)) return entry;
  releaseFound(found);
  return { ...entry, inodeLow: found.inodeLow, inodeHigh: found.inodeHigh };
}

export class OverlayDirectory extends OpenFile {
  readonly #node: OverlayNode;
  /** Null before the first read. */
  #entries: readonly LayerEntry[] | null = null;

  constructor(node: OverlayNode) {
    super();
    node.retain();
    this.#node = node;
  }

  /** One that goes on where another one stood. */
  static goingOn(node: OverlayNode, details: Uint8Array): OverlayDirectory {
    const directory = new OverlayDirectory(node);
    const reader = new StateReader(details);
    const entries = reader.list(() => ({ name: reader.text(), ...reader.record(ENTRY_FIELDS) }));
    const areNames = entries.every(({ name }) => name === '.' || name === '..' || isEntryName(name));
    if (entries.length > 0 && !reader.overrun && areNames) directory.#entries = entries;
    return directory;
  }

  /** The snapshot. A large one is taken anew. */
  override keep(): Kept {
    if (this.#entries === null || this.#entries.length > KEPT_ENTRIES_MAX) return NOTHING_KEPT;
    const writer = new StateWriter();
    writer.list(this.#entries, (entry) => {
      writer.text(entry.name);
      writer.record(ENTRY_FIELDS, entry);
    });
    return { ...NOTHING_KEPT, details: writer.bytes };
  }

  override async readdir(cookie: number, sink: DirectorySink): Promise<number> {
    if (cookie === 0 || this.#entries === null) {
      const entries = await this.#node.context.lock.shared(() => mergedEntries(this.#node));
      if (isFailure(entries)) return entries;
      this.#entries = this.#ownEntries().concat(entries);
    }
    const entries = this.#entries;
    for (let at = cookie; at < entries.length; at++) {
      const { name, inodeLow, inodeHigh, type } = entries[at];
      if (!sink.entry(name, inodeLow, inodeHigh, type, at + 1)) break;
    }
    return 0;
  }

  override getattr(out: Attributes): Promise<number> {
    return this.#node.getattr(out);
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    return this.#node.setattr(changes);
  }

  /** What is only below has not changed. */
  override async fsync(dataOnly: boolean): Promise<number> {
    const file = await this.#node.upper?.open(0);
    if (file === undefined) return 0;
    if (isFailure(file)) return file;
    const error = await file.fsync(dataOnly);
    await file.close();
    return error;
  }

  override close(): void {
    this.#node.release();
  }

  #ownEntries(): LayerEntry[] {
    const node = this.#node;
    const above = node.parentNode ?? node;
    return [
      { name: '.', inodeLow: node.inodeLow, inodeHigh: node.inodeHigh, type: DT_DIR },
      { name: '..', inodeLow: above.inodeLow, inodeHigh: above.inodeHigh, type: DT_DIR },
    ];
  }
}
