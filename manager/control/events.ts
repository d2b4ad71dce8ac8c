/**
 * What happens, as `GET /v1/events` tells it: one schema for each type. An event says enough to know what to look at again; what is large (a
 * policy) is for the listings.
 */
import { Type, type Static, type TProperties } from '@sinclair/typebox';
import { ChildState, MountState } from './function.js';
import { Via } from './topology.js';

const EVENT = {
  /**
   * Where it is in what this daemon tells: `DAEMON-NUMBER`, for `since` and `Last-Event-ID`. Numbers ascend; another daemon has another
   * DAEMON.
   */
  id: Type.String(),
  /** When the daemon noticed it: ISO 8601, in UTC. */
  time: Type.String(),
};

/** Of the chassis named. */
function event<T extends string, P extends TProperties>(type: T, properties: P) {
  return Type.Object({ ...EVENT, type: Type.Literal(type), chassis: Type.String(), ...properties });
}

/** What a function holds: a mount, the mounts of the tree, those on queues, a disk or a network card. */
export const FunctionKind = Type.Union([
  Type.Literal('mount'),
  Type.Literal('tree'),
  Type.Literal('queues'),
  Type.Literal('disk'),
  Type.Literal('card'),
]);
export type FunctionKind = Static<typeof FunctionKind>;

const PLACE = { slot: Type.Integer(), function: Type.Integer(), state: MountState };
const CARRIER = Type.Exclude(Via, Type.Literal('auto'));

/** What of a mount can change while it is attached. */
const MOUNT_TERMS = { readOnly: Type.Boolean(), revoked: Type.Boolean() };

const EVENTS = [
  event('chassis.created', { slots: Type.Integer() }),
  event('chassis.removed', {}),

  /** The state of a function that stays in the chassis. Those that come and go do so with the mount, disk or card that they hold. */
  event('function.changed', {
    ...PLACE,
    name: Type.String(),
    kind: FunctionKind,
    formerly: MountState,
    /** Why it is not as it should be. */
    reason: Type.Optional(Type.String()),
  }),

  /** Slot, function and state of what has none of its own are those of what carries it. */
  event('mount.attached', {
    ...PLACE,
    tag: Type.String(),
    via: CARRIER,
    /** On a queue: which one, from 0. */
    queue: Type.Optional(Type.Integer()),
    target: Type.Optional(Type.String()),
    ...MOUNT_TERMS,
  }),
  /** Its function may stay, for another mount: `kept`. */
  event('mount.detached', { tag: Type.String(), via: CARRIER, kept: Type.Boolean() }),
  /** `policy`: it has another one than before, which `GET …/policy` shows. */
  event('mount.changed', { tag: Type.String(), ...MOUNT_TERMS, policy: Type.Boolean() }),
  /** What the guest's helper said of a mount of the tree. */
  event('mount.inGuest', {
    tag: Type.String(),
    state: ChildState,
    reason: Type.Optional(Type.String()),
  }),

  event('disk.added', { ...PLACE, name: Type.String(), readOnly: Type.Boolean() }),
  event('disk.removed', { name: Type.String() }),
  event('disk.resized', { name: Type.String(), sizeBytes: Type.Integer() }),

  event('card.added', { ...PLACE, name: Type.String(), mac: Type.String(), up: Type.Boolean() }),
  event('card.removed', { name: Type.String() }),
  /** Its cable was pulled, or plugged in again. */
  event('card.link', { name: Type.String(), up: Type.Boolean() }),

  event('process.started', { pid: Type.Integer() }),
  /** `recovering`: it is being started again. Otherwise only an attach or a restart does that. */
  event('process.lost', { reason: Type.String(), recovering: Type.Boolean() }),
  event('process.upgraded', { formerPid: Type.Integer(), pid: Type.Integer() }),

  event('vm.connected', { vmm: Type.String(), version: Type.String() }),
  event('vm.gone', {}),
  /** A VM answers that cannot be used. */
  event('vm.refused', { reason: Type.String() }),

  /** The guest's helper reads what the tree tells, or does so no longer. */
  event('helper.there', {}),
  event('helper.gone', {}),
] as const;

/**
 * What came after the event that was named is not all there is to be had: `missed` events, or where an earlier daemon had told that one,
 * nobody knows how many. Whoever keeps a picture looks at all of it again.
 */
export const Gap = Type.Object({
  ...EVENT,
  type: Type.Literal('gap'),
  missed: Type.Optional(Type.Integer()),
});
export type Gap = Static<typeof Gap>;

export const Event = Type.Union([...EVENTS, Gap]);
export type Event = Static<typeof Event>;

export type EventType = Event['type'];
/** An event of a chassis. */
export type ChassisEvent = Exclude<Event, Gap>;

type BodyOf<E> = E extends ChassisEvent ? Omit<E, 'id' | 'time' | 'chassis'> : never;
/** What there is to an event but where and when. */
export type EventBody = BodyOf<ChassisEvent>;

/** All types, in the order of the document. */
export const EVENT_TYPES: readonly EventType[] = [...EVENTS, Gap].map(
  ({ properties }) => properties.type.const,
);

export const EventsQuery = Type.Object(
  {
    /** What came after the event of this id, first; without it, what comes from now on. One that is not known gets all there is. */
    since: Type.Optional(Type.String({ maxLength: 64 })),
    /** Only that chassis, whether it is there or not. */
    chassis: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { additionalProperties: false },
);
export type EventsQuery = Static<typeof EventsQuery>;
