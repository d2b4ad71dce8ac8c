/** What the daemon asks of a switch. */
import { Type, type Static } from '@sinclair/typebox';
import { SwitchPortCounters } from '../control/api.js';

/** A port for a device process to connect to. */
export const SwitchPortSpec = Type.Object({
  /** What the two processes call it. */
  port: Type.String(),
  socketPath: Type.String(),
  vlan: Type.Optional(Type.Integer()),
  trunk: Type.Optional(Type.Array(Type.Integer(), { maxItems: 4094 })),
  isolated: Type.Boolean(),
  macLock: Type.Optional(Type.String()),
});
export type SwitchPortSpec = Static<typeof SwitchPortSpec>;

const Id = Type.Integer({ minimum: 1 });
export const SwitchRequest = Type.Union([
  Type.Object({ id: Id, method: Type.Literal('addPort'), params: SwitchPortSpec }),
  /** Resolves also where there is no such port. */
  Type.Object({
    id: Id,
    method: Type.Literal('removePort'),
    params: Type.Object({ port: Type.String() }),
  }),
  /** Answers SwitchStatus. */
  Type.Object({ id: Id, method: Type.Literal('status'), params: Type.Object({}) }),
]);
export type SwitchRequest = Static<typeof SwitchRequest>;

export const SwitchStatus = Type.Object({
  ports: Type.Array(Type.Object({ port: Type.String(), counters: SwitchPortCounters })),
});
export type SwitchStatus = Static<typeof SwitchStatus>;
