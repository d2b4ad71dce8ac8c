/**
 * Places BARs and windows: first how much every bus needs, from the leaves up, then where, from the root down. What a window has
 * beyond its needs goes in equal parts to the bridges below which something may be plugged in later.
 */
import { sizeBars, writeBar, type Bar, type ResourceKind } from './bars.js';
import { WINDOW_GRANULE_BYTES, type AddressRange } from './bridges.js';
import { functionsBelow, type BusNode, type FunctionNode } from './tree.js';

/** BARs get pages of their own, as they would to be mapped into processes. */
const MIN_BAR_ALIGNMENT: Readonly<Record<ResourceKind, number>> = { memory: 4096, prefetchable: 4096, io: 1 };

/** Something that is to be placed in a window. */
interface Item {
  readonly sizeBytes: number;
  readonly alignment: number;
  /** Takes more than it needs. */
  readonly grows: boolean;
  place(range: AddressRange | undefined): void;
}

/** Sizes every BAR on a bus and below, and places all of it in the bus's windows. Bridges forward afterwards. */
export function placeResources(bus: BusNode): void {
  for (const fn of functionsBelow(bus)) fn.bars = sizeBars(fn.config);
  for (const kind of ['memory', 'prefetchable', 'io'] as const) placeBelow(bus, kind);
  for (const fn of functionsBelow(bus)) {
    for (const bar of fn.bars) writeBar(fn.config, bar);
    fn.bridge?.forward();
  }
}

function placeBelow(bus: BusNode, kind: ResourceKind): void {
  const items = itemsOn(bus, kind);
  const window = bus.windows[kind];
  if (window === undefined) for (const item of items) item.place(undefined);
  else spread(items, window, WINDOW_GRANULE_BYTES[kind]);
}

/** What a bus asks its window of a kind for. Prefetchable BARs lie in the other window where there is none for them. */
function itemsOn(bus: BusNode, kind: ResourceKind): Item[] {
  return bus.functions.flatMap((fn) => {
    const bars = fn.bars.filter((bar) => kindOnBus(bar, bus) === kind).map((bar) => barItem(fn, bar, kind));
    return fn.secondary === undefined ? bars : [...bars, windowItem(fn, fn.secondary, kind)];
  });
}

function kindOnBus(bar: Bar, bus: BusNode): ResourceKind {
  return bar.kind === 'prefetchable' && !reachesPrefetchable(bus) ? 'memory' : bar.kind;
}

/** True where every bridge above has a prefetchable window, and the machine has one. */
function reachesPrefetchable(bus: BusNode): boolean {
  const above = bus.bridge;
  if (above === undefined) return bus.windows.prefetchable !== undefined;
  return above.bridge?.hasPrefetchableWindow === true && reachesPrefetchable(above.parent);
}

function barItem(fn: FunctionNode, bar: Bar, kind: ResourceKind): Item {
  const size = Math.max(bar.sizeBytes, MIN_BAR_ALIGNMENT[kind]);
  return {
    sizeBytes: size,
    alignment: size,
    grows: false,
    place: (range) => {
      fn.bars = fn.bars.map((other) =>
        other.index === bar.index ? { ...bar, address: range?.start } : other,
      );
    },
  };
}

function windowItem(fn: FunctionNode, below: BusNode, kind: ResourceKind): Item {
  const items = itemsOn(below, kind);
  const granule = WINDOW_GRANULE_BYTES[kind];
  return {
    sizeBytes: align(packedEnd(inOrder(items), 0), granule),
    alignment: items.reduce((most, { alignment }) => Math.max(most, alignment), granule),
    grows: fn.grows && hasWindow(fn, kind),
    place: (range) => {
      below.windows[kind] = hasWindow(fn, kind) ? range : undefined;
      fn.bridge?.setWindow(kind, below.windows[kind]);
      placeBelow(below, kind);
    },
  };
}

function hasWindow({ bridge }: FunctionNode, kind: ResourceKind): boolean {
  if (kind === 'memory') return true;
  return kind === 'io' ? bridge?.hasIoWindow === true : bridge?.hasPrefetchableWindow === true;
}

/** Places items one after the other: those with fixed sizes, then those that share what is left. */
function spread(items: readonly Item[], window: AddressRange, granule: number): void {
  let rest = inOrder(items);
  let cursor = window.start;
  while (rest.length > 0) {
    const [item] = rest;
    const extra = item.grows ? share(rest, cursor, window.end, granule) : 0;
    const start = align(cursor, item.alignment);
    const end = start + item.sizeBytes + extra;
    const fits = end > start && end <= window.end;
    item.place(fits ? { start, end } : undefined);
    if (fits) cursor = end;
    rest = rest.slice(1);
  }
}

/**
 * What each of the growing items may have beyond its needs, so that all of them still fit. Where there is too little for all of them,
 * as there is of I/O ports, the first ones have it.
 */
function share(growing: readonly Item[], cursor: number, end: number, granule: number): number {
  const spare = end - packedEnd(growing, cursor);
  const unit = growing.reduce((most, { alignment }) => Math.max(most, alignment), granule);
  const equal = Math.floor(spare / growing.length / unit) * unit;
  return equal > 0 || spare < unit ? Math.max(0, equal) : unit;
}

/** Large alignments first, which wastes least; what grows comes last. */
function inOrder(items: readonly Item[]): Item[] {
  return [...items].sort((a, b) => Number(a.grows) - Number(b.grows) || b.alignment - a.alignment);
}

function packedEnd(items: readonly Item[], start: number): number {
  return items.reduce(
    (end, item) => (item.sizeBytes === 0 ? end : align(end, item.alignment) + item.sizeBytes),
    start,
  );
}

function align(address: number, alignment: number): number {
  return Math.ceil(address / alignment) * alignment;
}
