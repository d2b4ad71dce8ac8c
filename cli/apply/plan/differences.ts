/** What of things that are there is not as a manifest wants it: what can be changed in place, and what needs a new one. */
import { isDeepStrictEqual } from 'node:util';
import {
  POLICY_SETTINGS,
  type Card,
  type Disk,
  type Mount,
  type PolicyChange,
} from '../../../manager/control/api.js';
import type { DesiredCard, DesiredDisk, DesiredMount } from './desired.js';
import type { Difference } from './plan-item.js';

/** What differs of pairs of values; equal ones, and ones that are absent on both sides, do not. */
function differing(pairs: Readonly<Record<string, readonly [from: unknown, to: unknown]>>): Difference[] {
  return Object.entries(pairs).flatMap(([what, [from, to]]) =>
    isDeepStrictEqual(from, to)
      ? []
      : [{ what, ...(from !== undefined && { from }), ...(to !== undefined && { to }) }],
  );
}

/** What a manifest does not say is as it is. */
function said<T>(wanted: T | undefined, there: T): T {
  return wanted ?? there;
}

/** Only what a port was chosen for is compared; where nobody has chosen yet, nothing. */
function portPair({ port }: { readonly port?: string }, wanted: string): readonly [unknown, unknown] {
  return [port, wanted === 'auto' || port === undefined ? port : wanted];
}

/** What needs another mount: where it is, and what it shows. */
export function mountDifferences(
  there: Mount,
  { terms, via, slot, permanent, port }: DesiredMount,
): { readonly place: Difference[]; readonly shown: Difference[] } {
  const place = differing({
    via: [there.via, via === 'auto' ? there.via : via],
    slot: [there.slot, said(slot, there.slot)],
    permanent: [there.permanent, permanent],
    port: portPair(there, port),
    target: [there.target, terms.target],
    watch: [there.watch ?? false, terms.watch ?? false],
  });
  const shown = differing({
    source: [there.source, terms.source],
    owner: [there.owner, terms.owner],
    overlay: [overlayRequest(there.overlay), terms.overlay],
  });
  return { place, shown };
}

/** As it is asked for. */
export function overlayRequest(overlay: Mount['overlay']): DesiredMount['terms']['overlay'] {
  return overlay?.type === 'kept' ? { type: 'kept' } : overlay;
}

/** The change that makes a mount's policy the wanted one, and the one back; undefined where it is. */
export function policyChange(
  there: Mount,
  { terms }: DesiredMount,
):
  | { readonly differences: Difference[]; readonly change: PolicyChange; readonly back: PolicyChange }
  | undefined {
  const from = { readOnly: there.readOnly, ...there.policy };
  const to = { readOnly: terms.readOnly, ...terms.policy };
  const changed = POLICY_SETTINGS.filter((name) => !isDeepStrictEqual(from[name], to[name]));
  if (changed.length === 0) return undefined;
  const differences = changed.map((name) => ({
    what: name === 'readOnly' ? name : `policy.${name}`,
    ...(from[name] !== undefined && { from: from[name] }),
    ...(to[name] !== undefined && { to: to[name] }),
  }));
  return { differences, change: toward(to, changed), back: toward(from, changed) };
}

type Settings = PolicyChange['set'];

function toward(settings: Settings, names: readonly (typeof POLICY_SETTINGS)[number][]): PolicyChange {
  const isSet = (name: (typeof POLICY_SETTINGS)[number]): boolean =>
    settings[name] !== undefined && settings[name] !== false;
  return {
    set: Object.fromEntries(names.filter(isSet).map((name) => [name, settings[name]])),
    unset: names.filter((name) => !isSet(name)),
  };
}

export function diskDifferences(there: Disk, { options }: DesiredDisk): Difference[] {
  return differing({
    source: [withoutSize(there.source), withoutSize(options.source)],
    readOnly: [there.readOnly, options.readOnly],
    overlay: [there.overlay, options.overlay],
    overlayDirectory: [there.overlayDirectory, options.overlayDirectory],
    serial: [there.serial, said(options.serial, there.serial)],
    queues: [there.queues, options.queues],
    permanent: [there.permanent, options.permanent],
    slot: [there.slot, said(options.slot, there.slot)],
    port: portPair(there, options.port),
  });
}

function withoutSize(source: Disk['source']): unknown {
  return source.type === 'memory' ? { type: source.type } : source;
}

/** The size that is not the wanted one; undefined too where it is not known. */
export function sizeDifference(
  { sizeBytes, source }: Disk,
  { options, sizeBytes: wanted }: DesiredDisk,
): { readonly from: number; readonly to: number } | undefined {
  const to = options.source.type === 'memory' ? options.source.sizeBytes : wanted;
  const from = source.type === 'memory' ? source.sizeBytes : sizeBytes;
  return to === undefined || from === undefined || to === from ? undefined : { from, to };
}

export function cardDifferences(there: Card, { options }: DesiredCard): Difference[] {
  return differing({
    network: [there.network, options.network],
    mac: [there.mac, said(options.mac, there.mac)],
    mtu: [there.mtu, options.mtu],
    queuePairs: [there.queuePairs, options.queuePairs],
    permanent: [there.permanent, options.permanent],
    slot: [there.slot, said(options.slot, there.slot)],
    port: portPair(there, options.port),
  });
}
