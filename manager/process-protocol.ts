/**
 * What the daemon and a process of its own say to each other, whatever that serves: one JSON object a line, over a unix socket. The daemon
 * asks `{"id", "method", "params"}`, the process answers by id, and may report on its own.
 */
import { Type, type Static } from '@sinclair/typebox';
import { ErrorBody } from './control/api.js';

/** The longest are the counters of 1,792 functions, and a page of children with long names and complaints. */
export const MAX_LINE_BYTES = 4 << 20;
/** What the process writes to its standard output once it listens. */
export const READY_LINE = 'ready';

const Id = Type.Integer({ minimum: 1 });
export const Answer = Type.Union([
  Type.Object({ id: Id, result: Type.Unknown() }),
  Type.Object({ id: Id, error: ErrorBody }),
]);
export type Answer = Static<typeof Answer>;
