/**
 * What another process needs to go on for one that was killed, with a front-end that notices nothing: in parts, each of which is told again when it
 * has changed. Where rings stand is not in it: that is in memory, and in the in-flight area. Numbers `fd` are those of a part's own descriptors.
 */
import { Type, type Static } from '@sinclair/typebox';
import { BackEndState, ConnectionState, VringState } from './port-state.js';

const HEXADECIMAL = '^([0-9a-f]{2})*$';

export const KeptSession = Type.Omit(BackEndState, ['memory', 'vrings', 'works', 'device']);
export type KeptSession = Static<typeof KeptSession>;
export const KeptMemory = Type.Pick(BackEndState, ['memory']);
export type KeptMemory = Static<typeof KeptMemory>;
export const KeptVring = Type.Omit(VringState, ['ring']);
export type KeptVring = Static<typeof KeptVring>;
/** Of a message that has not come whole; in hexadecimal digits. */
export const KeptReading = Type.Object({
  ...Type.Pick(ConnectionState, ['announced', 'receivedFds']).properties,
  received: Type.String({ pattern: HEXADECIMAL }),
});
export type KeptReading = Static<typeof KeptReading>;

/** Of the device. */
export const KeptDevice = Type.Object({
  /** A driver is at work, whether its rings run or not. */
  works: Type.Boolean(),
  /** What the device says of itself, in hexadecimal digits; null where that is kept in another way, or is nothing. */
  state: Type.Union([Type.String({ pattern: HEXADECIMAL }), Type.Null()]),
});
export type KeptDevice = Static<typeof KeptDevice>;

/** Names of parts; a ring's has its number behind it. */
export const KeptPart = {
  SESSION: 'session',
  MEMORY: 'memory',
  VRING: 'vring ',
  READING: 'reading',
  DEVICE: 'device',
};
