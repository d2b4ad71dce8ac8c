/** Topen of 9P2000 and 9P2000.u. */
import { Errno } from '../../../errno.js';
import { OpenFlag, type MaybePromise } from '../../fs/file-system.js';
import { OpenMode } from '../../protocol/constants.js';
import type { Handler } from '../and-then.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { lopen } from './files.js';

const ACCESS_BITS = 3;
const PLAIN_BITS = ACCESS_BITS | OpenMode.OTRUNC | OpenMode.OCEXEC | OpenMode.ORCLOSE;
const UNIX_BITS = PLAIN_BITS | OpenMode.OAPPEND;

/** By the access bits; what is to be executed is read. */
const ACCESS = [OpenFlag.O_RDONLY, OpenFlag.O_WRONLY, OpenFlag.O_RDWR, OpenFlag.O_RDONLY] as const;

export function open(unix: boolean): Handler {
  return (session: Session, r: Request): MaybePromise<number> => {
    const failure = translateMode(session, r, unix);
    return failure < 0 ? failure : lopen(session, r);
  };
}

/** Turns the message's open mode into flags, and notes ORCLOSE. 0 or a negative errno. */
export function translateMode(session: Session, r: Request, unix: boolean): number {
  const mode = r.message.flags;
  if ((mode & ~(unix ? UNIX_BITS : PLAIN_BITS)) !== 0) return -Errno.EINVAL;
  let flags: number = ACCESS[mode & ACCESS_BITS];
  if ((mode & OpenMode.OTRUNC) !== 0) flags |= OpenFlag.O_TRUNC;
  if ((mode & OpenMode.OAPPEND) !== 0) flags |= OpenFlag.O_APPEND;
  r.message.flags = flags;
  r.removesOnClunk = (mode & OpenMode.ORCLOSE) !== 0;
  return r.removesOnClunk && session.options.readOnly ? -Errno.EROFS : 0;
}
