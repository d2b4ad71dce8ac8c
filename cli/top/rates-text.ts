/** Rates as a table, for people. */
import { table } from '../support/mounts-text.js';
import type { Rates } from './rates.js';

/** By what the rows can be sorted, and under which heading it stands. */
export const SORT_KEYS = {
  requests: 'REQ/S',
  read: 'READ/S',
  written: 'WRITE/S',
  kicks: 'KICKS/S',
  interrupts: 'INT/S',
  latency: 'P99',
  name: 'NAME',
} as const;
export type SortKey = keyof typeof SORT_KEYS;

/** The largest first; names from the start. What is equal stays by chassis and name. */
export function sorted(rates: readonly Rates[], key: SortKey): Rates[] {
  const byName = [...rates].sort((a, b) => compare(a.chassis, b.chassis) || compare(a.name, b.name));
  if (key === 'name') return byName;
  return byName.sort((a, b) => valueOf(b, key) - valueOf(a, key));
}

/** With a mark at what it is sorted by. */
export function ratesTable(rates: readonly Rates[], key: SortKey): string {
  const mark = (name: SortKey) => (name === key ? `${SORT_KEYS[name]}*` : SORT_KEYS[name]);
  return table(
    [
      ...['CHASSIS', mark('name'), 'KIND', 'STATE', mark('requests'), mark('read'), mark('written')],
      ...[mark('kicks'), mark('interrupts'), 'P50', mark('latency')],
    ],
    sorted(rates, key).map((each) => [
      ...[each.chassis, each.name, each.kind, each.state, countText(each.requests)],
      ...[bytesText(each.bytesRead), bytesText(each.bytesWritten)],
      ...[countText(each.kicks), countText(each.interrupts)],
      ...[durationText(each.p50Us), durationText(each.p99Us)],
    ]),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function valueOf(rates: Rates, key: Exclude<SortKey, 'name'>): number {
  switch (key) {
    case 'requests':
      return rates.requests;
    case 'read':
      return rates.bytesRead;
    case 'written':
      return rates.bytesWritten;
    case 'kicks':
      return rates.kicks;
    case 'interrupts':
      return rates.interrupts;
    case 'latency':
      return rates.p99Us ?? -1;
  }
}

function countText(count: number): string {
  return count < 10 && count > 0 ? count.toFixed(1) : scaled(count, 1000, ['', 'k', 'M', 'G']);
}

function bytesText(bytes: number): string {
  return scaled(bytes, 1024, ['B', 'K', 'M', 'G', 'T']);
}

function durationText(us: number | undefined): string {
  if (us === undefined) return '-';
  return scaled(us, 1000, us < 1e6 ? ['µs', 'ms'] : ['µs', 'ms', 's']);
}

/** Three digits and a unit. */
function scaled(value: number, step: number, units: readonly string[]): string {
  let unit = 0;
  let rest = value;
  while (rest >= step && unit < units.length - 1) {
    rest /= step;
    unit++;
  }
  return `${unit === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)}${units[unit]}`;
}
