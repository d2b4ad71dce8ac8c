/**
 * Steps of an operation. A file system answers at once or with a promise; where it answers at once the next step is
 * called at once, with no closure made and no turn of the event loop taken.
 */
import { isPromise, type MaybePromise } from '../fs/file-system.js';
import type { Request } from './request.js';
import type { Session } from './session.js';

/** Serves a request, or goes on with it: 0, with the reply's fields written; or a negative errno. */
export type Handler = (session: Session, r: Request) => MaybePromise<number>;
export type Step<T> = (session: Session, r: Request, answer: T) => MaybePromise<number>;

export function andThen<T>(
  answer: MaybePromise<T>,
  session: Session,
  r: Request,
  next: Step<T>,
): MaybePromise<number> {
  if (!isPromise(answer)) return next(session, r, answer);
  return answer.then((settled) => next(session, r, settled));
}
