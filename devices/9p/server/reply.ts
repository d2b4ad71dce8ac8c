/** Ends a request's message: its header in front of what is in place, or an error in its stead. */
import { Errno } from '../../errno.js';
import { HEADER_BYTES, MessageType } from '../protocol/constants.js';
import { encodeHeader } from '../protocol/replies.js';
import type { Dialect } from './dialect.js';
import type { Request } from './request.js';
import type { Session } from './session.js';

const ERRNO_MAX = 4095;

/** Writes the reply; answers its bytes, or 0 where there is none. */
export function reply(session: Session, dialect: Dialect, r: Request, result: number): number {
  if (r.begunMs !== 0) recordLatency(session, r);
  try {
    return writeReply(session, dialect, r, result);
  } catch (error) {
    // The client's memory went away while the request was under way.
    session.report('the reply could not be written', error);
    return 0;
  }
}

/** What waits for others to do something is no measure of the server: a lock, a Tflush, a Tversion. */
function recordLatency({ latencies }: Session, { message, begunMs }: Request): void {
  switch (message.type) {
    case MessageType.Tread:
      return latencies.read.record(begunMs);
    case MessageType.Twrite:
      return latencies.write.record(begunMs);
    case MessageType.Tlock:
    case MessageType.Tflush:
    case MessageType.Tversion:
      return;
    default:
      latencies.metadata.record(begunMs);
  }
}

/** Writes the header and fields in front of the data that is in place; answers the size of the message. */
function writeReply(session: Session, dialect: Dialect, r: Request, result: number): number {
  const { writer } = r;
  if (r.flushed && result === -Errno.EINTR) return 0;
  if (result !== 0) return writeError(session, dialect, r, result);
  if (writer.errno !== 0) return writeError(session, dialect, r, -writer.errno);
  const sizeBytes = writer.position + r.payloadBytes;
  if (sizeBytes > r.roomBytes) return writeError(session, dialect, r, -Errno.EMSGSIZE);
  encodeHeader(writer, sizeBytes, r.message.type + 1, r.message.tag);
  r.reply.scatter(0, writer.bytes, 0, writer.position);
  return sizeBytes;
}

function writeError(session: Session, dialect: Dialect, r: Request, result: number): number {
  const { writer } = r;
  session.statistics.errors++;
  let errno = -result;
  if (!Number.isInteger(errno) || errno < 1 || errno > ERRNO_MAX) {
    session.report(`message type ${r.message.type} ended with ${result}`);
    errno = Errno.EIO;
  }
  writer.reset(HEADER_BYTES);
  dialect.encodeError(writer, errno, r.roomBytes);
  if (writer.position > r.roomBytes) return 0;
  encodeHeader(writer, writer.position, dialect.errorType, r.message.tag);
  r.reply.scatter(0, writer.bytes, 0, writer.position);
  return writer.position;
}
