/** Which events lead from what was told of a mount, disk or network card to what it is now. */
import type { EventBody } from '../control/api.js';
import type { CardLook, DeviceLook, MountLook } from './device-look.js';

export function* changesOf(
  name: string,
  before: DeviceLook | undefined,
  now: DeviceLook | undefined,
): Generator<EventBody> {
  if (before && now && isSame(before, now)) {
    yield* ofItself(name, before, now);
    yield* ofState(name, before, now);
    return;
  }
  if (before) yield gone(name, before);
  if (now) yield come(name, now);
}

/** Another one of that name has another place, if it is not of another kind. */
function isSame(a: DeviceLook, b: DeviceLook): boolean {
  return a.kind === b.kind && a.slot === b.slot && a.function === b.function && carrierOf(a) === carrierOf(b);
}

function carrierOf(look: DeviceLook): string {
  return 'via' in look ? `${look.via} ${look.queue ?? ''}` : 'function';
}

function come(name: string, look: DeviceLook): EventBody {
  const { slot, function: fn, state } = look;
  const place = { slot, function: fn, state };
  if (look.kind === 'disk') return { type: 'disk.added', name, ...place, readOnly: look.readOnly };
  if (look.kind === 'card') return { type: 'card.added', name, ...place, mac: look.mac, up: look.up };
  const { via, queue, target, readOnly, revoked } = look;
  return {
    ...{ type: 'mount.attached', tag: name, ...place, via, readOnly, revoked },
    ...(queue !== undefined && { queue }),
    ...(target !== undefined && { target }),
  };
}

function gone(name: string, look: DeviceLook): EventBody {
  if (look.kind === 'disk') return { type: 'disk.removed', name };
  if (look.kind === 'card') return { type: 'card.removed', name };
  return { type: 'mount.detached', tag: name, via: look.via, kept: false };
}

function* ofItself(name: string, before: DeviceLook, now: DeviceLook): Generator<EventBody> {
  if (now.kind === 'card') yield* ofCard(name, before as CardLook, now);
  else if (now.kind !== 'disk') yield* ofMount(name, before as MountLook, now);
}

function* ofMount(name: string, before: MountLook, now: MountLook): Generator<EventBody> {
  if (before.kept !== now.kept) {
    if (now.kept) yield { type: 'mount.detached', tag: name, via: now.via, kept: true };
    else yield come(name, now);
    return;
  }
  const policy = before.policy !== now.policy;
  const { readOnly, revoked } = now;
  if (readOnly === before.readOnly && revoked === before.revoked && !policy) return;
  yield { type: 'mount.changed', tag: name, readOnly, revoked, policy };
}

function* ofCard(name: string, before: CardLook, { up }: CardLook): Generator<EventBody> {
  if (up !== before.up) yield { type: 'card.link', name, up };
}

/** What has no function of its own has no state of its own. */
function* ofState(name: string, before: DeviceLook, now: DeviceLook): Generator<EventBody> {
  if (before.state === now.state || ('via' in now && now.via !== 'function')) return;
  const { slot, function: fn, state, kind, reason } = now;
  yield {
    ...{ type: 'function.changed', name, kind, slot, function: fn, state, formerly: before.state },
    ...(reason !== undefined &&
      (state === 'parked' || state === 'recovering' || state === 'lost') && { reason }),
  };
}
