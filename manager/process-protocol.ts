/**
 * What the daemon and a process of its own say to each other, whatever that serves: one JSON object a line, over a unix socket. The daemon
 * asks `{"id", "method", "params"}`, the process answers by id on the same connection, and may report on its own. Daemons come and go: each
 * begins with `hello`.
 */
import { Type, type Static } from '@sinclair/typebox';
import { ChassisError, ErrorBody } from './control/api.js';
import type { Log } from './logging/log.js';

/** Raised where a daemon could not manage a process that an earlier version of it started. */
export const PROTOCOL_VERSION = 1;
/**
 * Raised where processes learn a request that a daemon can do without: one that does not know it takes the daemon for a stranger, and ends.
 * 1: `keep`.
 */
export const PROTOCOL_REVISION = 1;
/** The longest are the counters of 1,792 functions with all buckets of their latencies, and a page of children with long names and complaints. */
export const MAX_LINE_BYTES = 8 << 20;

const Id = Type.Integer({ minimum: 1 });
const NoParams = Type.Object({});

/** What every process is asked, besides what it serves. */
export const ProcessRequest = Type.Union([
  /** Answers Hello. */
  Type.Object({ id: Id, method: Type.Literal('hello'), params: NoParams }),
  /** Ends it in good order; answered before it does. */
  Type.Object({ id: Id, method: Type.Literal('end'), params: NoParams }),
]);
export type ProcessRequest = Static<typeof ProcessRequest>;

export const Hello = Type.Object({
  protocol: Type.Integer(),
  /** Absent before there were any. */
  revision: Type.Optional(Type.Integer()),
  pid: Type.Integer(),
});
export type Hello = Static<typeof Hello>;

export const Answer = Type.Union([
  Type.Object({ id: Id, result: Type.Unknown() }),
  Type.Object({ id: Id, error: ErrorBody }),
]);
export type Answer = Static<typeof Answer>;

/** Sends to the daemon that asked; where that is gone, to nobody. */
export type Reply = (answer: Answer) => void;

/** The answer to a request: what `job` resolves to, or its error. One that is no operator's is logged, and only said to have been. */
export async function answerOf(id: number, job: () => unknown, log: Log): Promise<Answer> {
  try {
    return { id, result: await job() };
  } catch (error) {
    return { id, error: describe(error, log) };
  }
}

function describe(error: unknown, log: Log): ErrorBody {
  if (error instanceof ChassisError) {
    const { code, message, suggestion } = error;
    return { code, message, ...(suggestion !== undefined && { suggestion }) };
  }
  log.error('a bug', error);
  return { code: 'INTERNAL', message: 'the process failed; see its log' };
}
