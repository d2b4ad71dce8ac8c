/**
 * What the daemon and a process of its own say to each other, whatever that serves: one JSON object a line, over a unix socket. The daemon
 * asks `{"id", "method", "params"}`, the process answers by id, and may report on its own.
 */
import { Type, type Static } from '@sinclair/typebox';
import { ChassisError, ErrorBody } from './control/api.js';

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

/** The answer to a request: what `job` resolves to, or its error. One that is no operator's is logged, and only said to have been. */
export async function answerOf(
  id: number,
  job: () => unknown,
  log: (message: string) => void,
): Promise<Answer> {
  try {
    return { id, result: await job() };
  } catch (error) {
    return { id, error: describe(error, log) };
  }
}

function describe(error: unknown, log: (message: string) => void): ErrorBody {
  if (error instanceof ChassisError) {
    const { code, message, suggestion } = error;
    return { code, message, ...(suggestion !== undefined && { suggestion }) };
  }
  log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return { code: 'INTERNAL', message: 'the process failed; see its log' };
}
